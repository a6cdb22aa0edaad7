"""A session begun anew has a definite cut: what was accepted before is told its end, and nothing of it runs."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from trio_broker.errors import SessionOver
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import open_rig, settings


async def test_d6_d9_what_was_queued_before_is_told_its_end_and_never_runs(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig(habits=Habits(resume=True)) as rig, rig.connect() as user, rig.connect() as other:
            old = await user.open("k")
            turns = [user.later(user.prompt, old, "hang-hard")]
            await user.wait_phase("k", "working")
            turns += [user.later(user.prompt, old, f"say {number}") for number in range(5)]
            while (await user.view("k"))["queue"] < 5:  # noqa: ASYNC110  # seen from outside only
                await trio.sleep(0.01)
            new = await other.open("k", fresh=True)
            for turn in turns:
                assert isinstance(await turn.fails(), SessionOver)
            assert rig.agents.alive() == [rig.agent("k")], "the old process was gone before the new one began"
            assert new != old and await other.prompt(new, "say new") == "end_turn"
            assert [agent.prompts() for agent in rig.agents.spawned] == [["hang-hard"], ["say new"]]


async def test_d8_a_wedged_agent_does_not_hold_up_a_new_beginning_for_longer_than_its_graces(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(600):
        habits = Habits(ignores_eof=True, ignores_term=True, stops_reading=True)
        async with open_rig(settings(close_grace=3, term_grace=4), habits) as rig, rig.connect() as user:
            await user.submit(await user.open("k"), "hang-hard")
            rig.agents.habits = Habits()
            begun = trio.current_time()
            await user.open("k", fresh=True)
            assert trio.current_time() - begun == pytest.approx(7, abs=0.5)
            assert rig.agents.spawned[0].signals == [9]


@pytest.mark.parametrize("way", ["open", "prompt"])
async def test_e3_many_who_find_it_dead_start_one_process(way: str, autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig(habits=Habits(load=True)) as rig, rig.connect() as user:
            session = await user.open("k")
            rig.agent("k").kill()
            await user.wait_phase("k", "dead")
            if way == "open":
                calls = [user.later(user.open, "k") for _ in range(20)]
                assert {await call.wait() for call in calls} == {session}
            else:
                calls = [user.later(user.prompt, session, f"say {number}") for number in range(10)]
                assert {await call.wait() for call in calls} == {"end_turn"}
            assert len(rig.agents.spawned) == 2 and rig.agents.most == 1


async def test_d10_every_prompt_has_one_end_in_the_log_whatever_ends_it(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig(habits=Habits(resume=True)) as rig, rig.connect() as user:
            session = await user.open("k")
            for id, text in (("done", "say x"), ("dies", "die 1"), ("lives", "say y"), ("hangs", "hang")):
                await user.submit(session, text, promptId=id)
                if id != "hangs":
                    await user.call("_trio_broker/wait", key="k", promptId=id)
            await user.submit(session, "say never", promptId="queued")
            await user.call("_trio_broker/cancel", key="k", promptId="queued")
            await user.call("_trio_broker/cancel", key="k")
            await user.call("_trio_broker/wait", key="k", promptId="hangs")
            await user.submit(session, "hang", promptId="closed")
            log = (await user.call("_trio_broker/events", key="k", limit=10**6))["events"]
            await user.call("_trio_broker/close", key="k")
            ends = [
                (event["promptId"], event["outcome"]) for event in user.events if event["kind"] == "ended"
            ]
            assert ends == [
                ("done", "completed"), ("dies", "failed"), ("lives", "completed"), ("queued", "cancelled"),
                ("hangs", "cancelled"), ("closed", "failed"),
            ]  # fmt: skip
            assert [event["seq"] for event in log] == list(range(1, len(log) + 1))
