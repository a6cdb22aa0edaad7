"""The answers that keys can give to a request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trio_broker.tui.question.model import answer_choices

Json = dict[str, Any]
Make = Callable[..., Json]


def test_the_options_of_a_permission(agent_request: Make) -> None:
    choices = answer_choices(agent_request("1-1", "sure?", 1.0))
    assert [(one.name, one.is_rejection, one.letter) for one in choices] == [
        ("Apply the change", False, "y"),
        ("Apply, and do not ask again", False, "A"),
        ("Leave the file as it is", True, "n"),
    ]
    assert [one.params for one in choices] == [
        {"optionId": "apply"}, {"optionId": "always"}, {"optionId": "leave"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kinds", "letters"),
    [
        (["allow_once", "allow_once", "reject_once"], ["", "", "n"]),
        (["reject_always", "reject_once"], ["D", "n"]),
        (["allow_forever", "", None, 7, ["allow_once"]], ["", "", "", "", ""]),
        ([*["reject_once"] * 8, "allow_once", "allow_once"], [""] * 9),
    ],
)
def test_a_letter_stands_for_the_only_option_of_its_kind(
    kinds: list[Any], letters: list[str], agent_request: Make
) -> None:
    options = [{"optionId": f"o{number}", "name": "", "kind": kind} for number, kind in enumerate(kinds)]
    choices = answer_choices(agent_request("1-1", "sure?", 1.0) | {"options": options})
    assert [one.letter for one in choices] == letters
    assert [one.needs_confirmation for one in choices] == [
        kind not in ("allow_once", "reject_once") for kind in kinds[:9]
    ]


def test_what_is_not_a_permission(agent_request: Make) -> None:
    permission = agent_request("1-1", "sure?", 1.0)
    form = permission | {"method": "elicitation/create", "mode": "form", "options": []}
    assert [one.params for one in answer_choices(form)] == [{"answer": "deny"}]
    url = form | {"elicitation": {"mode": "url", "url": "https://example.net/"}}
    for one in (form | {"mode": "url"}, url):
        assert [choice.params for choice in answer_choices(one)] == [{"answer": "allow"}, {"answer": "deny"}]
    assert answer_choices(permission | {"method": "their/own", "options": []}) == []


@pytest.mark.parametrize("count", [2, 9, 12])
def test_a_form_that_is_one_choice_is_answered_by_its_options_and_can_always_be_declined(
    count: int, agent_request: Make
) -> None:
    values = [{"optionId": f"v{n}", "name": f"V{n}", "kind": "allow_once"} for n in range(count)]
    decline = {"optionId": "decline", "name": "Decline", "kind": "reject_once"}
    form = {"method": "elicitation/create", "mode": "form", "options": [*values, decline]}
    choices = answer_choices(agent_request("1-1", "which?", 1.0) | form)
    shown = min(count, 8)
    assert [one.params["optionId"] for one in choices] == [*(f"v{n}" for n in range(shown)), "decline"]
    assert [one.letter for one in choices] == [*[""] * shown, "n"]
