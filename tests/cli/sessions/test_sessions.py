"""`sessions new | ensure | list | show | close | restart`: the id is alone on stdout, prose is on stderr."""

from __future__ import annotations

import re
from pathlib import Path

from trio_broker.testing.processes.home import Home, fake_command_line, is_running, without_start_progress

ID = re.compile(r"[0-9a-f]{32}\n")


def test_new_ensure_list_show_close(shared: Home, tmp_path: Path) -> None:
    new = shared.run("sessions", "new", cwd=tmp_path)
    assert ID.fullmatch(new.stdout)
    assert without_start_progress(new.stderr) == f"session fake:{tmp_path} of fake in {tmp_path}: created\n"
    ensured = shared.run("sessions", "ensure", cwd=tmp_path)
    assert ensured.stdout == new.stdout and "there already" in ensured.stderr
    listed = shared.run("sessions", "list", "--cwd", str(tmp_path))
    assert listed.stdout.split("\n")[1].startswith(f"fake:{tmp_path}  fake ")
    assert shared.run("sessions", "show", "--format", "quiet", cwd=tmp_path).stdout == new.stdout
    shown = shared.run("sessions", "show", cwd=tmp_path).stdout
    assert "phase: idle\n" in shown and f"sessionId: {new.stdout}" in shown
    pid = shared.session(f"fake:{tmp_path}")["pid"]
    closed = shared.run("sessions", "close", cwd=tmp_path)
    assert (closed.stdout, closed.stderr) == ("", f"session fake:{tmp_path} is closed\n")
    assert not is_running(pid)
    assert shared.run("sessions", "show", cwd=tmp_path).returncode == 4


def test_new_replaces_and_ensure_does_not(shared: Home, tmp_path: Path) -> None:
    first = shared.run("sessions", "ensure", "-s", "same", "--format", "quiet", cwd=tmp_path).stdout
    pid = shared.session("same")["pid"]
    assert shared.run("sessions", "ensure", "-s", "same", "--format", "quiet", cwd=tmp_path).stdout == first
    second = shared.run("sessions", "new", "-s", "same", "--format", "quiet", cwd=tmp_path).stdout
    assert ID.fullmatch(second) and second != first
    assert not is_running(pid)


def test_json_of_each(shared: Home, tmp_path: Path) -> None:
    made = shared.json("sessions", "new", "-s", "json", "--cwd", str(tmp_path))
    assert made == {
        "action": "session_created",
        "created": True,
        "sessionId": made["sessionId"],
        "key": "json",
        "agent": "fake",
        "cwd": str(tmp_path),
        "phase": "idle",
    }
    ensured = shared.json("sessions", "ensure", "-s", "json", "--cwd", str(tmp_path))
    assert (ensured["action"], ensured["created"]) == ("session_ensured", False)
    assert shared.json("sessions", "show", "-s", "json")["sessionId"] == made["sessionId"]
    assert [one["key"] for one in shared.json("sessions", "list", "--cwd", str(tmp_path))["sessions"]] == [
        "json"
    ]
    assert shared.json("cancel", "-s", "json") == {
        "action": "cancelled",
        "key": "json",
        "cancelled": "nothing",
        "promptId": None,
    }
    closed = shared.json("sessions", "close", "-s", "json")
    assert (closed["action"], closed["key"], closed["exit"]["exitCode"]) == ("session_closed", "json", 0)


def test_close_by_force_asks_nobody(shared: Home, tmp_path: Path) -> None:
    """This one would not go for less than SIGKILL."""
    deaf = fake_command_line("--ignore-eof", "--ignore-term")
    shared.run("prompt", "hang-hard", "--no-wait", "-s", "deaf", "--command", deaf, cwd=tmp_path)
    pid = shared.session("deaf")["pid"]
    assert shared.json("sessions", "close", "-s", "deaf", "--kill")["exit"]["signal"] == "SIGKILL"
    assert not is_running(pid)


def test_quiet_and_text_of_an_empty_list(home: Home) -> None:
    home.run("up")
    assert home.run("sessions", "list", "--format", "quiet").stdout == ""
    assert home.json("sessions", "list") == {"sessions": []}


def test_a_restart_from_the_command_line(shared: Home) -> None:
    shared.run("prompt", "say hi", "-s", "again", "--command", fake_command_line("--load"))
    before = shared.session("again")["pid"]
    done = shared.run("sessions", "restart", "-s", "again")
    after = shared.session("again")["pid"]
    assert (done.returncode, done.stdout) == (0, "") and not is_running(before)
    loaded = "the agent has loaded the conversation"
    assert done.stderr == f"session again has a new process (pid {after}): {loaded}\n"
    found = shared.json("sessions", "restart", "-s", "again", "--kill")
    assert (found["action"], found["key"], found["resumed"]) == ("session_restarted", "again", "loaded")
    assert shared.run("sessions", "restart", "-s", "nobody's").returncode == 4
