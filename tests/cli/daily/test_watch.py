"""`watch` and `wait`."""

from __future__ import annotations

import json
import os
import signal

import pytest

from trio_broker.testing.processes.home import LIMIT, Home, eventually


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_watch_whose_broker_goes_is_exit_6_and_says_so(home: Home, number: signal.Signals) -> None:
    home.run("sessions", "new", "-s", "k")
    with home.start("watch", "-s", "k") as process:
        eventually(lambda: home.session("k")["clients"] == 1)
        os.kill(home.status()["pid"], number)
        _, stderr = process.communicate(timeout=LIMIT)
    assert process.returncode == 6, stderr
    assert "the broker closed the connection; look at its log, then `trio-broker up`" in stderr


def test_a_watch_says_how_to_answer_and_that_a_session_is_suspended(home: Home) -> None:
    home.run("prompt", "ask edit it", "-s", "k", "--no-wait", "--ask")
    home.run("wait", "-s", "k", "--until", "ask")
    (ask,) = home.json("pending")["asks"]
    with home.start("watch", "-s", "k", "--since", "1") as process:
        eventually(lambda: home.session("k")["clients"] == 1)
        home.run("down")
        _, stderr = process.communicate(timeout=LIMIT)
    assert f"[ask] edit it: `trio-broker allow {ask['askId']}`, or deny\n" in stderr
    assert "[session] suspended\n" in stderr and "[session] ended" not in stderr


def test_a_quiet_watch_says_each_answer_once(shared: Home) -> None:
    for word in ("one", "two"):
        shared.run("prompt", f"say {word}", "-s", "once")
    with shared.start("watch", "-s", "once", "--since", "1", "--format", "quiet") as process:
        eventually(lambda: shared.session("once")["clients"] == 1)
        shared.run("sessions", "close", "-s", "once")
        stdout, _ = process.communicate(timeout=LIMIT)
    assert stdout == "one\ntwo\n"


def test_a_watch_says_which_answer_was_given_and_why_a_turn_has_failed(shared: Home) -> None:
    shared.run("prompt", "ask edit it", "-s", "why", "--deny-all")
    shared.run("prompt", "die 7", "-s", "why")
    with shared.start("watch", "-s", "why", "--since", "1") as process:
        eventually(lambda: shared.session("why")["clients"] == 1)
        shared.run("sessions", "close", "-s", "why")
        stdout, stderr = process.communicate(timeout=LIMIT)
    assert "[permission] edit it: Reject by policy:deny-all\n" in stderr
    assert "[agent] exited exit code 7\n" in stderr
    assert "[done] failed: agent 'fake' ended with exit code 7" in stdout


def test_wait_for_idle_ask_and_closed(shared: Home) -> None:
    shared.run("prompt", "ask edit it", "-s", "phases", "--no-wait", "--ask")
    assert shared.run("wait", "-s", "phases", "--until", "ask").stderr == "session phases is waiting\n"
    assert shared.json("wait", "-s", "phases", "--until", "ask")["phase"] == "waiting"
    shared.run("cancel", "-s", "phases")
    assert shared.run("wait", "-s", "phases", "--format", "quiet").stderr == ""
    assert shared.run("wait", "-s", "phases", "--until", "closed", "--timeout", "0.2").returncode == 3


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--match", "("], 2, "'(' is no regular expression"),
        (["--until", "text"], 2, "--until text and --match RE go together"),
        (["--until", "idle", "--match", "x"], 2, "--until text and --match RE go together"),
        (["--match", "x", "-s", "nobody's"], 4, "there is no session"),
    ],
)
def test_a_mistake_in_wait_is_told(shared: Home, words: list[str], code: int, says: str) -> None:
    shared.run("up")
    done = shared.run("wait", *words)
    assert (done.returncode, done.stdout) == (code, "") and says in done.stderr


def test_watch_follows_from_any_number_until_it_is_closed(home: Home) -> None:
    assert home.run("fake", "-s", "k", "say one").returncode == 0
    watching = home.start("watch", "-s", "k", "--since", "1", "--format", "json")
    eventually(lambda: home.session("k")["clients"] == 1)
    assert home.run("fake", "-s", "k", "say two").returncode == 0
    assert home.run("sessions", "close", "-s", "k").returncode == 0
    output, errors = watching.communicate(timeout=LIMIT)
    assert watching.returncode == 0, errors
    messages = [json.loads(line) for line in output.splitlines()]
    texts = [
        m["params"]["update"]["content"]["text"] for m in messages if m.get("method") == "session/update"
    ]
    assert texts == ["one", "two"] and next(m["seq"] for m in messages if "seq" in m) == 1


def test_wait_gives_up_with_code_3(home: Home) -> None:
    assert home.run("fake", "-s", "k", "hang", "--no-wait").returncode == 0
    home.until("k", "working")
    done = home.run("wait", "-s", "k", "--timeout", "0.2")
    assert done.returncode == 3 and "within 0.2 s" in done.stderr
    assert home.run("cancel", "-s", "k").returncode == 0
    assert home.run("wait", "-s", "k").stderr == "session k is idle\n"
