"""Between two lives of a session: the last process is still ending while its place, or its key, is wanted again."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from trio_broker.errors import Draining, SessionOver
from trio_broker.model import Answered, Phase
from trio_broker.protocol import jsonrpc
from trio_broker.session.turn_queue import Turn
from trio_broker.testing.clients.user import User, prompt_params
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import Rig, open_rig, settings

STUBBORN = Habits(resume=True, ignores_eof=True, ignores_term=True)
LADDER = 10.0  # seconds that a stubborn agent takes to end
MOMENT = 0.1  # virtual seconds: everything that can happen by itself has happened then


async def suspend(rig: Rig, user: User, key: str) -> str:
    """Open a session and have it suspended; its process begins to end."""
    session = await user.open(key)
    assert rig.session(key).suspend_if_idle()
    await trio.sleep(MOMENT)
    assert rig.agent(key).alive()
    return session


async def test_b5_who_is_suspended_for_another_is_gone_before_that_one_starts(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(600):
        async with open_rig(settings(max_sessions=3), STUBBORN) as rig, rig.connect() as user:
            for number in range(9):
                await user.open(f"k{number}")
            assert rig.agents.most == 3 and len(rig.agents.spawned) == 9


async def test_b5_one_that_waits_for_the_place_of_another_can_be_closed(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig(settings(max_sessions=1), STUBBORN) as rig, rig.connect() as user:
            await user.open("old")
            opening = user.later(user.open, "new")
            await user.wait_phase("new", "starting")
            with trio.fail_after(MOMENT):
                await user.call("_trio_broker/close", key="new")
                assert isinstance(await opening.fails(), SessionOver)
            await trio.sleep(2 * LADDER)
            assert [agent.settings.key for agent in rig.agents.spawned] == ["old"]


async def test_b3_one_that_was_just_given_a_prompt_is_not_suspended_for_another(
    autojump_clock: MockClock,
) -> None:
    """In one step with the prompt: its turn has not begun yet, and its phase is idle still."""
    with trio.fail_after(60):
        async with open_rig(settings(max_sessions=1), STUBBORN) as rig, rig.connect() as user:
            await user.open("k")
            session = rig.session("k")
            assert session.phase is Phase.IDLE
            turn = Turn(jsonrpc.encode(prompt_params(session.session_id or "", "say hello")))
            session.submit(turn)
            assert not session.suspend_if_idle()
            assert isinstance(await turn.wait(), Answered)


@pytest.mark.parametrize("how", ["suspended", "crashed"])
async def test_b6_in_a_full_pool_a_session_comes_back_to_its_own_place(
    how: str, autojump_clock: MockClock
) -> None:
    with trio.fail_after(600):
        async with open_rig(settings(max_sessions=1), STUBBORN) as rig, rig.connect() as user:
            if how == "suspended":
                session = await suspend(rig, user, "k")
            else:
                session = await user.open("k")
                await user.later(user.prompt, session, "close-stdout; hang-hard").fails()
                assert rig.agent("k").alive()
            assert await user.prompt(session, "say back") == "end_turn"
            assert rig.agents.most == 1 and len(rig.agents.spawned) == 2


async def test_a_kill_ends_the_last_process_too(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig(habits=STUBBORN) as rig, rig.connect() as user:
            session = await suspend(rig, user, "k")
            turn = user.later(user.prompt, session, "say never")
            await user.wait_phase("k", "starting")
            assert rig.agent("k").pid in rig.broker.agent_processes()
            with trio.fail_after(MOMENT):
                await user.call("_trio_broker/kill", key="k")
                assert isinstance(await turn.fails(), SessionOver)
            assert rig.agents.alive() == [] and len(rig.agents.spawned) == 1


async def test_d2_a_cancel_of_a_prompt_that_wakes_its_session(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig(habits=STUBBORN) as rig, rig.connect() as user:
            session = await suspend(rig, user, "k")
            turn = user.later(user.prompt, session, "say never", promptId="p")
            await user.wait_phase("k", "starting")
            assert await user.cancel(session, promptId="p") == "queued"
            assert await turn.wait() == "cancelled"
            assert await user.prompt(session, "say back") == "end_turn"
            assert rig.agent("k").prompts() == ["say back"]


@pytest.mark.parametrize("method", ["session/request_permission", "x/unknown"])
async def test_c13_what_an_agent_asks_while_it_ends_is_asked_of_nobody(
    method: str, autojump_clock: MockClock
) -> None:
    async def think(message: object) -> object:
        await trio.sleep_forever()

    with trio.fail_after(600):
        async with open_rig(habits=STUBBORN) as rig, rig.connect(think) as user:
            await suspend(rig, user, "k")
            agent = rig.agent("k")
            if method == "x/unknown":
                rig.nursery.start_soon(agent.request, method, {})
            else:
                rig.nursery.start_soon(agent.ask, "go")
            await trio.sleep(2 * LADDER)
            assert user.asked(method) == []
            await user.open("k")
            assert (await user.view("k"))["phase"] == "idle"


@pytest.mark.parametrize("create", [True, False])
async def test_g6_who_opens_while_the_broker_stops_is_told_at_once(
    create: bool, autojump_clock: MockClock
) -> None:
    with trio.fail_after(600):
        async with open_rig(habits=STUBBORN) as rig, rig.connect() as user:
            await user.open("k")
            rig.broker.stop()
            with trio.fail_after(MOMENT):
                assert isinstance(await user.later(user.open, "k", create=create).fails(), Draining)


@pytest.mark.parametrize("kill", [False, True])
async def test_b11_two_restarts_while_the_last_process_ends_leave_nobody_waiting(
    kill: bool, autojump_clock: MockClock
) -> None:
    with trio.fail_after(600):
        async with open_rig(habits=STUBBORN) as rig, rig.connect() as user:
            await user.open("k")
            first = user.later(user.call, "_trio_broker/restart", key="k")
            await trio.sleep(MOMENT)
            second = user.later(user.call, "_trio_broker/restart", key="k", kill=kill)
            await trio.sleep(MOMENT)
            assert "was restarted by" in (await first.fails()).message
            if not kill:
                assert rig.broker.agent_processes() == {rig.agents.spawned[0].pid: "k"}
                await trio.sleep(LADDER)
            assert second.done and (await second.wait())["pid"] == rig.agent("k").pid
            assert len(rig.agents.spawned) == 2 and rig.agents.alive() == [rig.agent("k")]


async def test_g6_a_close_that_comes_after_a_shutdown_is_not_said_to_have_closed_anything(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(600):
        async with open_rig(habits=STUBBORN) as rig, rig.connect() as user:
            await user.open("k")
            await user.call("_trio_broker/shutdown")
            error = await user.later(user.call, "_trio_broker/close", key="k").fails()
            assert isinstance(error, SessionOver) and "is kept" in error.message
