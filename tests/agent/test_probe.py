"""A look at an agent: what it says of itself, whether it opens a conversation, and how it failed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import trio

from trio_broker.agent import process_tags
from trio_broker.agent.catalog import AgentSpec
from trio_broker.agent.probe import Probe
from trio_broker.errors import AgentGone, SpawnFailed
from trio_broker.testing.processes.agents import fake
from trio_broker.testing.processes.daemon import wait_until

pytestmark = pytest.mark.process

# Refuses a conversation until somebody has logged in.
LOCKED = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    answer = {"result": {"protocolVersion": 1}}
    if asked["method"] == "session/new":
        answer = {"error": {"code": -32000, "message": "Authentication required"}}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **answer}), flush=True)
"""


def probe(*argv: str, timeout: float = 60.0, open_session: bool = True) -> Probe:
    return Probe(AgentSpec("probed", argv), "/", timeout, open_session)


async def test_an_agent_that_works_has_both_results_in_order() -> None:
    found = probe(*fake())
    with trio.fail_after(60):
        await found.run()
    assert found.error is None and not found.needs_login
    assert found.initialize_result is not None and found.initialize_result["protocolVersion"] == 1
    assert found.session_result is not None and found.session_result["sessionId"]
    assert found.initialized_after is not None and found.session_after is not None
    assert 0 < found.initialized_after <= found.session_after


async def test_no_conversation_is_opened_unless_wanted() -> None:
    found = probe(*fake(), open_session=False)
    with trio.fail_after(60):
        await found.run()
    assert found.initialize_result is not None and found.error is None
    assert found.session_result is None and found.session_after is None


async def test_an_agent_that_wants_a_login_is_recognised() -> None:
    found = probe(sys.executable, "-S", "-E", "-c", LOCKED)
    with trio.fail_after(60):
        await found.run()
    assert found.needs_login and found.initialize_result is not None and found.session_result is None


async def test_a_command_that_is_not_there_is_an_error_and_no_exception(tmp_path: Path) -> None:
    found = probe(str(tmp_path / "none"))
    with trio.fail_after(60):
        await found.run()
    assert isinstance(found.error, SpawnFailed) and found.initialize_result is None
    assert found.stderr_lines == [] and not found.needs_login


async def test_an_agent_that_ends_at_once_leaves_its_last_words() -> None:
    found = probe("sh", "-c", "for n in 1 2 3 4 5 6 7; do echo line $n >&2; done; exit 3")
    with trio.fail_after(60):
        await found.run()
    assert isinstance(found.error, AgentGone | SpawnFailed)
    assert found.stderr_lines == [f"line {n}" for n in range(3, 8)]


async def test_a_cancelled_probe_leaves_no_process() -> None:
    found = probe("sleep", "600")
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(found.run)
            await wait_until(lambda: found.agent_run is not None and found.agent_run.agent is not None)
            nursery.cancel_scope.cancel()
    assert found.agent_run is not None and found.agent_run.agent is not None
    pid = found.agent_run.agent.pid
    assert not process_tags.find(lambda process: process.pid == pid)
