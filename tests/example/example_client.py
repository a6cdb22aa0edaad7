"""Testing what a client does with a broker: in virtual time, where an hour is nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from trio_broker.testing import Fault, Faulty, Habits, Home, Play, Rig, User, allow, request, stillborn


@pytest.fixture
def agent_habits() -> Habits:
    return Habits(resume=True)


async def test_an_hour_of_work_is_waited_for(acp_client: User) -> None:
    session = await acp_client.open("mine")
    assert await acp_client.prompt(session, "wait 3600; say done") == "end_turn"
    assert acp_client.said(session) == "done"


async def test_an_agent_that_crashed_comes_back(broker: Rig, acp_client: User) -> None:
    session = await acp_client.open("mine")
    await acp_client.prompt(session, "say one")
    broker.agent("mine").kill()
    await acp_client.wait_phase("mine", "dead")
    assert await acp_client.prompt(session, "say two") == "end_turn"
    assert (await acp_client.view("mine"))["resumed"] == "exact"


async def test_what_agents_ask_is_answered(acp_client: User) -> None:
    acp_client.on_request = allow
    session = await acp_client.open("mine")
    assert await acp_client.prompt(session, "ask edit it; say done") == "end_turn"
    assert acp_client.said(session) == "allowdone"


async def test_another_client_sees_the_same(ws_client: User, acp_client: User) -> None:
    session = await ws_client.open("mine")
    assert await acp_client.open("mine") == session


async def test_an_agent_that_dies_at_its_start_is_told(broker: Rig, acp_client: User) -> None:
    broker.broker.spawn = broker.broker.registry.spawn = stillborn(broker.agents.spawn)
    opening = acp_client.later(acp_client.open, "mine")
    assert (await opening.fails()).code == "spawn_failed"


async def test_bytes_that_come_one_by_one_are_lines_too(broker: Rig, play: Callable[..., Play]) -> None:
    told = play(patience=600)
    told.feed(request("a", "_trio_broker/status")).expect({"id": "a", "result": {"sessions": []}})
    told.feed(b"no json\n").expect({"error": {"code": -32700}}).expect_nothing(60)
    async with Faulty(broker.raw(), receiving=Fault(piece=1), sending=Fault(piece=1, pause=0.5)) as stream:
        await told.act(stream)


async def test_the_daemon_from_another_machine(daemon: Home, acp_client: User, ws_client: User) -> None:
    with trio.fail_after(60):
        session = await ws_client.open("mine")
        assert await acp_client.open("mine") == session
        assert await ws_client.prompt(session, "say hello") == "end_turn"
        assert ws_client.said(session) == "hello"
        assert (await acp_client.status())["clients"] == len((acp_client, ws_client, "who made its token"))


async def test_the_daemon_as_a_person_uses_it(daemon: Home, acp_client: User) -> None:
    with trio.fail_after(60):
        session = await acp_client.open("mine")
        assert await acp_client.prompt(session, "say hello") == "end_turn"
        assert "mine" in (await trio.to_thread.run_sync(daemon.run, "status")).stdout
