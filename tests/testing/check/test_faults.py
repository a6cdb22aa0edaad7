"""Every check finds what it is for: the scripted agent passes it, and fails it with one planted fault."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from trio_broker.testing import agent
from trio_broker.testing.check import CHECKS, Check, Program, Report, Settings, Verdict, chosen, run

FAULTY = Path(__file__).with_name("faulty.py")
FAULTS = runpy.run_path(str(FAULTY), run_name="faulty")["FAULTS"]
OVER = ["prompt.reply", "cancel.turn"]  # the conversations that standing rules look at here
PYTHON = (sys.executable, "-S", "-E")


def settings(place: Path) -> Settings:
    return Settings(str(place), timeout=4.0, exit_within=1.0, quiet=0.1)


def shown(report: Report) -> str:
    return "\n".join(f"{one.check.id}: {one.verdict} {one.why}" for one in report.results)


def test_every_check_has_a_fault() -> None:
    assert [check.id for check in CHECKS if check.id not in FAULTS] == []
    assert len({check.id for check in CHECKS}) == len(CHECKS)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
async def test_a_planted_fault_is_found(check: Check, tmp_path: Path) -> None:
    target = Program([*PYTHON, str(FAULTY), check.id, "--memory", str(tmp_path / "memory")])
    report = await run(target, settings(tmp_path), [check], over=chosen(OVER))
    [result] = report.results
    assert result.verdict is Verdict.FAIL, f"{result.verdict}: {result.why}"
    assert result.why and not report.passed
    assert result.frames or check.judge


async def test_without_a_fault_all_of_them_pass(tmp_path: Path) -> None:
    told: list[str] = []
    target = Program([*PYTHON, agent.__file__, "--memory", str(tmp_path / "memory")])
    wanted = Settings(str(tmp_path), quiet=0.1)
    report = await run(target, wanted, jobs=3, tell=lambda result: told.append(result.check.id))
    assert {one.verdict for one in report.results} == {Verdict.PASS}, shown(report)
    assert sorted(told) == sorted(check.id for check in CHECKS)
    assert [one.check for one in report.results] == list(CHECKS)
