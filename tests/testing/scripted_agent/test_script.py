"""The script of a prompt: which text is an action, and which is echoed."""

from __future__ import annotations

import pytest

from trio_broker.testing.scripted_agent.script import parse


def test_actions_are_separated_by_semicolons_and_newlines() -> None:
    assert parse(" say a ;wait 1.5\nhang;; ") == [("say", "a"), ("wait", "1.5"), ("hang", "")]


@pytest.mark.parametrize("text", ["hello", "wait for me; hello", "die", "kill NOTHING", "hang on", ""])
def test_a_text_without_any_action_is_echoed_whole(text: str) -> None:
    assert parse(text) == [("say", f"echo: {text}")]


def test_other_text_between_actions_is_echoed_at_its_place() -> None:
    assert parse("say a; wait for me; die 3") == [("say", "a"), ("say", "echo: wait for me"), ("die", "3")]
