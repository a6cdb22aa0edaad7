"""Each check of sessions finds the fault that is planted for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from trio_broker.testing.check import Check, Verdict
from trio_broker.testing.check.suite import sessions

pytestmark = pytest.mark.process
AssertFound = Callable[[Check], Awaitable[None]]
AssertVerdict = Callable[[str, Verdict, str], Awaitable[None]]


@pytest.mark.parametrize("check", sessions.CHECKS, ids=lambda check: check.id)
async def test_a_planted_fault_is_found(check: Check, assert_found: AssertFound) -> None:
    await assert_found(check)


@pytest.mark.parametrize(
    ("fault", "verdict", "words"),
    [
        ("session.modes/current", Verdict.FAIL, "currentModeId 'nobody' is none of availableModes"),
        ("session.modes/twice", Verdict.FAIL, "two of availableModes have the same id"),
        ("session.modes/none", Verdict.UNSUPPORTED, "session/new named no modes"),
        ("session.options/value", Verdict.FAIL, "is 'nothing of it', none of its options"),
        ("session.options/none", Verdict.UNSUPPORTED, "session/new named no options to select from"),
        ("session.options/untold", Verdict.FAIL, "was answered without configOptions"),
        ("session.options/fewer", Verdict.FAIL, "and it must be all of them"),
        ("session.options/unmoved", Verdict.FAIL, "and is told as ['as before']"),
        ("session.list/twice", Verdict.FAIL, "a session is twice in the list"),
        ("session.list/untold", Verdict.FAIL, "session/list was answered without sessions"),
        ("session.list/endless", Verdict.FAIL, "session/list has a nextCursor even after"),
        ("session.load/nothing", Verdict.FAIL, "nothing of the conversation was replayed before"),
        ("session.load/answers", Verdict.FAIL, "the prompt is not among what was replayed"),
    ],
)
async def test_what_else_is_wrong_is_said_in_other_words(
    fault: str, verdict: Verdict, words: str, assert_verdict: AssertVerdict
) -> None:
    await assert_verdict(fault, verdict, words)
