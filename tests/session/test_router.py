"""Updates of an agent that are hardly any: they hurt nobody who reads the session, now or later."""

from __future__ import annotations

import json

import pytest
import trio
from trio.testing import MockClock

from trio_broker.testing.clients.user import Json
from trio_broker.testing.in_process.rig import open_rig

MOMENT = 0.1  # virtual seconds: everything that can happen by itself has happened then


@pytest.mark.parametrize("more", [{}, {"update": None}, {"update": 5}])
async def test_a_log_with_an_update_that_is_none_can_be_read(more: Json, autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user, rig.connect() as late:
            session = await user.open("k")
            await rig.agent("k").send({"method": "session/update", "params": {"sessionId": session, **more}})
            assert await user.prompt(session, "say a") == "end_turn"
            page = await late.call("_trio_broker/events", sessionId=session)
            updates = [event["update"] for event in page["events"] if event["kind"] == "update"]
            assert updates[0] == more.get("update") and updates[1]["content"]["text"] == "a"
            await late.call("session/load", sessionId=session, cwd="/tmp", mcpServers=[])
            await late.call("_trio_broker/history", sessionId=session)


@pytest.mark.parametrize("params", [{"update": {"sessionUpdate": "plan", "entries": []}}, ["s"], 5, None])
async def test_an_update_that_names_no_session_is_told_to_nobody(
    params: object, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            await user.open("k")
            await user.call("_trio_broker/attach", key="k")
            line = {"jsonrpc": "2.0", "method": "session/update", "params": params}
            await rig.agent("k").write(json.dumps(line).encode() + b"\n")
            await trio.sleep(MOMENT)
            assert (await user.view("k"))["rejected_lines"] == 1
            assert [message for message in user.messages if message.method == "session/update"] == []
