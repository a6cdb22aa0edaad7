"""`status`: JSON for programs, a table for people."""

from __future__ import annotations

import os
import re
from pathlib import Path

from trio_broker import __version__
from trio_broker.testing.processes.home import Home, eventually, fake_command_line, is_running

ID = re.compile(r"[0-9a-f]{32}\n")


def test_status_has_what_programs_need(home: Home, tmp_path: Path) -> None:
    home.run("prompt", "hang", "--no-wait", "-s", "one", cwd=tmp_path)
    home.run("prompt", "hang", "--no-wait", "-s", "one", cwd=tmp_path)
    home.run("prompt", "die 3", "-s", "two", cwd=tmp_path)
    eventually(lambda: home.status()["clients"] == 1)  # the last command's connection has ended
    status = home.json("status")
    assert is_running(status["pid"]) and status["version"] == __version__ and status["uptime"] > 0
    assert status["socket"] == str(home.socket) and status["clients"] == 1
    assert (status["counts"]["working"], status["counts"]["dead"], status["counts"]["idle"]) == (1, 1, 0)
    one, two = status["sessions"]
    assert (one["key"], one["agent"], one["phase"], one["queue"]) == ("one", "fake", "working", 1)
    assert one["cwd"] == str(tmp_path) and one["quiet_for"] >= 0 and ID.fullmatch(one["sessionId"] + "\n")
    assert os.getpgid(one["pid"]) == one["pid"]
    assert (two["phase"], two["pid"]) == ("dead", None) and "exit code 3" in two["error"]


def test_status_is_a_table_for_people(home: Home, tmp_path: Path) -> None:
    home.run("up")
    eventually(lambda: home.status()["clients"] == 1)
    assert home.run("status").stdout.endswith("1 client; sessions: none\n")
    assert home.run("sessions", "list").stdout == "no sessions\n"
    assert home.run("sessions", "list", "-a", "demo").stdout == "no sessions\n"
    mistyped = home.run("sessions", "list", "-a", "dmo")
    assert (mistyped.returncode, mistyped.stdout) == (2, "")
    assert "there is no agent 'dmo'; did you mean demo?" in mistyped.stderr
    home.run("prompt", "die 3", "-s", "two", cwd=tmp_path)
    home.run("exec", "hi", "--command", "no-such-program", cwd=tmp_path)
    eventually(lambda: home.status()["clients"] == 1)
    first, head, row, failing = home.run("status").stdout.splitlines()
    assert re.fullmatch(rf"broker {__version__} \(pid \d+\) up [\d.]+s, 1 client; sessions: 1 dead", first)
    assert head.split() == ["SESSION", "AGENT", "PHASE", "FOR", "QUIET", "QUEUE", "PID"]
    assert row.startswith("two ") and row.endswith("  ended with exit code 3")
    assert failing.startswith("no-such-program: failed to start, 1 in a row; the next prompt tries again: ")
    for _ in range(2):
        home.run("exec", "hi", "--command", "no-such-program", cwd=tmp_path)
    *_, failing = home.run("status").stdout.splitlines()
    assert re.match(r"no-such-program: failed to start, 3 in a row; it rests for [\d.]+s: ", failing)


def test_status_marks_what_it_leaves_out(home: Home, tmp_path: Path) -> None:
    noisy = fake_command_line("--exit-at-start", "3", "--stderr", "no key " * 30)
    home.run("prompt", "hi", "-s", "k", "--command", noisy, cwd=tmp_path)
    row = home.run("status").stdout.splitlines()[2]
    assert "ended with exit code 3 before it had a session; its last words: no key" in row and row.endswith(
        "…"
    )
