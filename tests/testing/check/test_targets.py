"""The battery aimed at our own: the demo's agent keeps every rule, and the broker before an agent breaks none."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trio_broker import catalog
from trio_broker.config import Config
from trio_broker.errors import NoBroker, SpawnFailed
from trio_broker.testing import agent
from trio_broker.testing.check import Door, Program, Report, Settings, Target, Verdict, chosen, run
from trio_broker.testing.home import TRIO_BROKER, Home

PYTHON = (sys.executable, "-S", "-E")
FAULTY = Path(__file__).with_name("faulty.py")
ODD = "session.two"  # a fault that a broker can't hide: both sessions have one id


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    memory = ["--memory", str(tmp_path_factory.mktemp("memory"))]
    agents = {"good": [*PYTHON, agent.__file__, *memory], "odd": [*PYTHON, str(FAULTY), ODD, *memory]}
    lines = [f"[agents.{name}]\ncommand = {json.dumps(argv)}" for name, argv in agents.items()]
    config = "\n".join(['default_agent = "good"\n[listen]\nwebsocket = "127.0.0.1:0"', *lines])
    with Home(config, TRIO_BROKER_DEMO_SPEED="1") as home:
        yield home


@pytest.fixture(scope="module")
def token(home: Home) -> str:
    """An admin's token of that broker, which it starts."""
    found: str = home.json("token", "new", "--name", "check", "--scope", "admin")["token"]
    return found


def door(kind: str, name: str, home: Home, token: str) -> Target:
    if kind == "socket":
        return Door(str(home.socket), bind={"agent": name})
    if kind == "websocket":
        return Door(f"{home.status()['websocket']}/{name}", token)
    return Program([*TRIO_BROKER, "acp", "-a", name], home.env)


def settings(place: Path) -> Settings:
    return Settings(str(place), quiet=0.1)


def failed(report: Report) -> dict[str, str]:
    return {one.check.id: one.why for one in report.results if one.verdict is Verdict.FAIL}


async def test_the_agent_of_the_demo_keeps_every_rule(tmp_path: Path) -> None:
    demo = Program(catalog.resolve("demo", Config()).argv)
    report = await run(demo, settings(tmp_path), jobs=3)
    assert failed(report) == {}
    lacks = {one.check.id for one in report.results if one.verdict is not Verdict.PASS}
    assert lacks == {
        *("session.options", "session.list", "session.load", "session.load-unknown"),
        *("session.delete", "session.delete-one"),
    }


@pytest.mark.parametrize("kind", ["socket", "websocket"])
async def test_the_broker_before_an_agent_adds_no_failure(
    kind: str, home: Home, token: str, tmp_path: Path
) -> None:
    """The agent alone passes everything (test_faults)."""
    report = await run(door(kind, "good", home, token), settings(tmp_path), jobs=3)
    assert failed(report) == {}
    skipped = {one.check.id for one in report.results if one.verdict is not Verdict.PASS}
    lines = {check.id for check in chosen(["lines"])} - {"lines.long", "lines.unicode"}
    ends = {check.id for check in chosen(["end"])}
    assert skipped == {"socket": ends, "websocket": ends | lines}[kind]


async def test_the_broker_on_stdio_adds_no_failure(home: Home, token: str, tmp_path: Path) -> None:
    """Some of it: each check starts the command anew."""
    checks = chosen(["lines", "end", "ids.int64", "session.close-running", "ask.cancel"])
    report = await run(door("stdio", "good", home, token), settings(tmp_path), checks, jobs=3)
    assert failed(report) == {}
    assert {one.verdict for one in report.results} == {Verdict.PASS}


async def test_the_broker_before_the_demo_adds_what_that_lacks(
    home: Home, token: str, tmp_path: Path
) -> None:
    report = await run(door("socket", "demo", home, token), settings(tmp_path), jobs=3)
    assert failed(report) == {}
    found = {one.check.id: one.verdict for one in report.results}
    assert found["session.load"] is found["session.list"] is found["session.delete"] is Verdict.PASS


async def test_a_fault_of_an_agent_is_seen_or_mended_but_not_multiplied(
    home: Home, token: str, tmp_path: Path
) -> None:
    memory = str(tmp_path / "memory")
    checks = chosen(["session.two", "session.new", "prompt.reply", "cancel.turn", "ask.allow"])
    alone = await run(Program([*PYTHON, str(FAULTY), ODD, "--memory", memory]), settings(tmp_path), checks)
    behind = await run(door("socket", "odd", home, token), settings(tmp_path), checks)
    assert failed(alone).keys() >= {"session.two"}
    assert failed(behind).keys() <= failed(alone).keys()


async def test_what_can_not_be_reached_is_an_error_and_no_result(tmp_path: Path) -> None:
    for target, error in (
        (Program(["no-such-program"]), SpawnFailed),
        (Door(str(tmp_path / "no.sock")), NoBroker),
    ):
        with pytest.RaisesGroup(pytest.RaisesExc(error), flatten_subgroups=True, allow_unwrapped=True):
            await run(target, settings(tmp_path))


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("import sys; sys.stdin.read()", "no answer to initialize within 1 s"),
        ("import sys; print('no key', file=sys.stderr); sys.exit(3)", "exit code 3; stderr: no key"),
        ("print('Usage: agent')", "the process ended with exit code 0"),
    ],
)
async def test_one_that_does_not_start_is_waited_for_once(program: str, why: str, tmp_path: Path) -> None:
    target = Program([sys.executable, "-c", program])
    report = await run(target, Settings(str(tmp_path), timeout=1.0))
    assert why in failed(report)["initialize.reply"]
    rest = [one for one in report.results if one.check.id != "initialize.reply"]
    assert {one.verdict for one in rest if one.check.run} == {Verdict.SKIPPED}


async def test_an_agent_that_wants_a_login_is_skipped_where_it_matters(tmp_path: Path) -> None:
    target = Program([*PYTHON, agent.__file__, "--auth"])
    checks = chosen(["initialize.reply", "session.new", "prompt.reply", "session.unknown"])
    report = await run(target, settings(tmp_path), checks)
    found = {one.check.id: one.verdict for one in report.results}
    assert found["session.new"] is found["prompt.reply"] is Verdict.SKIPPED
    assert found["initialize.reply"] is found["session.unknown"] is Verdict.PASS
    wanted = Settings(str(tmp_path), login="login", quiet=0.1)
    assert {one.verdict for one in (await run(target, wanted, checks)).results} == {Verdict.PASS}
