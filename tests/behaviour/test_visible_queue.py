"""Prompts for a busy session wait in line, visibly, and never without bound."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from trio_broker.errors import QueueFull
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import open_rig, settings

MOMENT = 0.1  # virtual seconds: everything that can happen by itself has happened then


@pytest.mark.parametrize("limit", [0, 1, 16])
async def test_e7_one_prompt_too_many_is_refused_with_limit_and_setting(
    limit: int, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig(settings(queue=limit)) as rig, rig.connect() as user:
            session = await user.open("k")
            assert (await user.submit(session, "hang"))["position"] == 0
            positions = [(await user.submit(session, f"say {number}"))["position"] for number in range(limit)]
            assert positions == list(range(1, limit + 1))
            for way in (user.submit, user.prompt):
                error = await user.later(way, session, "one too many").fails()
                assert isinstance(error, QueueFull) and error.details["limit"] == limit
                assert f"{limit} prompts" in error.message and "queue in [broker]" in error.message
            assert await user.cancel(session) == "turn"
            await user.wait_phase("k", "idle")
            assert rig.agent("k").prompts() == ["hang", *(f"say {number}" for number in range(limit))]


async def test_e7_a_burst_before_the_first_has_begun_is_bounded_too(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(settings(queue=2)) as rig, rig.connect() as user:
            session = await user.open("k")
            calls = [user.later(user.prompt, session, "hang") for _ in range(10)]
            await trio.sleep(MOMENT)
            assert sum(isinstance(call.error, QueueFull) for call in calls) == 7
            assert (await user.view("k"))["queue"] == 2


async def test_e6_prompts_run_in_the_order_in_which_they_came(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as one, rig.connect() as two:
            session = await one.open("k")
            texts = [f"wait 1; say {number}," for number in range(12)]
            for number, text in enumerate(texts):
                await (one, two)[number % 2].submit(session, text)
            await one.wait_phase("k", "idle")
            assert rig.agent("k").prompts() == texts
            assert one.said(session) == "".join(f"{number}," for number in range(12))


async def test_e8_the_agent_never_has_two_prompts_at_once(autojump_clock: MockClock) -> None:
    habits = Habits(mute=frozenset({"session/prompt"}))
    with trio.fail_after(60):
        async with open_rig(habits=habits) as rig, rig.connect() as user:
            session = await user.open("k")
            turns = [user.later(user.prompt, session, "x") for _ in range(10)]
            agent = rig.agent("k")
            for number in range(1, 11):
                await trio.sleep(MOMENT)
                assert len(agent.prompts()) == number and sum(turn.done for turn in turns) == number - 1
                await agent.answer(agent.got("session/prompt")[-1]["id"], stopReason="end_turn")


async def test_the_position_and_the_start_are_told(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k")
            for id in ("first", "second", "third"):
                await user.submit(session, "wait 5", promptId=id)
            queued = (await user.view("k"))["queued"]
            assert queued == [
                {"promptId": "second", "text": "wait 5", "position": 1},
                {"promptId": "third", "text": "wait 5", "position": 2},
            ]
            await user.wait_phase("k", "idle")
            events = [event for event in user.events if "promptId" in event]
            places = [(event["promptId"], event["position"]) for event in events if event["kind"] == "queued"]
            assert places == [("first", 0), ("second", 1), ("third", 2)]
            started = [event["promptId"] for event in events if event["kind"] == "started"]
            assert started == ["first", "second", "third"]
            assert (await user.view("k"))["turns"] == 3
