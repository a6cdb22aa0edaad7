"""Messages of an agent that are odd, or come under the id of a child session or of another one."""

from __future__ import annotations

import json

import pytest
import trio
from trio.testing import MockClock

from trio_broker.session.tool_calls import MAX_CALLS
from trio_broker.testing.clients.user import Json, allow
from trio_broker.testing.in_process.memory_agent import OPTIONS, Habits
from trio_broker.testing.in_process.rig import open_rig

MOMENT = 0.1  # virtual seconds: everything that can happen by itself has happened then
PERMISSION = "session/request_permission"


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


# Child sessions


async def test_a21_a_request_of_a_child_goes_to_the_sessions_people(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(allow) as user:
            session = await user.open("k")
            agent = rig.agent("k")
            announced = {"sessionUpdate": "tool_call", "toolCallId": "c1", "title": "rm x", "kind": "delete"}
            await agent.send(update("child-1", announced))
            params = {
                "sessionId": "child-1",
                "toolCall": {"toolCallId": "c1"},
                "options": OPTIONS,
                "_meta": {"theirs": 1},
            }
            response = await agent.request(PERMISSION, params)
            assert response["result"] == {"outcome": {"outcome": "selected", "optionId": "allow"}}
            (asked,) = user.asked()
            assert asked["sessionId"] == session
            assert asked["_meta"] == {"theirs": 1, "trio-broker": {"childSessionId": "child-1"}}
            assert (asked["toolCall"]["title"], asked["toolCall"]["kind"]) == ("rm x", "delete"), "merged"
            page = (await user.call("_trio_broker/events", key="k"))["events"]
            children = [event.get("childSessionId") for event in page if event["kind"] in ("ask", "answer")]
            assert children == ["child-1", "child-1"] and rig.session("k").router.misrouted == 0


async def test_a21_a_policy_decides_for_a_child_first(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            await user.open("k", policy="deny-all")
            params = {"sessionId": "child-1", "toolCall": {"toolCallId": "c1"}, "options": OPTIONS}
            response = await rig.agent("k").request(PERMISSION, params)
            assert response["result"] == {"outcome": {"outcome": "selected", "optionId": "reject"}}


async def test_a21_a_request_of_a_child_is_held_listed_and_withdrawn_like_any_other(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(10_000):
        async with open_rig() as rig, rig.connect() as user:
            await user.open("k")
            agent = rig.agent("k")
            form = {"sessionId": "child-1", "mode": "form", "message": "name?", "requestedSchema": {}}
            asking = user.later(agent.request, "elicitation/create", form, id="x")
            await user.wait_phase("k", "waiting")
            await trio.sleep(3600)
            (ask,) = (await user.call("_trio_broker/asks"))["asks"]
            assert (ask["key"], ask["childSessionId"]) == ("k", "child-1")
            cancel = {"sessionId": "child-1", "requestId": "x"}
            await agent.send({"method": "$/cancel_request", "params": cancel})
            assert (await asking.wait())["error"]["code"] == -32800


async def test_a21_updates_of_a_child_are_events_of_the_log_and_no_updates_of_any_client(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as plain, rig.connect() as user:
            await plain.call("initialize", protocolVersion=1)
            made = await plain.call("session/new", cwd="/tmp", mcpServers=[])
            (view,) = (await user.status())["sessions"]
            key, session = view["key"], made["sessionId"]
            await user.call("_trio_broker/attach", key=key)
            agent = rig.agent(key)
            chunk = {
                "sessionUpdate": "agent_message_chunk",
                "content": {"type": "text", "text": "from a child"},
            }
            mode = {"sessionUpdate": "current_mode_update", "currentModeId": "child's"}
            for one in (chunk, mode):
                await agent.send(update("child-1", one))
            await agent.say("from itself")
            await trio.sleep(MOMENT)
            told = [event for event in user.events if event["kind"] == "child"]
            assert [event["childSessionId"] for event in told] == ["child-1"] * 2
            assert [event["params"] for event in told] == [
                {"sessionId": "child-1", "update": one} for one in (chunk, mode)
            ]
            for client in (plain, user):
                assert client.said(session) == "from itself" and client.updates("child-1") == []
            assert plain.events == [] and rig.session(key).state.mode is None
            late = {"sessionId": session, "cwd": "/tmp", "mcpServers": []}
            await plain.call("session/load", **late)
            assert plain.said(session) == "from itself" * 2 and plain.updates("child-1") == []


@pytest.mark.parametrize("method", [PERMISSION, "elicitation/create", "_vendor/thing", "fs/read_text_file"])
@pytest.mark.parametrize("whose", ["another's", "its agent's name", "closed", "its own public one"])
async def test_c16_the_id_of_another_known_session_is_never_a_child(
    whose: str, method: str, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=Habits(session_id="own")) as rig, rig.connect(allow) as user:
            await user.open("first")
            second = await user.open("second")
            await user.open("gone")
            await user.call("_trio_broker/close", key="gone")
            rig.agent("second").session_id = "third"
            assert second == "own~2"
            asking, id = {
                "another's": ("first", second),
                "its agent's name": ("renamed", "own"),
                "closed": ("first", "own~3"),
                "its own public one": ("second", second),
            }[whose]
            if asking == "renamed":
                rig.agents.habits = Habits(session_id="new name")
                await user.open("renamed")
            agent = rig.agent(asking)
            response = await agent.request(method, {"sessionId": id, "toolCall": {}, "options": OPTIONS})
            assert response["error"]["code"] == -32602 and id in response["error"]["message"]
            await agent.send(update(id, {"sessionUpdate": "plan", "entries": []}))
            await trio.sleep(MOMENT)
            assert (await user.view(asking))["foreign"] == 2
            assert user.asked(method) == []
            page = (await user.call("_trio_broker/events", key=asking))["events"]
            assert [event["by"] for event in page if event["kind"] == "answer"] == ["broker"]
            assert [event for event in page if event["kind"] in ("child", "update")] == []


async def test_c16_a_child_loses_its_id_to_a_session_that_is_opened_under_it(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(allow) as user:
            await user.open("k")
            agent = rig.agent("k")
            params = {"sessionId": "child-1", "toolCall": {"toolCallId": "c"}, "options": OPTIONS}
            assert "result" in await agent.request(PERMISSION, params)
            rig.agents.habits = Habits(session_id="child-1")
            assert await user.open("other") == "child-1"
            assert (await agent.request(PERMISSION, params))["error"]["code"] == -32602


async def test_very_many_children_leave_nothing_in_memory(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig() as rig, rig.connect(allow) as user:
            await user.open("k")
            agent = rig.agent("k")
            call = {"sessionUpdate": "tool_call", "toolCallId": "c", "title": "x"}
            lines = [
                json.dumps({"jsonrpc": "2.0", **update(f"child-{n}", call)}).encode() for n in range(2000)
            ]
            await agent.write(b"\n".join(lines) + b"\n")
            await agent.ask("go")
            await trio.sleep(MOMENT)
            calls = rig.session("k").router.tool_calls
            assert len(calls._calls) <= MAX_CALLS + 1 and rig.session("k").router.misrouted == 0
            assert (await user.view("k"))["events"] >= 2000


def update(session_id: str, update: Json) -> Json:
    return {"method": "session/update", "params": {"sessionId": session_id, "update": update}}
