"""Each check of the end of the process finds the fault that is planted for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from trio_broker.testing.check import Check, Verdict
from trio_broker.testing.check.suite import shutdown

pytestmark = pytest.mark.process
AssertFound = Callable[[Check], Awaitable[None]]
AssertVerdict = Callable[[str, Verdict, str], Awaitable[None]]


@pytest.mark.parametrize("check", shutdown.CHECKS, ids=lambda check: check.id)
async def test_a_planted_fault_is_found(check: Check, assert_found: AssertFound) -> None:
    await assert_found(check)


@pytest.mark.parametrize(
    ("fault", "verdict", "words"),
    [
        ("end.children", Verdict.FAIL, "after its end there still run: "),
    ],
)
async def test_what_else_is_wrong_is_said_in_other_words(
    fault: str, verdict: Verdict, words: str, assert_verdict: AssertVerdict
) -> None:
    await assert_verdict(fault, verdict, words)
