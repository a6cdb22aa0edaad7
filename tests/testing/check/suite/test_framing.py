"""Each check of ids, methods and lines finds the fault that is planted for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from trio_broker.testing.check import Check, Verdict
from trio_broker.testing.check.suite import framing

pytestmark = pytest.mark.process
AssertFound = Callable[[Check], Awaitable[None]]
AssertVerdict = Callable[[str, Verdict, str], Awaitable[None]]


@pytest.mark.parametrize("check", framing.CHECKS, ids=lambda check: check.id)
async def test_a_planted_fault_is_found(check: Check, assert_found: AssertFound) -> None:
    await assert_found(check)


@pytest.mark.parametrize(
    ("fault", "verdict", "words"),
    [
        ("methods.unknown/words", Verdict.FAIL, 'was answered with an error that is no object: "what?"'),
        ("lines.batch/array", Verdict.FAIL, "a batch was answered with what is no message: '[{"),
        ("lines.no-json/trace", Verdict.FAIL, "was answered with what is no message: 'Traceback"),
        ("lines.no-object/result", Verdict.FAIL, "was answered with a result, not with error -32700"),
        ("lines.no-message/code", Verdict.FAIL, "was answered with error -32603 what?, not with"),
    ],
)
async def test_what_else_is_wrong_is_said_in_other_words(
    fault: str, verdict: Verdict, words: str, assert_verdict: AssertVerdict
) -> None:
    await assert_verdict(fault, verdict, words)
