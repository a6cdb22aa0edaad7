"""The scripted agent with a planted fault, and a check of it."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from trio_broker.testing.check import Check, Program, Result, Settings, Verdict, run, select_checks

FAULTY_AGENT = Path(__file__).with_name("faulty_agent.py")
OBSERVED = ["prompt.reply", "cancel.turn"]  # the conversations that standing rules judge here

CheckFaulty = Callable[..., Awaitable[Result]]
AssertFound = Callable[[Check], Awaitable[None]]
AssertVerdict = Callable[[str, Verdict, str], Awaitable[None]]


@pytest.fixture
def check_faulty(tmp_path: Path) -> CheckFaulty:
    """`await check_faulty(fault, check)`: the result of a check of the agent that has this fault."""

    async def check_it(fault: str, check: Check, exit_within: float = 1.0) -> Result:
        argv = [sys.executable, "-S", "-E", str(FAULTY_AGENT), fault, "--memory", str(tmp_path / "memory")]
        settings = Settings(str(tmp_path), timeout=4.0, exit_within=exit_within, quiet=0.1)
        report = await run(Program(argv), settings, [check], observed=select_checks(OBSERVED))
        [result] = report.results
        assert report.passed == (result.verdict is not Verdict.FAIL)
        return result

    return check_it


@pytest.fixture
def assert_found(check_faulty: CheckFaulty) -> AssertFound:
    """`await assert_found(check)`: the check fails the agent that has its fault, and shows why."""

    async def assert_it(check: Check) -> None:
        result = await check_faulty(check.id, check)
        assert result.verdict is Verdict.FAIL, f"{result.verdict}: {result.why}"
        assert result.why and (result.frames or check.judge)

    return assert_it


@pytest.fixture
def assert_verdict(check_faulty: CheckFaulty) -> AssertVerdict:
    """`await assert_verdict("id/variant", verdict, words)`: what the check `id` says of the agent with that fault."""

    async def assert_it(fault: str, verdict: Verdict, words: str) -> None:
        [check] = select_checks([fault.partition("/")[0]])
        result = await check_faulty(fault, check, exit_within=4.0)
        assert result.verdict is verdict and words in result.why, f"{result.verdict}: {result.why}"

    return assert_it
