"""`wait --match`: wait for a text in the answers of an agent."""

from __future__ import annotations

from trio_broker.testing.processes.home import LIMIT, Home, eventually


def test_wait_until_an_agent_says_something_from_now_on(shared: Home) -> None:
    shared.run("prompt", "say a secret word", "-s", "now")
    with shared.start("wait", "-s", "now", "--match", "secr[e]t w", "--timeout", "20") as process:
        eventually(lambda: shared.session("now")["clients"] == 1)
        shared.run("prompt", "say the sec; think secret w; say ret words", "-s", "now")
        _, stderr = process.communicate(timeout=LIMIT)
    assert (process.returncode, stderr) == (0, "session now said secret w\n")


def test_wait_finds_what_was_said_since_a_number_and_tells_where(shared: Home) -> None:
    shared.run("prompt", "say one; say two", "-s", "since")
    shared.run("prompt", "say three", "-s", "since")
    found = shared.json("wait", "-s", "since", "--since", "1", "--match", "twot?$")
    assert (found["action"], found["key"], found["match"]) == ("matched", "since", "two")
    after = str(found["seq"] + 1)
    done = shared.run("wait", "-s", "since", "--since", after, "--match", "two", "--timeout", "0.3")
    assert done.returncode == 3 and "has not come to that within 0.3 s" in done.stderr
    assert shared.json("wait", "-s", "since", "--since", after, "--match", "^thr")["match"] == "thr"
    assert shared.json("wait", "-s", "since", "--since", "1", "--match", "two\nth")["match"] == "two\nth"


def test_wait_for_a_word_of_a_session_that_is_closed_is_exit_1(shared: Home) -> None:
    shared.run("sessions", "new", "-s", "closed")
    with shared.start("wait", "-s", "closed", "--match", "never") as process:
        eventually(lambda: shared.session("closed")["clients"] == 1)
        shared.run("sessions", "close", "-s", "closed")
        _, stderr = process.communicate(timeout=LIMIT)
    assert process.returncode == 1 and "session 'closed' was closed before it said that" in stderr
