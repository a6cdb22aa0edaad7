"""`sessions`, `status` and `cancel`: the id stands alone on stdout, prose on stderr, and pictures are for programs."""

from __future__ import annotations

import os
import re
from pathlib import Path

from trio_broker import __version__
from trio_broker.testing.processes.home import (
    CONFIG,
    Home,
    eventually,
    fake_command_line,
    is_running,
    without_start_progress,
)

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


def test_what_is_said_of_a_session_that_is_there_has_to_fit(shared: Home, tmp_path: Path) -> None:
    """--cwd, an agent and a policy were ignored, and the prompt went to the session, wherever it worked."""
    here, other = tmp_path / "here", tmp_path / "other"
    for directory in (here / ".git", here / "deep", other):
        directory.mkdir(parents=True)
    assert shared.run("prompt", "-s", "placed", "--cwd", str(here), "say one").returncode == 0
    works = f"trio-broker: session 'placed' works in {here}, not in {other}; leave out --cwd, or choose another key\n"
    for words in (
        ("prompt", "say two"),
        ("prompt", "--no-wait", "say two"),
        ("cancel",),
        ("logs",),
        ("wait",),
        ("queue", "list"),
        ("set",),
        *(
            ("sessions", verb)
            for verb in ("ensure", "show", "history", "export", "delete", "restart", "close")
        ),
    ):
        done = shared.run(*words, "-s", "placed", "--cwd", str(other))
        assert (done.returncode, done.stdout, done.stderr) == (2, "", works), words
    assert shared.run("sessions", "history", "-s", "placed", "--format", "quiet").stdout == "one\n"
    fitting = shared.run(
        "prompt", "-s", "placed", "--cwd", str(here / "deep"), "say two", "--format", "quiet"
    )
    assert fitting.stdout == "two\n", "the session of that work tree"
    assert shared.run("prompt", "-s", "placed", "say three", cwd=other).returncode == 0, (
        "a key is known anywhere"
    )
    done = shared.run("cancel", "-s", "placed", "-a", "demo")
    assert done.returncode == 2 and "session 'placed' belongs to agent 'fake', not 'demo'" in done.stderr
    done = shared.run("sessions", "ensure", "-s", "placed", "--approve-all")
    assert (
        done.returncode == 2
        and "'placed' is there already, with the policy approve-reads; give --approve-all" in done.stderr
    )
    assert shared.run("sessions", "ensure", "-s", "placed", "--approve-reads").returncode == 0
    done = shared.run("sessions", "history", "-s", "placed", "--id", "x")
    assert (
        done.returncode == 2 and "--id names the session: leave out -s, -a and --cwd beside it" in done.stderr
    )


def test_a_session_that_never_began_is_replaced_wherever_it_was(shared: Home, tmp_path: Path) -> None:
    assert shared.run("sessions", "ensure", "-s", "dud", "--command", "false", "--cwd", "/").returncode == 1
    assert shared.session("dud")["phase"] == "dead"
    made = shared.json("sessions", "ensure", "-s", "dud", "--cwd", str(tmp_path))
    assert made["created"] and made["cwd"] == str(tmp_path)


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


def test_the_session_of_a_directory_is_that_of_its_work_tree(shared: Home, tmp_path: Path) -> None:
    """Up to the git root; another work tree within, one whose .git is a file, has its own."""
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    deep = tmp_path / "repo" / "src" / "deep"
    deep.mkdir(parents=True)
    inner = tmp_path / "repo" / "inner"
    inner.mkdir()
    (inner / ".git").write_text("gitdir: elsewhere\n", encoding="utf-8")
    link = tmp_path / "link"
    link.symlink_to(deep)
    places = {
        where: shared.run("prompt", "cwd", "--format", "quiet", cwd=where).stdout
        for where in (deep, inner, link)
    }
    assert places == {
        deep: f"{tmp_path / 'repo'}\n",
        inner: f"{inner}\n",
        link: f"{tmp_path / 'repo'}\n",
    }
    keys = [one["key"] for one in shared.status()["sessions"] if str(tmp_path) in one["key"]]
    assert keys == [f"fake:{tmp_path / 'repo'}", f"fake:{inner}"]
    by_option = shared.run("prompt", "cwd", "--cwd", str(deep), "--format", "quiet")
    assert by_option.stdout == f"{tmp_path / 'repo'}\n"


def test_each_agent_has_its_own_session_of_a_directory(shared: Home, tmp_path: Path) -> None:
    shared.run("fake", "sessions", "ensure", cwd=tmp_path)
    shared.run("sessions", "ensure", "-a", "demo", cwd=tmp_path)
    views = shared.json("sessions", "list", "--cwd", str(tmp_path))["sessions"]
    assert {(view["key"], view["agent"]) for view in views} == {
        (f"fake:{tmp_path}", "fake"),
        (f"demo:{tmp_path}", "demo"),
    }
    one = shared.json("sessions", "list", "--cwd", str(tmp_path), "-a", "demo")["sessions"]
    assert [view["agent"] for view in one] == ["demo"]


def test_a_key_belongs_to_its_agent(shared: Home, tmp_path: Path) -> None:
    """RACES B15."""
    shared.run("sessions", "ensure", "-s", "taken", cwd=tmp_path)
    done = shared.run("prompt", "-a", "demo", "-s", "taken", "hi", cwd=tmp_path)
    assert done.returncode == 2
    assert "belongs to agent 'fake', not 'demo'; choose another key, or close it first" in done.stderr
    assert shared.run("prompt", "-s", "taken", "say fine", cwd=tmp_path).returncode == 0


def test_exec_leaves_no_session(shared: Home, tmp_path: Path) -> None:
    shared.run("up")
    before = shared.status()["sessions"]
    for words, code in ((["say hi"], 0), (["die 1"], 1), (["hang", "--timeout", "0.2"], 3)):
        assert shared.run("exec", *words, cwd=tmp_path).returncode == code
    refused = shared.run("exec", "hi", "--command", "no-such-program", cwd=tmp_path)
    assert refused.returncode == 1
    after = shared.status()["sessions"]
    assert [view["key"] for view in after] == [view["key"] for view in before]


def test_exec_does_not_end_a_session_that_is_there(shared: Home, tmp_path: Path) -> None:
    shared.run("sessions", "ensure", "-s", "precious", cwd=tmp_path)
    done = shared.run("exec", "hi", "-s", "precious", cwd=tmp_path)
    assert done.returncode == 2
    assert "'precious' is there already, and `exec` would end it" in done.stderr
    assert shared.session("precious")["phase"] == "idle"


def test_no_wait_queues_and_comes_back_with_an_id(shared: Home, tmp_path: Path) -> None:
    first = shared.run("prompt", "hang", "--no-wait", "-s", "queue", cwd=tmp_path)
    assert ID.fullmatch(first.stdout)
    assert without_start_progress(first.stderr) == "queued in session queue: it runs next\n"
    second = shared.json("prompt", "say second", "--no-wait", "-s", "queue", "--cwd", str(tmp_path))
    assert (second["action"], second["position"], second["key"]) == ("prompt_queued", 1, "queue")
    third = shared.run("prompt", "say third", "--no-wait", "-s", "queue", "--format", "quiet", cwd=tmp_path)
    assert ID.fullmatch(third.stdout) and third.stderr == ""
    queued = shared.session("queue")["queued"]
    assert [(one["text"], one["position"]) for one in queued] == [("say second", 1), ("say third", 2)]

    gone = shared.run("cancel", "-s", "queue", "--prompt-id", second["promptId"])
    assert gone.stderr == "the queued prompt is withdrawn\n"
    assert [one["text"] for one in shared.session("queue")["queued"]] == ["say third"]
    gone = shared.run("cancel", "-s", "queue", "--prompt-id", "mistyped")
    assert "prompt 'mistyped' neither runs nor waits there; `trio-broker queue list` shows" in gone.stderr
    assert shared.run("cancel", "-s", "queue").stderr == "the running turn is cancelled\n"
    eventually(lambda: shared.session("queue")["turns"] == 2)
    assert shared.run("cancel", "-s", "queue").stderr == "nothing runs there: nothing to cancel\n"


def test_a_full_queue_is_exit_1_and_names_the_setting(home: Home) -> None:
    """RACES E7."""
    home.config.write_text(CONFIG + "[broker]\nqueue = 1\n", encoding="utf-8")
    for code in (0, 0, 1):
        done = home.run("prompt", "hang", "--no-wait")
        assert done.returncode == code
    assert "1 prompts wait for this session, the limit; wait, cancel one, or raise queue" in done.stderr


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


def test_quiet_and_text_of_an_empty_list(home: Home) -> None:
    home.run("up")
    assert home.run("sessions", "list", "--format", "quiet").stdout == ""
    assert home.json("sessions", "list") == {"sessions": []}
