"""A permission request in the terminal of a prompt: it is shown, answered by typing, and withdrawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from trio_broker.testing.processes.home import Home


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
