"""Every check finds what it is for: the scripted agent passes it, and fails it with one planted fault."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from trio_broker.testing import agent
from trio_broker.testing.check import CHECKS, Check, Program, Report, Settings, Verdict, run, select_checks

FAULTY = Path(__file__).with_name("faulty.py")
FAULTS = runpy.run_path(str(FAULTY), run_name="faulty")["FAULTS"]
OVER = ["prompt.reply", "cancel.turn"]  # the conversations that standing rules look at here
PYTHON = (sys.executable, "-S", "-E")


def settings(place: Path, exit_within: float = 1.0) -> Settings:
    return Settings(str(place), timeout=4.0, exit_within=exit_within, quiet=0.1)


def shown(report: Report) -> str:
    return "\n".join(f"{one.check.id}: {one.verdict} {one.why}" for one in report.results)


def test_every_check_has_a_fault() -> None:
    assert [check.id for check in CHECKS if check.id not in FAULTS] == []
    assert len({check.id for check in CHECKS}) == len(CHECKS)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
async def test_a_planted_fault_is_found(check: Check, tmp_path: Path) -> None:
    target = Program([*PYTHON, str(FAULTY), check.id, "--memory", str(tmp_path / "memory")])
    report = await run(target, settings(tmp_path), [check], observed=select_checks(OVER))
    [result] = report.results
    assert result.verdict is Verdict.FAIL, f"{result.verdict}: {result.why}"
    assert result.why and not report.passed
    assert result.frames or check.judge


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
        ("methods.unknown/words", Verdict.FAIL, 'was answered with an error that is no object: "what?"'),
        ("ask.reject/asks-only", Verdict.FAIL, "the turn ended while its question was open"),
        ("ask.cancel/asks-only", Verdict.FAIL, "the turn ended while its question was open"),
        ("ask.reject/does", Verdict.FAIL, "and the tool call was told as completed all the same"),
        ("end.children", Verdict.FAIL, "after its end there still run: "),
        ("lines.batch/array", Verdict.FAIL, "a batch was answered with what is no message: '[{"),
        ("lines.no-json/trace", Verdict.FAIL, "was answered with what is no message: 'Traceback"),
        ("lines.no-object/result", Verdict.FAIL, "was answered with a result, not with error -32700"),
        ("lines.no-message/code", Verdict.FAIL, "was answered with error -32603 what?, not with"),
        ("session.load/nothing", Verdict.FAIL, "nothing of the conversation was replayed before"),
        ("session.load/answers", Verdict.FAIL, "the prompt is not among what was replayed"),
    ],
)
async def test_what_else_is_wrong_is_said_in_other_words(
    fault: str, verdict: Verdict, words: str, tmp_path: Path
) -> None:
    target = Program([*PYTHON, str(FAULTY), fault, "--memory", str(tmp_path / "memory")])
    patient = settings(tmp_path, exit_within=4.0)
    [result] = (await run(target, patient, select_checks([fault.partition("/")[0]]))).results
    assert result.verdict is verdict and words in result.why, f"{result.verdict}: {result.why}"


async def test_without_a_fault_all_of_them_pass(tmp_path: Path) -> None:
    told: list[str] = []
    target = Program([*PYTHON, agent.__file__, "--memory", str(tmp_path / "memory")])
    wanted = Settings(str(tmp_path), quiet=0.1)
    report = await run(target, wanted, jobs=3, on_result=lambda result: told.append(result.check.id))
    assert {one.verdict for one in report.results} == {Verdict.PASS}, shown(report)
    assert sorted(told) == sorted(check.id for check in CHECKS)
    assert [one.check for one in report.results] == list(CHECKS)
