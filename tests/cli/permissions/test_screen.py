"""A request printed for a person: what stands above it, and its choices."""

from __future__ import annotations

import io

import pytest

from trio_broker.cli.permissions.question import Choice
from trio_broker.cli.permissions.screen import (
    about,
    choices_of_ask,
    page,
    show_request,
    terminal_size,
    whole_request,
)

ASK = {
    "askId": "1-4",
    "key": "k\x1b",
    "agent": "demo",
    "since": 3.0,
    "cwd": "/x\u202e",
    "options": [{"optionId": "y", "name": "Yes", "kind": "allow_once"}],
    "toolCall": {"title": "T", "rawInput": {"command": "\n".join(map(str, range(60)))}},
}


def test_it_says_which_question_it_is() -> None:
    assert about(ASK) == "1-4 k\\x1b (demo), 3.0s ago, in /x\\u202e"


def test_choices_of_any_shape_are_choices() -> None:
    assert choices_of_ask(ASK) == [Choice("y", "Yes", "allow_once", "y")]
    assert choices_of_ask({"options": ["x", {"name": 5}, {}]}) == [
        Choice("", "", ""), Choice("", "5", ""), Choice("", "", ""),
    ]  # fmt: skip
    assert choices_of_ask({"options": None}) == choices_of_ask({}) == []


def test_the_first_screen_names_the_command_that_shows_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    show_request(ASK)
    rows = capsys.readouterr().err.splitlines()
    assert rows[:3] == [about(ASK), "│ T", "│ command:"]
    assert rows[-1] == "│ … 43 more lines: `trio-broker pending 1-4`" and len(rows) <= 24


def test_the_whole_has_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    page(whole_request(ASK))
    rows = capsys.readouterr().out.splitlines()
    assert rows[-2:] == ["│   59", "│ choice 1: allow_once: Yes"]


def test_what_is_not_a_terminal_has_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "30")
    assert terminal_size(io.StringIO()) == (100, 30)
