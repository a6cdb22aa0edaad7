"""One key, one session, one process: openings that race, replacements, and sessions that are named alike."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from trio_broker.errors import Misuse, NoSession, PoolFull, SessionOver, SpawnFailed
from trio_broker.testing.clients.user import Json
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import open_rig, settings

STUBBORN = Habits(ignores_eof=True, ignores_term=True)
LADDER = 10.0  # seconds such an agent lives on, by default


@pytest.mark.parametrize("start", [0, 7])
async def test_b1_hundred_first_messages_spawn_one_process(start: float, autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=Habits(start=start)) as rig, rig.connect() as user:
            opening = {"key": "k", "agent": "demo", "cwd": "/tmp"}
            opens = [user.later(user.call, "_trio_broker/open", **opening) for _ in range(100)]
            results = [await one.wait() for one in opens]
            assert len({result["sessionId"] for result in results}) == 1
            assert [result["created"] for result in results].count(True) == 1
            assert len(rig.agents.spawned) == 1 and len(rig.agent("k").got("session/new")) == 1


@pytest.mark.parametrize(
    "params",
    [
        {"key": "a\0b"},
        {"key": "\ud800"},
        {"key": "x" * 9000},
        {"key": "k", "env": {"A": "\0"}},
        {"key": "k", "env": {"A": "\udfff"}},
        {"key": "k", "env": {"A=B": "c"}},
        {"key": "k", "env": {"": "c"}},
    ],
)
async def test_what_no_process_could_be_given_is_refused_and_counts_against_no_agent(params: Json) -> None:
    """Three such keys made the agent rest, for everybody."""
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            with pytest.raises(Misuse, match=r"can't be a session's key|params\.env"):
                await user.call("_trio_broker/open", cwd="/tmp", **params)
            assert rig.agents.spawned == [] and (await user.status())["sessions"] == []


async def test_b1_every_waiter_of_a_start_that_fails_is_told_why(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        config = settings(start_timeout=30)
        async with open_rig(config, Habits(never_starts=True)) as rig, rig.connect() as user:
            opens = [user.later(user.open, "k") for _ in range(20)]
            for one in opens:
                assert isinstance(error := await one.fails(), SpawnFailed)
                assert "30 s" in error.message and "start_timeout" in error.message
            assert len(rig.agents.spawned) == 1


async def test_b1_a_client_that_leaves_a_start_leaves_it_to_the_others(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=Habits(start=10)) as rig, rig.connect() as stayer:
            async with rig.connect() as leaver:
                left = leaver.later(leaver.open, "k")
                await leaver.wait_phase("k", "starting")
                opened = stayer.later(stayer.open, "k")
                await trio.sleep(5)
            assert not left.done
            assert await stayer.prompt(await opened.wait(), "say hello") == "end_turn"
            assert len(rig.agents.spawned) == 1


async def test_b1_a_start_that_everybody_left_goes_on(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=Habits(start=10)) as rig, rig.connect() as user:
            async with rig.connect() as leaver:
                leaver.later(leaver.open, "k")
                await leaver.wait_phase("k", "starting")
            await user.wait_phase("k", "idle")
            assert rig.agents.spawned == rig.agents.alive()


async def test_b2_a_replacement_survives_the_end_of_what_it_replaced(autojump_clock: MockClock) -> None:
    """The old session's close, asked for before and after, finds another in its place and lets it be."""
    with trio.fail_after(600):
        async with open_rig(habits=STUBBORN) as rig, rig.connect() as user:
            old = await user.open("k")
            closes = [user.later(user.call, "_trio_broker/close", sessionId=old) for _ in range(3)]
            await user.wait_phase("k", "closed")
            new = user.later(user.open, "k", fresh=True)
            closes += [user.later(user.call, "_trio_broker/close", sessionId=old) for _ in range(3)]
            for close in closes:
                assert (await close.wait())["closed"]
            session = await new.wait()
            await trio.sleep(2 * LADDER)
            assert await user.prompt(session, "say here") == "end_turn"
            assert rig.agents.most == 1 and len(rig.agents.spawned) == 2


async def test_b2_fresh_waits_for_the_old_process_to_be_gone(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig(habits=STUBBORN) as rig, rig.connect() as user:
            running = user.later(user.prompt, await user.open("k"), "hang-hard")
            await user.wait_phase("k", "working")
            begun = trio.current_time()
            news = [user.later(user.open, "k", fresh=True) for _ in range(5)]
            assert isinstance(await running.fails(), SessionOver)
            assert len({await new.wait() for new in news}) == 1
            assert trio.current_time() - begun == pytest.approx(LADDER, abs=0.5)
            assert rig.agents.most == 1 and len(rig.agents.spawned) == 2


async def test_b1_an_open_during_a_close_waits_and_then_starts_anew(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig(habits=STUBBORN) as rig, rig.connect() as user:
            old = await user.open("k")
            user.later(user.call, "_trio_broker/close", key="k")
            await user.wait_phase("k", "closed")
            assert await user.open("k") != old
            assert rig.agents.most == 1


async def test_a_key_belongs_to_one_agent_until_its_session_is_over(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k", command=["one"])
            with pytest.raises(Misuse, match="belongs to agent 'one'"):
                await user.open("k", command=["another"])
            assert await user.call("_trio_broker/open", key="k", cwd="/tmp", create=False)
            await user.call("_trio_broker/close", sessionId=session)
            assert await user.open("k", command=["another"])


async def test_open_without_create_makes_nothing(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            with pytest.raises(NoSession):
                await user.open("k", create=False)
            assert rig.agents.spawned == []


async def test_b3_a_full_pool_ends_nobody_to_make_room(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(settings(max_sessions=1, idle_ttl=1)) as rig, rig.connect() as user:
            session = await user.open("idle")
            await trio.sleep(30)
            assert isinstance(await user.later(user.open, "other").fails(), PoolFull)
            assert await user.prompt(session, "say still here") == "end_turn"
            assert len(rig.agents.spawned) == 1


async def test_b5_concurrent_openings_never_exceed_max_sessions(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with (
            open_rig(settings(max_sessions=2), Habits(start=3)) as rig,
            rig.connect() as user,
            rig.connect() as other,
        ):
            opens = [(user, other)[number % 2].later(user.open, f"k{number}") for number in range(10)]
            for one in opens:
                try:
                    await one.wait()
                except PoolFull:
                    pass  # counted below
            assert sum(one.error is None for one in opens) == 2
            assert rig.agents.most == 2 and len(rig.agents.spawned) == 2


@pytest.mark.parametrize("ending", ["close", "kill", "die"])
async def test_b5_the_place_in_the_pool_is_free_again_when_the_process_is_gone(
    ending: str, autojump_clock: MockClock
) -> None:
    with trio.fail_after(600):
        async with open_rig(settings(max_sessions=1), STUBBORN) as rig, rig.connect() as user:
            for number in range(5):
                await user.open(f"k{number}")
                if ending == "die":
                    rig.agent(f"k{number}").kill()
                    await user.wait_phase(f"k{number}", "dead")
                    await trio.sleep(1)
                else:
                    await user.call(f"_trio_broker/{ending}", key=f"k{number}")
            assert rig.agents.most == 1 and len(rig.agents.spawned) == 5


async def test_b6_a_full_pool_refuses_with_its_limit_and_setting(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(settings(max_sessions=3)) as rig, rig.connect() as user:
            for number in range(3):
                await user.open(f"k{number}")
            error = await user.later(user.open, "k3").fails()
            assert isinstance(error, PoolFull) and error.details["limit"] == 3
            assert "3 sessions" in error.message and "max_sessions in [broker]" in error.message
            assert await user.open("k1")


async def test_b5_no_more_than_max_starting_start_at_once(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        config = settings(max_starting=2)
        async with open_rig(config, Habits(start=10)) as rig, rig.connect() as user:
            opens = [user.later(user.open, f"k{number}") for number in range(6)]
            for wave in range(1, 4):
                await trio.sleep(5)
                assert len(rig.agents.spawned) == 2 * wave
                await trio.sleep(5.1)
                assert sum(one.done for one in opens) == 2 * wave


@pytest.mark.parametrize("end", ["close", "kill", "timeout", "die"])
async def test_b5_a_start_that_comes_to_nothing_lets_the_next_one_start(
    end: str, autojump_clock: MockClock
) -> None:
    with trio.fail_after(600):
        config = settings(max_starting=1, start_timeout=20)
        async with open_rig(config, Habits(never_starts=True)) as rig, rig.connect() as user:
            stuck = user.later(user.open, "stuck")
            await user.wait_phase("stuck", "starting")
            rig.agents.habits = Habits()
            following = user.later(user.open, "next")
            if end in ("close", "kill"):
                await user.call(f"_trio_broker/{end}", key="stuck")
            elif end == "die":
                rig.agent("stuck").kill()
            assert await following.wait()
            assert isinstance(await stuck.fails(), SessionOver if end in ("close", "kill") else SpawnFailed)
            await rig.agent("stuck").exited.wait()
            assert rig.agents.alive() == [rig.agent("next")]


async def test_one_that_waits_for_its_start_can_be_closed(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        config = settings(max_starting=1)
        async with open_rig(config, Habits(start=50)) as rig, rig.connect() as user:
            first = user.later(user.open, "first")
            await user.wait_phase("first", "starting")
            second = user.later(user.open, "second")
            await user.wait_phase("second", "starting")
            await user.call("_trio_broker/close", key="second")
            assert isinstance(await second.fails(), SessionOver)
            assert trio.current_time() < 50
            assert await first.wait() and len(rig.agents.spawned) == 1


async def test_d3_sessions_that_their_agents_named_alike_are_kept_apart(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with (
            open_rig(habits=Habits(session_id="same")) as rig,
            rig.connect() as user,
            rig.connect() as other,
        ):
            a, b = await user.open("a"), await user.open("b")
            assert (a, b) == ("same", "same~2")
            assert await other.open("b") == b
            await user.prompt(a, "say to a")
            await user.prompt(b, "say to b")
            assert (user.said(a), user.said(b)) == ("to a", "to b")
            assert (other.said(a), other.said(b)) == ("", "to b")
            assert rig.agent("a").prompts() == ["say to a"] and rig.agent("b").prompts() == ["say to b"]
            assert {message["params"]["sessionId"] for message in rig.agent("b").got("session/prompt")} == {
                "same"
            }


async def test_d3_a_cancel_and_an_ask_find_the_session_of_the_second_name(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=Habits(session_id="same")) as rig, rig.connect() as user:
            await user.open("a")
            b = await user.open("b", policy="ask")
            turn = user.later(user.prompt, b, "wait 10; hang")
            await user.wait_phase("b", "working")
            user.later(rig.agent("b").ask, "may I")
            await user.wait_phase("b", "working", "idle")
            user.client.notify("session/cancel", {"sessionId": b})
            assert await turn.wait() == "cancelled"
            assert user.asked()[0]["sessionId"] == b
            assert rig.agent("b").got("session/cancel")[0]["params"] == {"sessionId": "same"}
            assert rig.agent("a").got("session/cancel") == []


async def test_a_name_is_free_again_when_its_session_is_over(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=Habits(session_id="same")) as rig, rig.connect() as user:
            await user.open("a")
            b = await user.open("b")
            await user.call("_trio_broker/close", key="a")
            assert await user.open("c") == "same"
            assert await user.prompt(b, "say hello") == "end_turn"
            assert user.said(b) == "hello"
