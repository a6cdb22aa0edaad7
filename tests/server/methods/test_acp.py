"""The broker as an ACP agent: introduction, sessions, and what goes through to the session's agent."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_broker.auth.grant import Grant, Scope
from trio_broker.errors import BrokerError, Forbidden, RemoteError
from trio_broker.protocol.jsonrpc import METHOD_NOT_FOUND
from trio_broker.testing.clients.user import User
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import open_rig

Json = dict[str, Any]
NEW = {"cwd": "/tmp", "mcpServers": []}


async def begin(user: User, **bound: object) -> None:
    """Bind the connection to the agent in memory, and introduce it."""
    await user.call("_trio_broker/bind", agent="demo", **bound)
    await user.call("initialize", protocolVersion=1)


@pytest.mark.parametrize("method", ["session/new", "session/list", "session/delete", "x/other"])
async def test_nothing_goes_before_the_introduction(method: str, autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            with pytest.raises(BrokerError, match="initialize"):
                await user.call(method, sessionId="s", **NEW)
            assert rig.agents.spawned == []


async def test_the_session_of_a_bound_key_is_shared(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as one, rig.connect() as two:
            await begin(one, key="k")
            await begin(two, key="k")
            first, second = [(await user.call("session/new", **NEW))["sessionId"] for user in (one, two)]
            assert first == second == rig.session("k").session_id
            third = (await one.call("session/new", **NEW))["sessionId"]
            assert third != first, "the connection has the session of the key already"


async def test_a_load_replays_before_it_answers(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as one, rig.connect() as two:
            session = await one.open("k", agent="demo")
            await one.prompt(session, "say a; say b")
            await begin(two)
            await two.call("session/load", sessionId=session, **NEW)
            kinds = [update["sessionUpdate"] for update in two.updates(session)]
            assert kinds[0] == "user_message_chunk" and two.said(session) == "ab"


async def test_a_resume_replays_nothing_and_goes_on_live(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as one, rig.connect() as two:
            session = await one.open("k", agent="demo")
            await one.prompt(session, "say before")
            await begin(two)
            await two.call("session/resume", sessionId=session, **NEW)
            assert two.updates(session) == []
            await two.prompt(session, "say after")
            assert two.said(session) == "after"


async def test_a_close_detaches_while_others_listen_and_ends_it_otherwise(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as one, rig.connect() as two:
            session = await one.open("k", agent="demo")
            await begin(two)
            await two.call("session/resume", sessionId=session, **NEW)
            await two.call("session/close", sessionId=session)
            assert (await one.view("k"))["phase"] == "idle"
            running = one.later(one.prompt, session, "hang")
            await one.wait_phase("k", "working")
            await one.call("session/close", sessionId=session)
            assert await running.wait() == "cancelled"
            assert not rig.agent("k").alive() and (await one.view("k"))["phase"] is None


async def test_a_deletion_of_what_is_not_there_succeeds(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k", agent="demo")
            assert [one["sessionId"] for one in (await user.call("session/list"))["sessions"]] == [session]
            assert (await user.call("session/list", cwd="/elsewhere"))["sessions"] == []
            for _ in "ab":
                assert await user.call("session/delete", sessionId=session) == {}
            assert (await user.call("session/list"))["sessions"] == []


@pytest.mark.parametrize("method", ["session/fork", "_trio_broker/of_tomorrow"])
async def test_what_is_not_offered_goes_to_no_agent(method: str, autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k", agent="demo")
            with pytest.raises(RemoteError) as caught:
                await user.call(method, sessionId=session)
            assert caught.value.rpc_code == METHOD_NOT_FOUND and caught.value.data() == {"method": method}
            assert rig.agent("k").got(method) == []


async def test_an_unknown_method_reaches_the_agent_of_its_session_only(autojump_clock: MockClock) -> None:
    limited = Grant("alice", frozenset({Scope.PROMPT}), roots=("/tmp",))
    habits = Habits(mute=frozenset({"x/y"}))
    with trio.fail_after(60):
        async with open_rig(habits=habits) as rig, rig.connect() as owner, rig.connect(grant=limited) as user:
            session = await owner.open("k", agent="demo")
            owner.later(owner.call, "x/y", sessionId=session, extra=[1])
            await trio.sleep(1)
            (sent,) = rig.agent("k").got("x/y")
            assert sent["params"] == {"sessionId": session, "extra": [1]}
            await user.call("_trio_broker/logs", key="k")
            with pytest.raises(Forbidden, match=r"x/y"):
                await user.call("x/y")


async def test_a_notice_is_text_for_a_plain_client_while_it_is_live(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as plain, rig.connect() as able, rig.connect() as late:
            await begin(plain, key="k")
            session = (await plain.call("session/new", **NEW))["sessionId"]
            await able.call("_trio_broker/bind", agent="demo", key="k")
            capabilities: Json = {"session": {"notices": {}, "compaction": {}}}
            await able.call("initialize", protocolVersion=1, clientCapabilities=capabilities)
            await able.call("session/new", **NEW)
            turn = plain.later(plain.prompt, session, "say yes; wait")
            await trio.testing.wait_all_tasks_blocked()
            notice = {"severity": "warning", "title": "Rate limited", "description": "It waits 40 s."}
            await rig.agent("k").update("notice", **notice)
            await rig.agent("k").update("compaction_update", compactionId="c", status="completed")
            await trio.testing.wait_all_tasks_blocked()
            plain.client.notify("session/cancel", {"sessionId": session})
            await turn.wait()
            text = plain.said(session)
            assert text.startswith("yes\n\n[notice, warning] Rate limited: It waits 40 s.\n\n")
            assert "[compaction] the agent has compacted its context" in text
            assert [one["sessionUpdate"] for one in able.updates(session)][-2:] == [
                "notice",
                "compaction_update",
            ]
            assert able.said(session) == "yes"
            await begin(late)
            await late.call("session/load", sessionId=session, **NEW)
            assert late.said(session) == "yes", "a replay has neither"
