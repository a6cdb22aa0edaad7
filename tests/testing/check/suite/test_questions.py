"""Each check of forms and terminals finds the fault that is planted for it, and a form is filled in as it wants."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
import pytest
from jsonschema import Draft202012Validator

from trio_broker.testing import agent
from trio_broker.testing.check import Check, Program, Settings, Verdict, run, select_checks
from trio_broker.testing.check.conversation import Json
from trio_broker.testing.check.suite import questions
from trio_broker.testing.check.suite.questions import filled
from trio_broker.testing.scripted_agent.questions import FORM

AssertFound = Callable[[Check], Awaitable[None]]
AssertVerdict = Callable[[str, Verdict, str], Awaitable[None]]


@pytest.mark.parametrize("check", questions.CHECKS, ids=lambda check: check.id)
async def test_a_planted_fault_is_found(check: Check, assert_found: AssertFound) -> None:
    await assert_found(check)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("elicitation.accept/asks-only", "the turn ended while its form was open"),
        ("elicitation.cancel/asks-only", "the turn ended while its form was open"),
        ("elicitation.accept/url", "it sent mode 'url', and the client offered only forms"),
        ("elicitation.accept/schema", "the form can't be filled in: requestedSchema.properties"),
        ("terminal.release/after", "terminal/output of terminal-1, which was released before"),
        ("terminal.release/unknown", "terminal/output of t, which was not created"),
    ],
)
async def test_what_else_is_wrong_is_said_in_other_words(
    fault: str, words: str, assert_verdict: AssertVerdict
) -> None:
    await assert_verdict(fault, Verdict.FAIL, words)


@pytest.mark.parametrize(
    "elicit",
    [
        *("elicit", "elicit-choice", "elicit-boolean", "elicit-form", "ask-user Which color?"),
        "elicit-boolean; elicit-form; elicit-url https://example.org",
        'elicit-boolean; elicit-raw {"mode": "form", "requestedSchema": 5}',
    ],
)
async def test_every_form_can_be_answered(elicit: str, tmp_path: Path) -> None:
    prompts = attrs.evolve(Settings(str(tmp_path), quiet=0.05), elicit=elicit)
    target = Program([sys.executable, "-S", "-E", agent.__file__])
    checks = select_checks(["elicitation.accept", "elicitation.decline", "elicitation.cancel"])
    report = await run(target, prompts, checks, jobs=3)
    assert {one.check.id: one.why for one in report.results if one.verdict is not Verdict.PASS} == {}


async def test_an_agent_that_asks_by_no_form_and_uses_no_terminal_does_not_fail(tmp_path: Path) -> None:
    prompts = attrs.evolve(Settings(str(tmp_path), quiet=0.05), elicit="ask it", terminal="run true")
    target = Program([sys.executable, "-S", "-E", agent.__file__])
    report = await run(target, prompts, questions.CHECKS, jobs=3)
    verdicts = {one.check.id: one.verdict for one in report.results}
    assert verdicts.pop("elicitation.unoffered") is Verdict.PASS
    assert set(verdicts.values()) == {Verdict.UNSUPPORTED}


STRING, NUMBER, INTEGER = {"type": "string"}, {"type": "number"}, {"type": "integer"}
LIST = {"type": "array", "items": {"anyOf": [{"const": "a", "title": "A"}, {"const": "b", "title": "B"}]}}


@pytest.mark.parametrize(
    "properties",
    [
        FORM,
        {"a": STRING, "b": NUMBER, "c": INTEGER, "d": {"type": "boolean"}, "e": LIST},
        {"a": {**STRING, "minLength": 30}, "b": {**STRING, "maxLength": 1}, "c": {**STRING, "maxLength": 0}},
        {"a": {**STRING, "format": "email"}, "b": {**STRING, "format": "date-time"}},
        {"a": {**INTEGER, "minimum": 5}, "b": {**INTEGER, "maximum": 0}, "c": {**INTEGER, "minimum": -3}},
        {"a": {**NUMBER, "minimum": 0.1, "maximum": 0.2}, "b": {**NUMBER, "maximum": 0.5}},
        {"a": {**LIST, "minItems": 2}, "b": {**LIST, "maxItems": 0}, "c": {**LIST, "minItems": None}},
        {"a": {**STRING, "default": "x"}, "b": {"type": "boolean", "default": False}},
        {},
    ],
)
def test_a_form_is_filled_in_with_what_fits_it(properties: Json) -> None:
    content = filled({"requestedSchema": {"type": "object", "properties": properties}})
    assert content.keys() == properties.keys()
    schema = {name: {k: v for k, v in field.items() if v is not None} for name, field in properties.items()}
    Draft202012Validator({"type": "object", "properties": schema}).validate(content)


def test_a_field_that_nothing_is_known_to_fit_is_left_out() -> None:
    fields = {"a": {"type": "string", "pattern": "[0-9]{7}"}, "b": {"type": "_color"}, "c": STRING}
    assert filled({"requestedSchema": {"type": "object", "properties": fields}}) == {"c": "ok"}
