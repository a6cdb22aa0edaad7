"""A person at a terminal: is asked, types, and presses Ctrl-C once or twice."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from trio_broker.testing.processes.home import CONFIG, Home, Terminal, eventually, fake_command_line


def test_a_question_is_asked_with_the_agents_options_and_answered_by_typing(
    shared: Home, tmp_path: Path
) -> None:
    with shared.terminal("prompt", "ask edit it; say done", cwd=tmp_path) as person:
        person.see("[permission] edit it\r\n  1) Allow\r\n  2) Always allow\r\n  3) Reject\r\n")
        person.see("1-3, or Enter to dismiss it for everybody: ")
        person.type("yes\n")
        person.see("'yes' is none of 1 to 3")
        person.type("4\n")
        person.see("'4' is none of 1 to 3")
        person.type("2\n")
        assert person.end() == 0
        assert "alwaysdone" in person.screen


@pytest.mark.parametrize(("typed", "answer"), [("3\n", "reject"), ("\n", "cancelled"), ("\x04", "cancelled")])
def test_no_and_no_answer_are_answers_and_exit_5(
    shared: Home, tmp_path: Path, typed: str, answer: str
) -> None:
    """An empty line, and the end of the input, choose nothing: no option is invented."""
    with shared.terminal("prompt", "ask edit it", "--format", "quiet", cwd=tmp_path) as person:
        person.see("for everybody: ")
        person.type(typed)
        assert person.end() == 5
        assert f"{answer}\r\n" in person.screen
        assert "every permission the agent asked for was denied\r\n" in person.screen


def test_an_agent_that_ends_its_turn_as_cancelled_when_denied_is_exit_5(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "ask edit it; stop cancelled", cwd=tmp_path) as person:
        person.see("for everybody: ")
        person.type("3\n")
        assert person.end() == 5


def test_a_cancel_after_a_denial_is_130(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "ask edit it; hang", "-s", "denied", cwd=tmp_path) as person:
        person.see("for everybody: ")
        person.type("3\n")
        shared.until("denied", "working")
        assert shared.run("cancel", "-s", "denied").returncode == 0
        assert person.end() == 130


def test_what_is_answered_elsewhere_closes_the_question_here(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "ask edit it; say done", "-s", "elsewhere", cwd=tmp_path) as person:
        person.see("for everybody: ")
        (ask,) = shared.json("pending")["asks"]
        assert shared.run("allow", ask["askId"]).returncode == 0
        person.see("[permission] edit it: allowed by owner (client-")
        person.see("done")
        assert person.end() == 0


def test_two_questions_one_after_the_other(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "ask edit one; ask edit two", "--format", "quiet", cwd=tmp_path) as person:
        person.see("edit one")
        person.type("1\n3\n")  # ahead of the second question
        person.see("edit two")
        assert person.end() == 0
        assert person.screen.split()[-1] == "allowreject"


def test_a_question_that_a_cancel_withdraws_asks_no_more(shared: Home, tmp_path: Path) -> None:
    """RACES D4, seen from the terminal."""
    with shared.terminal("prompt", "ask edit it", "-s", "withdrawn", cwd=tmp_path) as person:
        person.see("for everybody: ")
        shared.until("withdrawn", "waiting")
        assert shared.run("cancel", "-s", "withdrawn").returncode == 0
        person.see("(no answer is needed any more)")
        assert person.end() == 130


def test_with_a_policy_nobody_is_asked(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "ask edit it", "--approve-all", cwd=tmp_path) as person:
        assert person.end() == 0
        assert "edit it: allowed by policy:approve-all" in person.screen
        assert "for everybody" not in person.screen


def at_work(shared: Home, key: str, person: Terminal) -> None:
    person.see("[thinking] hm")
    shared.until(key, "working")


def test_ctrl_c_cancels_the_turn_and_is_130(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "think hm; hang", "-s", "cancelled", cwd=tmp_path) as person:
        at_work(shared, "cancelled", person)
        person.ctrl_c()
        person.see("[cancelling] once more to leave the turn to itself")
        person.see("[done] cancelled")
        assert person.end() == 130
    assert shared.session("cancelled")["phase"] == "idle"


def test_ctrl_c_at_a_question_cancels_the_turn(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "ask edit it; hang", "-s", "asked", cwd=tmp_path) as person:
        person.see("for everybody: ")
        person.ctrl_c()
        person.see("[done] cancelled")
        assert person.end() == 130
    assert shared.session("asked")["phase"] == "idle"


def test_a_second_ctrl_c_detaches_and_the_turn_goes_on(shared: Home, tmp_path: Path) -> None:
    """RACES D3: this agent does not heed the cancel."""
    with shared.terminal("prompt", "hang-hard", "-s", "left", cwd=tmp_path) as person:
        shared.until("left", "working")
        person.ctrl_c()
        person.see("once more to leave the turn to itself")
        person.ctrl_c()
        person.see("detached: the turn goes on; to end it: `trio-broker cancel -s left`")
        assert person.end() == 130
    assert shared.session("left")["phase"] == "cancelling"
    assert shared.run("sessions", "close", "--kill", "-s", "left").returncode == 0


def test_after_a_second_ctrl_c_watch_shows_how_the_turn_goes_on(home: Home, tmp_path: Path) -> None:
    """This agent heeds no cancel: the broker ends it after cancel_grace, whoever looks."""
    home.config.write_text(f"{CONFIG}\n[broker]\ncancel_grace = 3\n", encoding="utf-8")
    with home.terminal("prompt", "think hm; hang-hard", "-s", "left", cwd=tmp_path) as person:
        at_work(home, "left", person)
        person.ctrl_c()
        person.see("once more to leave the turn to itself")
        person.ctrl_c()
        assert person.end() == 130
    with home.terminal("watch", "-s", "left", "--since", "1") as watcher:
        watcher.see("[thinking] hm")
        watcher.see("[done] cancelled")
        watcher.ctrl_c()
        assert watcher.end() == 130


def test_a_second_ctrl_c_in_exec_kills_the_agent(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("exec", "hang-hard", "-s", "own", cwd=tmp_path) as person:
        shared.until("own", "working")
        person.ctrl_c()
        person.see("once more to kill the agent")
        person.ctrl_c()
        person.see("detached; the session has ended")
        assert person.end() == 130
    assert shared.session("own") is None


@pytest.mark.parametrize("command", ["prompt", "exec"])
def test_ctrl_c_before_the_session_has_started(shared: Home, tmp_path: Path, command: str) -> None:
    """A prompt leaves it to start, and tells how to end it; an exec ends what is its own."""
    key = f"early {command}"
    with shared.terminal(
        command, "hi", "-s", key, "--command", fake_command_line("--no-start"), cwd=tmp_path
    ) as person:
        person.see("[starting] python")
        person.ctrl_c()
        person.see("sessions close -s 'early" if command == "prompt" else "the session has ended")
        assert person.end() == 130
    assert (shared.session(key) is None) == (command == "exec")
    if command == "prompt":
        assert shared.run("sessions", "close", "-s", key).returncode == 0


def test_a_slow_start_is_told_with_the_agents_last_line(shared: Home, tmp_path: Path) -> None:
    slow = fake_command_line("--slow-start", "1.5", "--stderr", "fetching\x1b[2J 3 packages")
    with shared.terminal("exec", "say up", "--command", slow, cwd=tmp_path) as person:
        person.see(" s: fetching\\x1b[2J 3 packages")
        person.see("up\r\n")
        assert person.end() == 0


def test_a_prompt_in_the_queue_says_so_and_ctrl_c_takes_it_out(shared: Home, tmp_path: Path) -> None:
    shared.run("prompt", "hang", "--no-wait", "-s", "queue", cwd=tmp_path)
    with shared.terminal("prompt", "say never", "-s", "queue", cwd=tmp_path) as person:
        person.see("[queued] 1 before this one")
        person.ctrl_c()
        assert person.end() == 130
        assert "never" not in person.screen
    view = shared.session("queue")
    assert (view["phase"], view["queue"]) == ("working", 0)
    assert shared.run("cancel", "-s", "queue").returncode == 0


def test_colours_are_for_terminals(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "think hm", cwd=tmp_path, colour=True) as person:
        person.end()
        assert "\x1b[2m" in person.screen and "\x1b[0m" in person.screen
    assert "\x1b" not in shared.run("prompt", "think hm", cwd=tmp_path).stdout


def test_closing_the_terminal_leaves_the_turn(shared: Home, tmp_path: Path) -> None:
    """RACES C23: a window that is closed is a client that leaves (DESIGN D8)."""
    with shared.terminal("prompt", "think hm; hang", "-s", "window", cwd=tmp_path) as person:
        at_work(shared, "window", person)
        assert person.close_window() == -signal.SIGHUP
    eventually(lambda: shared.session("window")["clients"] == 0)
    assert shared.session("window")["phase"] == "working"
    assert shared.run("cancel", "-s", "window").returncode == 0
