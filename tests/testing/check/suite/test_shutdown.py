"""Each check of the end of the process finds the fault that is planted for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from trio_broker.testing.check import Check, Result, Verdict, select_checks
from trio_broker.testing.check.suite import shutdown

pytestmark = pytest.mark.process
CheckFaulty = Callable[..., Awaitable[Result]]


@pytest.mark.parametrize("check", shutdown.CHECKS, ids=lambda check: check.id)
async def test_a_planted_fault_is_found(check: Check, check_faulty: CheckFaulty) -> None:
    result = await check_faulty(check.id, check)
    assert result.verdict is Verdict.FAIL, f"{result.verdict}: {result.why}"
    assert result.why and (result.frames or check.judge)


@pytest.mark.parametrize(
    ("fault", "verdict", "words"),
    [
        ("end.children", Verdict.FAIL, "after its end there still run: "),
    ],
)
async def test_what_else_is_wrong_is_said_in_other_words(
    fault: str, verdict: Verdict, words: str, check_faulty: CheckFaulty
) -> None:
    [check] = select_checks([fault.partition("/")[0]])
    result = await check_faulty(fault, check, exit_within=4.0)
    assert result.verdict is verdict and words in result.why, f"{result.verdict}: {result.why}"
