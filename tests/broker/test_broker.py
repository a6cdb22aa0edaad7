"""Sessions that nobody uses give up their process, if they can be resumed, and no prompt is ever lost to it."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from trio_broker.model import Answered
from trio_broker.session.turn_queue import Turn
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import Rig, open_rig, settings

TTL = 40.0
RESUMABLE = Habits(resume=True)
ROUNDS = 60


async def open_and_leave(rig: Rig, key: str, prompt: str = "") -> None:
    async with rig.connect() as user:
        session = await user.open(key)
        if prompt:
            await user.submit(session, prompt)


async def test_idle_sessions_that_nobody_uses_are_suspended(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig(settings(idle_ttl=TTL), RESUMABLE) as rig:
            await open_and_leave(rig, "unused")
            await trio.sleep(TTL - 1)
            assert len(rig.agents.alive()) == 1
            await trio.sleep(TTL / 2)
            assert rig.agents.alive() == []
            assert [view["phase"] for view in rig.broker.status()["sessions"]] == ["suspended"]


async def test_g8_an_agent_that_could_not_resume_is_not_ended_for_idleness(autojump_clock: MockClock) -> None:
    with trio.fail_after(6000):
        async with open_rig(settings(idle_ttl=TTL)) as rig:
            await open_and_leave(rig, "k")
            await trio.sleep(20 * TTL)
            assert rig.agents.alive() == [rig.agent("k")]


async def test_without_idle_ttl_nothing_is_ended(autojump_clock: MockClock) -> None:
    with trio.fail_after(100_000):
        async with open_rig() as rig:
            await open_and_leave(rig, "unused")
            await trio.sleep(80_000)
            assert len(rig.agents.alive()) == 1


@pytest.mark.parametrize(
    "why", ["attached", "working", "queued", "cancelling", "asking", "starting", "called"]
)
async def test_b4_a_session_in_use_is_not_idle(why: str, autojump_clock: MockClock) -> None:
    prompts = {"working": "wait 400", "queued": "wait 400", "cancelling": "hang-hard", "asking": "ask go"}
    with trio.fail_after(3600):
        config = settings(idle_ttl=TTL, cancel_grace=1000, start_timeout=1000)
        habits = Habits(start=400 if why == "starting" else 0, mute=frozenset({"x/slow"}), resume=True)
        async with open_rig(config, habits) as rig, rig.connect() as watcher:
            async with rig.connect() as user:
                opening = user.later(user.open, "k")
                if why == "starting":
                    await user.wait_phase("k", "starting")
                else:
                    session = await opening.wait()
                    await user.submit(session, prompts.get(why, "say hello"))
                if why == "queued":
                    await user.submit(session, "wait 10")
                if why == "cancelling":
                    await user.cancel(session)
                if why == "called":
                    user.later(user.call, "x/slow", sessionId=session)
                    await trio.sleep(1)
                if why == "attached":
                    await watcher.open("k")
            await trio.sleep(5 * TTL)
            assert len(rig.agents.alive()) == 1


async def test_b4_one_that_waits_for_its_turn_to_start_is_not_idle(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        config = settings(idle_ttl=TTL, max_starting=1, start_timeout=1000)
        async with open_rig(config, Habits(start=400, resume=True)) as rig, rig.connect() as user:
            first = user.later(user.open, "first")
            await user.wait_phase("first", "starting")
            second = user.later(user.open, "second")
            assert await first.wait() != await second.wait()
            assert len(rig.agents.alive()) == 2


async def test_g4_an_agent_that_speaks_of_its_own_accord_is_not_idle(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with open_rig(settings(idle_ttl=TTL), RESUMABLE) as rig:
            await open_and_leave(rig, "k")
            for _ in range(20):
                await trio.sleep(TTL / 2)
                await rig.agent("k").say("background work")
            assert len(rig.agents.alive()) == 1
            await trio.sleep(2 * TTL)
            assert rig.agents.alive() == []


async def test_g1_one_that_ignores_its_end_does_not_hold_up_the_clean_up_of_others(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(3600):
        config = settings(idle_ttl=TTL, close_grace=1000)
        async with open_rig(config, Habits(ignores_eof=True, resume=True)) as rig:
            await open_and_leave(rig, "stubborn")
            rig.agents.habits = RESUMABLE
            for number in range(5):
                await open_and_leave(rig, f"k{number}")
            await trio.sleep(2 * TTL)
            assert rig.agents.alive() == [rig.agent("stubborn")]


async def test_e1_a_prompt_at_the_very_deadline_is_answered(autojump_clock: MockClock) -> None:
    """Clean-up and prompt wake in the same step, in either order: whoever comes first, the other sees it."""
    lives = []
    with trio.fail_after(ROUNDS * 10 * TTL):
        async with open_rig(settings(idle_ttl=TTL), RESUMABLE) as rig:
            for number in range(ROUNDS):
                await open_and_leave(rig, f"k{number}")
                await prompt_at_deadline(rig, f"k{number}")
                lives.append(sum(agent.settings.key == f"k{number}" for agent in rig.agents.spawned))
    assert set(lives) == {1, 2}  # the prompt came first; or the clean-up, and the session was woken again


async def prompt_at_deadline(rig: Rig, key: str) -> None:
    session = rig.session(key)
    tick = TTL / 4  # the clean-up looks at multiples of it
    deadline = session.active_at() + TTL
    await trio.sleep_until(-(-deadline // tick) * tick)
    turn = Turn(
        b'{"sessionId":"%b","prompt":[{"type":"text","text":"say hello"}]}' % str(session.session_id).encode()
    )
    session.submit(turn)
    outcome = await turn.wait()
    assert isinstance(outcome, Answered), outcome


async def test_e1_suspended_or_not_a_client_can_open_the_key_again_at_once(autojump_clock: MockClock) -> None:
    with trio.fail_after(36000):
        async with open_rig(settings(idle_ttl=TTL), RESUMABLE) as rig:
            for number in range(50):
                await open_and_leave(rig, "k")
                await trio.sleep(TTL + number % 11)
                async with rig.connect() as user:
                    assert await user.prompt(await user.open("k"), "say hello") == "end_turn"
            assert rig.agents.most == 1


async def test_control_sessions_end_when_nobody_logs_in(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig() as rig, rig.connect() as user:
            await user.call("initialize", protocolVersion=1)
            await trio.sleep(30)
            assert len(rig.agents.alive()) == 1
            await trio.sleep(90)
            assert rig.agents.alive() == []


async def test_a_login_that_its_client_left_keeps_no_control_session_for_ever(
    autojump_clock: MockClock,
) -> None:
    habits = Habits(mute=frozenset({"authenticate"}))
    with trio.fail_after(600):
        async with open_rig(habits=habits) as rig:
            async with rig.connect() as user:
                await user.call("initialize", protocolVersion=1)
                user.later(user.call, "authenticate", methodId="key")
                await trio.sleep(200)
                assert len(rig.agents.alive()) == 1, "somebody waits for it"
            await trio.sleep(120)
            assert rig.agents.alive() == []
