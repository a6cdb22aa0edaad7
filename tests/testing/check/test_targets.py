"""The battery aimed at our own: the demo's agent keeps every rule, and the broker before an agent breaks none."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from trio_broker import catalog
from trio_broker.config import Config
from trio_broker.errors import NoBroker
from trio_broker.link import WRITE_PATIENCE
from trio_broker.testing import agent
from trio_broker.testing.check import (
    Endpoint,
    Program,
    Report,
    Result,
    Settings,
    Target,
    Verdict,
    run,
    select_checks,
)
from trio_broker.testing.check.report import as_junit
from trio_broker.testing.processes.home import TRIO_BROKER, Home

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
    }


@pytest.mark.parametrize("kind", ["socket", "websocket"])
async def test_the_broker_before_an_agent_adds_no_failure(
    kind: str, home: Home, token: str, tmp_path: Path
) -> None:
    """The agent alone passes everything (test_faults)."""
    report = await run(endpoint(kind, "good", home, token), settings(tmp_path), jobs=3)
    assert failed(report) == {}
    skipped = {one.check.id for one in report.results if one.verdict is not Verdict.PASS}
    lines = {check.id for check in select_checks(["lines"])} - {"lines.long", "lines.unicode"}
    ends = {check.id for check in select_checks(["end"])}
    assert skipped == {"socket": ends, "websocket": ends | lines}[kind]


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
    alone = await run(Program([*PYTHON, str(FAULTY), ODD, "--memory", memory]), settings(tmp_path), checks)
    behind = await run(endpoint("socket", "odd", home, token), settings(tmp_path), checks)
    assert failed(alone).keys() >= {"session.two"}
    assert failed(behind).keys() <= failed(alone).keys()


async def test_a_door_that_can_not_be_reached_is_an_error_and_no_result(tmp_path: Path) -> None:
    target = Endpoint(str(tmp_path / "no.sock"))
    with pytest.RaisesGroup(pytest.RaisesExc(NoBroker), flatten_subgroups=True, allow_unwrapped=True):
        await run(target, settings(tmp_path))


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


SOON = """
import json, sys
cancelled_with, held, turns = sys.argv[1], None, 0
def send(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    method, params, id = asked["method"], asked["params"], asked.get("id")
    if method == "initialize":
        send(id=id, result={"protocolVersion": 1})
    elif method == "session/new":
        send(id=id, result={"sessionId": "s"})
    elif method == "session/prompt":
        turns += 1
        held = id if cancelled_with and turns > 1 else None
        content = {"type": "text", "text": "hello"}
        update = {"sessionUpdate": "agent_message_chunk", "content": content}
        send(method="session/update", params={"sessionId": "s", "update": update})
        if held is None:
            send(id=id, result={"stopReason": "end_turn"})
    elif method == "session/cancel" and held and cancelled_with == "cancelled":
        send(id=held, result={"stopReason": "cancelled"})
        held = None
    elif id is not None:
        send(id=id, error={"code": -32601, "message": "Method not found"})
        if held:
            send(id=held, result={"stopReason": cancelled_with})
            held = None
"""


@pytest.mark.parametrize(
    ("cancelled_with", "verdict", "why", "option"),
    [
        ("cancelled", Verdict.PASS, "soon after its beginning", ""),
        (
            "end_turn",
            Verdict.FAIL,
            "the cancelled turn ended with end_turn, and it was running when the cancel was read",
            "",
        ),
        ("", Verdict.UNTRIED, "the turn ended before it could be cancelled", "--prompt-long"),
    ],
)
async def test_turns_that_do_not_last_are_cancelled_all_the_same(
    cancelled_with: str, verdict: Verdict, why: str, option: str, tmp_path: Path
) -> None:
    target = Program([sys.executable, "-c", SOON, cancelled_with])
    report = await run(target, settings(tmp_path), select_checks(["cancel.turn"]))
    [result] = report.results
    assert (result.verdict, result.option) == (verdict, option) and result.why.startswith(why)
    assert report.needed_options() == ({option: ["cancel.turn"]} if option else {})


GIVES_UP = """
import json, sys, traceback
for line in sys.stdin:
    asked = json.loads(line)
    if asked["method"] == "initialize":
        result = {"protocolVersion": 1}
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
    else:
        try:
            {}["nobody"]
        except KeyError:
            traceback.print_exc()
"""


async def test_what_an_agent_says_on_stderr_and_does_not_die_of_is_told(tmp_path: Path) -> None:
    target = Program([sys.executable, "-c", GIVES_UP])
    report = await run(target, Settings(str(tmp_path), timeout=4.0), select_checks(["session.unknown"]))
    [result] = report.results
    assert result.why == "no answer to session/prompt within 4 s; stderr: KeyError: 'nobody'"
    assert result.stderr[0].startswith("Traceback") and result.stderr[-1] == "KeyError: 'nobody'"
    assert result.as_json()["stderr"] == [*result.stderr]
    assert f"<system-err>{result.stderr[0]}\n" in as_junit(report)


READS_NO_MORE = """
import json, time
result = {"protocolVersion": 1}
print(json.dumps({"jsonrpc": "2.0", "id": json.loads(input())["id"], "result": result}), flush=True)
time.sleep(600)
"""


async def test_an_agent_that_does_not_read_is_waited_for_no_longer_than_for_any_answer(
    tmp_path: Path,
) -> None:
    target = Program([sys.executable, "-c", READS_NO_MORE])
    with trio.fail_after(WRITE_PATIENCE / 2):
        report = await run(target, Settings(str(tmp_path), timeout=1.0), select_checks(["lines.long"]))
    [result] = report.results
    assert result.why == "no answer to _trio_broker_check/none within 1 s"
    assert b"it does not read any more" in [frame.raw for frame in result.frames]


async def test_an_agent_that_wants_a_login_is_skipped_where_it_matters(tmp_path: Path) -> None:
    target = Program([*PYTHON, agent.__file__, "--auth"])
    checks = select_checks(["initialize.reply", "session.new", "prompt.reply", "session.unknown"])
    report = await run(target, settings(tmp_path), checks)
    found = {one.check.id: one.verdict for one in report.results}
    assert found["session.new"] is found["prompt.reply"] is Verdict.UNTRIED
    assert report.needed_options() == {"--login": ["session.new", "prompt.reply"]}
    assert found["initialize.reply"] is found["session.unknown"] is Verdict.PASS
    wanted = Settings(str(tmp_path), login="login", quiet=0.1)
    assert {one.verdict for one in (await run(target, wanted, checks)).results} == {Verdict.PASS}
