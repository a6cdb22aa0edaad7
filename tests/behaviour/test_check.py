"""`check` of our own programs: the demo agent keeps every rule, and a broker before an agent breaks none."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from trio_broker.agent import catalog
from trio_broker.config.config import Config
from trio_broker.testing import agent
from trio_broker.testing.check import (
    Endpoint,
    Program,
    Report,
    Settings,
    Target,
    Verdict,
    run,
    select_checks,
)
from trio_broker.testing.processes.home import TRIO_BROKER, Home

PYTHON = (sys.executable, "-S", "-E")
FAULTY_AGENT = Path(__file__).parents[1] / "testing" / "check" / "faulty_agent.py"
IN_TERMINAL = "terminal.release"  # a broker offers no terminals of a client's unless it is configured to
ODD = "session.two"  # a fault that a broker can't hide: both sessions have one id


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    memory = ["--memory", str(tmp_path_factory.mktemp("memory"))]
    agents = {"good": [*PYTHON, agent.__file__, *memory], "odd": [*PYTHON, str(FAULTY_AGENT), ODD, *memory]}
    lines = [f"[agents.{name}]\ncommand = {json.dumps(argv)}" for name, argv in agents.items()]
    config = "\n".join(['default_agent = "good"\n[listen]\nwebsocket = "127.0.0.1:0"', *lines])
    with Home(config, TRIO_BROKER_DEMO_SPEED="1") as home:
        yield home


@pytest.fixture(scope="module")
def token(home: Home) -> str:
    """An admin's token of that broker, which it starts."""
    found: str = home.json("token", "new", "--name", "check", "--scope", "admin")["token"]
    return found


def endpoint(kind: str, name: str, home: Home, token: str) -> Target:
    if kind == "socket":
        return Endpoint(str(home.socket), bind={"agent": name})
    if kind == "websocket":
        return Endpoint(f"{home.status()['websocket']}/{name}", token)
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
        *("elicitation.accept", "elicitation.decline", "elicitation.cancel", "terminal.release"),
    }


@pytest.mark.parametrize("kind", ["socket", "websocket"])
async def test_the_broker_before_an_agent_adds_no_failure(
    kind: str, home: Home, token: str, tmp_path: Path
) -> None:
    """The agent alone passes everything (tests/testing/check/test_runner.py)."""
    report = await run(endpoint(kind, "good", home, token), settings(tmp_path), jobs=3)
    assert failed(report) == {}
    skipped = {one.check.id for one in report.results if one.verdict is not Verdict.PASS}
    lines = {check.id for check in select_checks(["lines"])} - {"lines.long", "lines.unicode"}
    ends = {check.id for check in select_checks(["end"])}
    assert skipped == {"socket": ends, "websocket": ends | lines}[kind] | {IN_TERMINAL}


@pytest.mark.parametrize(
    "ask",
    [
        "ask-by-id write check.txt",
        "ask-by-id edit check.txt",
        "ask-short write check.txt",
        "ask-as read execute write check.txt",
        "ask-updated read execute write check.txt",
        "ask-edit check.txt ok",
        "ask-edit-by-id check.txt ok",
    ],
)
async def test_a_question_keeps_the_rules_whatever_it_repeats_of_its_tool_call(
    ask: str, home: Home, token: str, tmp_path: Path
) -> None:
    """Alone and behind a broker: what a request leaves out was announced, and is not done if it is rejected."""
    checks = select_checks(["ask", "messages"])
    asking = attrs.evolve(settings(tmp_path), ask=ask)
    alone = Program([*PYTHON, agent.__file__, "--memory", str(tmp_path / "memory")])
    for target in (alone, endpoint("socket", "good", home, token)):
        report = await run(target, asking, checks, observed=select_checks(["ask"]), jobs=3)
        assert {one.check.id: one.why for one in report.results if one.verdict is not Verdict.PASS} == {}


async def test_a_question_of_a_child_session_keeps_the_rules_behind_a_broker(
    home: Home, token: str, tmp_path: Path
) -> None:
    """Clients of version 1 know no child sessions: the broker asks under the id of the session itself."""
    asking = attrs.evolve(settings(tmp_path), ask="ask-child write check.txt")
    target = endpoint("socket", "good", home, token)
    report = await run(
        target, asking, select_checks(["ask", "messages"]), observed=select_checks(["ask"]), jobs=3
    )
    assert {one.check.id: one.why for one in report.results if one.verdict is not Verdict.PASS} == {}


async def test_the_broker_on_stdio_adds_no_failure(home: Home, token: str, tmp_path: Path) -> None:
    """Some of it: each check starts the command anew."""
    checks = select_checks(["lines", "end", "ids.int64", "session.close-running", "ask.cancel"])
    report = await run(endpoint("stdio", "good", home, token), settings(tmp_path), checks, jobs=3)
    assert failed(report) == {}
    assert {one.verdict for one in report.results} == {Verdict.PASS}


async def test_the_broker_before_the_demo_adds_what_that_lacks(
    home: Home, token: str, tmp_path: Path
) -> None:
    report = await run(endpoint("socket", "demo", home, token), settings(tmp_path), jobs=3)
    assert failed(report) == {}
    found = {one.check.id: one.verdict for one in report.results}
    assert found["session.load"] is found["session.list"] is found["session.delete"] is Verdict.PASS


async def test_a_fault_of_an_agent_is_seen_or_mended_but_not_multiplied(
    home: Home, token: str, tmp_path: Path
) -> None:
    memory = str(tmp_path / "memory")
    checks = select_checks(["session.two", "session.new", "prompt.reply", "cancel.turn", "ask.allow"])
    alone = await run(
        Program([*PYTHON, str(FAULTY_AGENT), ODD, "--memory", memory]), settings(tmp_path), checks
    )
    behind = await run(endpoint("socket", "odd", home, token), settings(tmp_path), checks)
    assert failed(alone).keys() >= {"session.two"}
    assert failed(behind).keys() <= failed(alone).keys()
