"""The table of checks, and their run: each check has a planted fault, and an agent that does not start fails once."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from trio_broker.testing import agent
from trio_broker.testing.check import CHECKS, Program, Report, Result, Settings, Verdict, run, select_checks

FAULTY_AGENT = Path(__file__).with_name("faulty_agent.py")
PYTHON = (sys.executable, "-S", "-E")


def shown(report: Report) -> str:
    return "\n".join(f"{one.check.id}: {one.verdict} {one.why}" for one in report.results)


def failed(report: Report) -> dict[str, str]:
    return {one.check.id: one.why for one in report.results if one.verdict is Verdict.FAIL}


def test_every_check_has_a_fault() -> None:
    faults = runpy.run_path(str(FAULTY_AGENT), run_name="faulty_agent")["FAULTS"]
    assert [check.id for check in CHECKS if check.id not in faults] == []
    assert len({check.id for check in CHECKS}) == len(CHECKS)


async def test_without_a_fault_all_of_them_pass(tmp_path: Path) -> None:
    told: list[str] = []
    target = Program([*PYTHON, agent.__file__, "--memory", str(tmp_path / "memory")])
    wanted = Settings(str(tmp_path), quiet=0.1)
    report = await run(target, wanted, jobs=3, on_result=lambda result: told.append(result.check.id))
    assert {one.verdict for one in report.results} == {Verdict.PASS}, shown(report)
    assert sorted(told) == sorted(check.id for check in CHECKS)
    assert [one.check for one in report.results] == list(CHECKS)


WANTS_A_LOGIN = """
import json, sys
error = {"code": -32000, "message": "Authentication required"}
print(json.dumps({"jsonrpc": "2.0", "id": json.loads(input())["id"], "error": error}), flush=True)
sys.stdin.read()
"""


OTHER_ID = """
import json, sys
id, result = str(json.loads(input())["id"]), {"protocolVersion": 1}
print(json.dumps({"jsonrpc": "2.0", "id": id, "result": result}), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("only", "command", "why"),
    [
        ("*", ("cat",), "initialize was answered with an error"),
        ("messages", ("cat",), "initialize was answered with an error"),
        (
            "session.new",
            (sys.executable, "-c", "import sys; sys.stdin.read()"),
            "no answer to initialize within",
        ),
        (
            "session.new",
            (sys.executable, "-c", "import sys; print('no key', file=sys.stderr); sys.exit(3)"),
            "exit code 3; stderr: no key",
        ),
        ("*", (sys.executable, "-c", "print('Usage: agent')"), "the process ended with exit code 0"),
        ("session.new", (sys.executable, "-c", WANTS_A_LOGIN), "initialize needs a login"),
        ("session.new", (sys.executable, "-c", OTHER_ID), 'a response came with id "1", and 1 was asked'),
        ("session.new", ("no-such-program",), "no-such-program could not be started: "),
    ],
)
async def test_one_that_does_not_start_is_one_failure_whatever_was_to_be_checked(
    only: str, command: tuple[str, ...], why: str, tmp_path: Path
) -> None:
    checks, told = select_checks([only]), list[Result]()
    wanted = Settings(str(tmp_path), timeout=4.0)
    report = await run(Program(command), wanted, checks, on_result=told.append)
    assert told == [*report.results] and not report.passed
    assert why in failed(report)["initialize.reply"] and len(report.results) == 1
    assert [*report.untried] == [check for check in checks if check.id != "initialize.reply"]
    counted = report.as_json()["counts"]
    assert counted["fail"] == 1 and sum(counted.values()) == len({*checks, report.results[0].check})


async def test_an_agent_that_wants_a_login_is_skipped_where_it_matters(tmp_path: Path) -> None:
    target = Program([*PYTHON, agent.__file__, "--auth"])
    checks = select_checks(["initialize.reply", "session.new", "prompt.reply", "session.unknown"])
    report = await run(target, Settings(str(tmp_path), quiet=0.1), checks)
    found = {one.check.id: one.verdict for one in report.results}
    assert found["session.new"] is found["prompt.reply"] is Verdict.UNTRIED
    assert report.needed_options() == {"--login": ["session.new", "prompt.reply"]}
    assert found["initialize.reply"] is found["session.unknown"] is Verdict.PASS
    wanted = Settings(str(tmp_path), login="login", quiet=0.1)
    assert {one.verdict for one in (await run(target, wanted, checks)).results} == {Verdict.PASS}
