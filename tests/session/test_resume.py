"""A conversation outlives its agent's process: how it is taken up, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_broker.config.config import Restart
from trio_broker.errors import AgentGone, PoolFull, SpawnFailed
from trio_broker.testing.clients.user import User
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import Rig, open_rig, settings

WAYS = {
    "exact": Habits(resume=True, load=True),
    "loaded": Habits(load=True),
    "new": Habits(),
}


def events(user: User, kind: str, **fields: Any) -> list[dict[str, Any]]:
    """What the user was told of that kind, with these members."""
    found = [event for event in user.events if event["kind"] == kind]
    return [event for event in found if all(event.get(name) == value for name, value in fields.items())]


async def crash(rig: Rig, user: User, session: str) -> None:
    assert isinstance(await user.later(user.prompt, session, "die 3").fails(), AgentGone)
    await user.wait_phase(rig.session("k").key, "dead")


@pytest.mark.parametrize("how", WAYS)
async def test_b11_after_a_crash_the_next_prompt_takes_up_the_conversation(
    how: str, autojump_clock: MockClock
) -> None:
    with trio.fail_after(120):
        async with open_rig(habits=WAYS[how]) as rig, rig.connect() as user:
            session = await user.open("k")
            await crash(rig, user, session)
            assert await user.prompt(session, "say again") == "end_turn"
            assert [event["how"] for event in events(user, "agent", event="resumed")] == [how]
            first, second = rig.agents.spawned
            assert not first.alive() and second.prompts() == ["say again"]
            assert (second.session_id == first.session_id) is (how != "new")
            assert rig.session("k").session_id == session
            note = events(user, "agent", event="resumed")[0].get("note")
            assert (note is not None) is (how == "new")


async def test_b16_what_a_load_replays_is_no_answer(autojump_clock: MockClock) -> None:
    with trio.fail_after(120):
        async with open_rig(habits=WAYS["loaded"]) as rig, rig.connect() as user:
            session = await user.open("k")
            await crash(rig, user, session)
            assert await user.prompt(session, "say again") == "end_turn"
            assert user.said(session) == "again", "`said before` is in the log already"


async def test_b14_a_load_that_is_refused_is_a_new_conversation_and_said(autojump_clock: MockClock) -> None:
    with trio.fail_after(120):
        async with open_rig(habits=Habits(load=True, forgets=True)) as rig, rig.connect() as user:
            session = await user.open("k")
            await crash(rig, user, session)
            assert await user.prompt(session, "say again") == "end_turn"
            (resumed,) = events(user, "agent", event="resumed")
            assert resumed["how"] == "new" and "session/load: Session not found" in resumed["note"]


async def test_b14_a_load_that_hangs_keeps_the_id_and_runs_no_prompt(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        config, hanging = settings(start_timeout=20), Habits(load=True, mute=frozenset({"session/load"}))
        async with open_rig(config, WAYS["loaded"]) as rig, rig.connect() as user:
            session = await user.open("k")
            await crash(rig, user, session)
            rig.agents.habits = hanging
            error = await user.later(user.prompt, session, "say lost").fails()
            assert "no session within 20 s" in error.message
            rig.agents.habits = WAYS["loaded"]
            await user.wait_phase("k", "dead")
            assert await user.prompt(session, "say again") == "end_turn"
            assert [agent.prompts() for agent in rig.agents.spawned] == [["die 3"], [], ["say again"]]
            assert rig.agents.spawned[2].session_id == rig.agents.spawned[0].session_id


async def test_restart_eager_begins_at_once_and_rests_when_it_crashes_again(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(600):
        config = settings(restart=Restart.EAGER)
        async with open_rig(config, WAYS["exact"]) as rig, rig.connect() as user:
            session = await user.open("k")
            begun = trio.current_time()
            for _ in range(5):
                rig.agent("k").kill()
                await trio.sleep(0.5)
                await user.wait_phase("k", "idle")
            assert len(rig.agents.spawned) == 6 and trio.current_time() - begun >= 2 + 4 + 8
            assert await user.prompt(session, "say here") == "end_turn"


async def test_restart_never_leaves_it_dead(autojump_clock: MockClock) -> None:
    with trio.fail_after(120):
        async with open_rig(settings(restart=Restart.NEVER), WAYS["exact"]) as rig, rig.connect() as user:
            session = await user.open("k")
            await crash(rig, user, session)
            assert isinstance(await user.later(user.prompt, session, "x").fails(), AgentGone)
            assert len(rig.agents.spawned) == 1


async def test_who_opens_a_session_while_its_last_process_ends_is_told_that_it_woke_it(
    autojump_clock: MockClock,
) -> None:
    habits = Habits(resume=True, ignores_eof=True)
    with trio.fail_after(120):
        async with open_rig(habits=habits) as rig, rig.connect() as user:
            await user.open("k")
            assert rig.session("k").suspend_if_idle() and rig.session("k").live
            opened = await user.call("_trio_broker/open", key="k", cwd="/tmp", agent="demo")
            assert opened["woken"] and opened["resumed"] == "exact"


async def test_mode_and_options_are_set_again(autojump_clock: MockClock) -> None:
    modes = {
        "currentModeId": "ask",
        "availableModes": [{"id": "ask", "name": "A"}, {"id": "code", "name": "C"}],
    }
    habits = Habits(resume=True, modes=modes)
    with trio.fail_after(120):
        async with open_rig(habits=habits) as rig, rig.connect() as user:
            session = await user.open("k")
            await user.call("session/set_mode", sessionId=session, modeId="code")
            await crash(rig, user, session)
            opened = await user.call("_trio_broker/open", key="k", cwd="/tmp", agent="demo")
            assert opened["woken"] and opened["modes"]["currentModeId"] == "code"
            assert rig.agent("k").got("session/set_mode")[0]["params"]["modeId"] == "code"


async def test_a_full_pool_suspends_who_was_idle_longest_and_nobody_at_work(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(600):
        async with open_rig(settings(max_sessions=3), WAYS["exact"]) as rig, rig.connect() as user:
            ids = {}
            for key in ("busy", "old", "young"):
                ids[key] = await user.open(key)
                await trio.sleep(1)
            turn = user.later(user.prompt, ids["busy"], "wait 100")
            await user.wait_phase("busy", "working")
            await user.open("more")
            phases = {view["key"]: view["phase"] for view in (await user.status())["sessions"]}
            assert phases == {"busy": "working", "old": "suspended", "young": "idle", "more": "idle"}
            assert await user.prompt(ids["old"], "say back") == "end_turn"
            assert (await user.view("young"))["phase"] == "suspended"
            assert await turn.wait() == "end_turn" and rig.agents.most == 3


async def test_b6_a_pool_full_of_those_at_work_refuses(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig(settings(max_sessions=2), WAYS["exact"]) as rig, rig.connect() as user:
            for key in ("a", "b"):
                await user.submit(await user.open(key), "wait 100")
            error = await user.later(user.open, "c").fails()
            assert isinstance(error, PoolFull) and "max_sessions in [broker]" in error.message
            assert len(rig.agents.spawned) == 2


async def test_b7_b8_fresh_while_it_is_taken_up_gives_a_new_conversation(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        habits = Habits(load=True, mute=frozenset({"session/load"}))
        async with open_rig(habits=WAYS["loaded"]) as rig, rig.connect() as user:
            session = await user.open("k")
            await crash(rig, user, session)
            rig.agents.habits = habits
            turn = user.later(user.prompt, session, "say old")
            await user.wait_phase("k", "starting")
            rig.agents.habits = Habits()
            fresh = await user.open("k", fresh=True)
            await turn.fails()
            assert fresh != session and await user.prompt(fresh, "say new") == "end_turn"
            assert rig.agents.alive() == [rig.agent("k")] and rig.agent("k").prompts() == ["say new"]


async def test_b15_b10_e11_a_start_that_fails_settles_what_waited_for_it(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        config = settings(start_timeout=5)
        async with open_rig(config, WAYS["exact"]) as rig, rig.connect() as user:
            session = await user.open("k")
            await crash(rig, user, session)
            rig.agents.habits = Habits(never_starts=True)
            first, second = (user.later(user.prompt, session, "say it") for _ in range(2))
            assert (
                isinstance(await first.fails(), SpawnFailed) or "never sent" in (await first.fails()).message
            )
            assert "never sent" in (await second.fails()).message
            assert (await user.cancel(session)) == "nothing"
