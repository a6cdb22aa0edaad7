"""Each check of initialize and versions finds the fault that is planted for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from trio_broker.testing.check import Check, Result, Verdict
from trio_broker.testing.check.suite import initialize

pytestmark = pytest.mark.process
CheckFaulty = Callable[..., Awaitable[Result]]


@pytest.mark.parametrize("check", initialize.CHECKS, ids=lambda check: check.id)
async def test_a_planted_fault_is_found(check: Check, check_faulty: CheckFaulty) -> None:
    result = await check_faulty(check.id, check)
    assert result.verdict is Verdict.FAIL, f"{result.verdict}: {result.why}"
    assert result.why and (result.frames or check.judge)
