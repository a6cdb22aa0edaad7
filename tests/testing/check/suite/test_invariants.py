"""Each check of all messages finds the fault that is planted for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from trio_broker.testing.check import Check
from trio_broker.testing.check.suite import invariants

pytestmark = pytest.mark.process
AssertFound = Callable[[Check], Awaitable[None]]


@pytest.mark.parametrize("check", invariants.CHECKS, ids=lambda check: check.id)
async def test_a_planted_fault_is_found(check: Check, assert_found: AssertFound) -> None:
    await assert_found(check)
