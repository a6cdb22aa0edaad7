"""The official TypeScript SDK: as a client over stdio and the WebSocket, and as an agent under the broker."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trio_broker.testing.check import Endpoint, Program, Report, Settings, Verdict, run, select_checks
from trio_broker.testing.processes.home import LIMIT, TRIO_BROKER, Home

pytestmark = pytest.mark.node

HERE = Path(__file__).parent
Play = Callable[[str], Any]


@pytest.fixture(params=["stdio", "header", "protocol", "browser"])
def play(
    home: Home, node_sdk: Path, tmp_path: Path, url: str, token: str, request: pytest.FixtureRequest
) -> Play:
    """Plays a scene of client.mjs with the demo agent behind the broker; what it found out.

    Over `trio-broker acp`, and over the WebSocket with the token in a header (npm ws) or a sub-protocol: also by the
    WebSocket that browsers have, which fails when none of its sub-protocols is acknowledged.
    """
    over = (*TRIO_BROKER, "acp", "-a", "demo") if request.param == "stdio" else (url, request.param, token)

    def play(scene: str) -> Any:
        node = ["node", "--experimental-websocket"] if request.param == "browser" else ["node"]
        client = [*node, str(HERE / "client.mjs"), str(node_sdk), scene, str(tmp_path)]
        done = subprocess.run(
            [*client, *over],
            env=home.env,
            capture_output=True,
            encoding="utf-8",
            timeout=LIMIT,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        found = json.loads(done.stdout)
        assert found["exit"] == 0, "the end of stdin is a good end"
        return found

    return play


def test_a_turn_with_everything_in_it(play: Play) -> None:
    found = play("turn")
    introduced = found["introduced"]
    assert introduced["protocolVersion"] == 1 and introduced["agentInfo"]["name"] == "demo"
    assert introduced["agentCapabilities"]["sessionCapabilities"].keys() >= {"list", "close"}
    assert found["opened"]["modes"]["currentModeId"] == "ask"
    assert found["ended"] == {"stopReason": "end_turn"}
    assert found["asked"] == ["Apply the change to greet.py"]
    assert {"agent_thought_chunk", "plan", "tool_call", "tool_call_update", "usage_update"} <= {
        *found["kinds"]
    }
    assert found["kinds"].count("agent_message_chunk") > 10, "it streams"
    assert "“type the greeting”" in found["said"] and "I made greet() typed" in found["said"]


def test_a_permission_that_is_refused(play: Play) -> None:
    found = play("refused")
    assert found["asked"] == ["Apply the change to greet.py"] and "I left greet.py as it was" in found["said"]


def test_a_mode_that_is_set_holds(play: Play) -> None:
    found = play("mode")
    assert found["mode"] == {} and found["asked"] == [] and found["ended"] == {"stopReason": "end_turn"}


def test_a_cancel_in_mid_turn(play: Play) -> None:
    found = play("cancel")
    assert found["ended"] == {"stopReason": "cancelled"} and found["last"] is not None
    assert found["next"] == {"stopReason": "end_turn"}


def test_a_request_that_is_aborted(play: Play) -> None:
    """`$/cancel_request` with the client's own id for it (DESIGN D2)."""
    assert play("abort")["ended"]["result"] == {"stopReason": "cancelled"}


def test_a_load_replays_what_was_said(play: Play) -> None:
    found = play("load")
    assert found["replayed"] == found["live"] != "" and found["loaded"]["modes"]["currentModeId"] == "ask"
    assert "user_message_chunk" in found["kinds"] and "tool_call" in found["kinds"]
    assert found["kinds"].count("agent_message_chunk") < 10, "merged"
    assert found["next"] == {"stopReason": "end_turn"}


def test_list_and_close(play: Play) -> None:
    found = play("sessions")
    assert sorted(found["before"]) == sorted([found["first"], found["second"]])
    assert found["after"] == [found["second"]]
    assert found["gone"]["code"] == -32002


def test_errors_arrive_with_code_message_and_data(play: Play) -> None:
    found = play("errors")
    assert found["unknown"]["code"] == -32002 and found["unknown"]["data"]["kind"] == "no_session"
    assert found["mode"] == {"code": -32602, "message": "unknown mode 'no such mode'"}
    assert (
        found["cwd"]["code"] == -32602 and "there is no directory /no/such/place" in found["cwd"]["message"]
    )
    assert found["method"]["code"] == -32601


@pytest.fixture
def agent(node_sdk: Path) -> str:
    return shlex.join(["node", str(HERE / "agent.mjs"), str(node_sdk)])


def test_its_agent_under_the_broker(home: Home, agent: str, tmp_path: Path) -> None:
    words = ("-s", str(tmp_path), "--command", agent, "--format", "quiet")
    yes = home.run("prompt", "hello", "--approve-all", *words, cwd=tmp_path)
    assert (yes.returncode, yes.stdout) == (0, "you said: hello; you chose: yes\n"), yes.stderr
    no = home.run("prompt", "again", "--deny-all", *words, cwd=tmp_path)
    assert (no.returncode, no.stdout) == (5, "you said: again; you chose: no\n")
    cancelled = home.run("prompt", "wait", "--timeout", "2", *words, cwd=tmp_path)
    assert (cancelled.returncode, cancelled.stdout) == (3, "you said: wait; \n")
    failed = home.run("prompt", "fail", *words, cwd=tmp_path)
    assert failed.returncode == 1 and 'error -32123: no credit: {"left": 0}' in failed.stderr
    closed = home.json("sessions", "close", "-s", str(tmp_path))
    assert closed["exit"] == {"exitCode": 0, "signal": None}, "it ends with its stdin"


# Starting it takes most of a second: what SDKs may differ in, and the standing rules.
CHECKED = select_checks(
    [
        "initialize.newer",
        "ids.digits",
        "lines.[bn]*",
        "session.two",
        "cancel.other",
        "ask.cancel",
        "end.turn",
        "messages",
    ]
)


async def test_its_agent_and_the_battery(home: Home, node_sdk: Path, tmp_path: Path) -> None:
    argv = ["node", str(HERE / "agent.mjs"), str(node_sdk)]
    wanted = Settings(str(tmp_path), long="wait", quiet=0.1)
    alone = await run(Program(argv), wanted, CHECKED, observed=CHECKED, jobs=2)
    assert failed(alone) == set()
    assert home.run("up").returncode == 0
    behind = await run(
        Endpoint(str(home.socket), bind={"command": argv}), wanted, CHECKED, observed=CHECKED, jobs=2
    )
    assert failed(behind) == set()


def failed(report: Report) -> set[str]:
    return {one.check.id for one in report.results if one.verdict is Verdict.FAIL}
