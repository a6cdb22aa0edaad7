"""A busy, slow or deaf session holds up nothing else, in virtual time: what the broker is for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from trio_broker.errors import AgentGone
from trio_broker.testing.clients.user import User
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import Rig, open_rig, settings

AT_ONCE = 0.5  # virtual seconds: nothing that is answered from memory takes longer
MEGABYTE = 1_000_000


async def test_main_job_a_silent_tool_call_holds_up_nothing(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with open_rig(settings(idle_ttl=120), Habits(resume=True)) as rig, rig.connect() as user:
            await leave_idle_session(rig, "unused")
            a, b = await user.open("a"), await user.open("b")
            build = user.later(user.prompt, a, "wait 600; say built")
            await trio.sleep(200)
            with trio.fail_after(AT_ONCE):
                assert await user.prompt(b, "say hello") == "end_turn"
                c = await user.open("c")
                assert await user.prompt(c, "say new") == "end_turn"
                phases = {view["key"]: view["phase"] for view in (await user.status())["sessions"]}
                assert phases == {"unused": "suspended", "a": "working", "b": "idle", "c": "idle"}
                assert (await user.submit(a, "say after"))["position"] == 1
            view = await user.view("a")
            assert view["quiet_for"] >= 200 and view["queue"] == 1
            await trio.sleep(100)
            with trio.fail_after(AT_ONCE):
                assert await user.cancel(a) == "turn"
                assert await build.wait() == "cancelled"
            await user.wait_phase("a", "idle")
            assert user.said(a) == "after" and user.said(b) == "hello" and user.said(c) == "new"


async def leave_idle_session(rig: Rig, key: str) -> None:
    """A session that nobody is attached to any more."""
    async with rig.connect() as other:
        await other.open(key)


async def test_a1_a3_bytes_of_many_sessions_flow_while_one_never_answers(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            hung = user.later(user.prompt, await user.open("hung"), "hang-hard")
            others = [await user.open(f"s{number}") for number in range(20)]
            with trio.fail_after(AT_ONCE):
                ends = [user.later(user.prompt, session, f"say {session}") for session in others]
                for end in ends:
                    assert await end.wait() == "end_turn"
            assert all(user.said(session) == session for session in others)
            assert not hung.done


async def test_a1_one_hour_of_silence_ends_nothing(autojump_clock: MockClock) -> None:
    with trio.fail_after(7200):
        async with open_rig(settings(idle_ttl=60)) as rig, rig.connect() as user:
            session = await user.open("a")
            assert await user.prompt(session, "wait 3600; say done") == "end_turn"
            assert user.said(session) == "done"
            assert len(rig.agents.spawned) == 1 and trio.current_time() >= 3600


async def test_a1_silence_of_a_session_nobody_listens_to_ends_nothing(autojump_clock: MockClock) -> None:
    with trio.fail_after(7200):
        async with open_rig(settings(idle_ttl=60)) as rig, rig.connect() as user:
            async with rig.connect() as leaver:
                await leaver.submit(await leaver.open("a"), "wait 3600")
            await trio.sleep(3500)
            assert (await user.view("a"))["phase"] == "working"


async def test_a2_a_start_that_never_ends_holds_up_no_other_start(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            rig.agents.habits = Habits(never_starts=True)
            stuck = user.later(user.open, "stuck")
            await user.wait_phase("stuck", "starting")
            rig.agents.habits = Habits()
            with trio.fail_after(AT_ONCE):
                session = await user.open("other")
                assert await user.prompt(session, "say hello") == "end_turn"
                assert (await user.status())["counts"]["starting"] == 1
            assert not stuck.done


Verb = Callable[[User, str], Awaitable[object]]
VERBS: dict[str, Verb] = {
    "status": lambda user, _: user.status(),
    "sessions": lambda user, _: user.call("_trio_broker/sessions"),
    "agents": lambda user, _: user.call("_trio_broker/agents"),
    "logs": lambda user, session: user.call("_trio_broker/logs", sessionId=session),
    "list": lambda user, _: user.call("session/list"),
    "open": lambda user, _: user.open("hung"),
    "submit": lambda user, session: user.submit(session, "later"),
    "mode": lambda user, session: user.call("session/set_mode", sessionId=session, modeId="code"),
    "cancel": lambda user, session: user.cancel(session),
    "kill": lambda user, session: user.call("_trio_broker/kill", sessionId=session),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_a4_a5_a6_every_verb_returns_at_once_while_its_session_hangs(
    verb: str, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("hung")
            hung = user.later(user.prompt, session, "hang-hard")
            await user.wait_phase("hung", "working")
            with trio.fail_after(AT_ONCE):
                await VERBS[verb](user, session)
            assert hung.done is (verb == "kill")


async def test_a6_a_follow_up_is_queued_behind_a_hung_turn_and_a_cancel_gets_through(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(600):
        async with open_rig() as rig, rig.connect() as user, rig.connect() as other:
            session = await user.open("a")
            hung = user.later(user.prompt, session, "hang-hard")
            await user.wait_phase("a", "working")
            assert (await other.submit(session, "say more"))["position"] == 1
            assert await other.cancel(session) == "turn"
            await trio.sleep(AT_ONCE)
            assert rig.agent("a").got("session/cancel")
            assert (await user.view("a"))["phase"] == "cancelling"
            assert not hung.done


async def test_a1_status_is_answered_while_every_lock_is_held(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            sessions = [await user.open(f"s{number}") for number in range(5)]
            for number in range(5):
                turns = rig.session(f"s{number}").turns
                assert turns is not None
                await turns.lock.acquire()
            with trio.fail_after(AT_ONCE):
                await user.submit(sessions[0], "say held back")
                status = await user.status()
                assert len(status["sessions"]) == 5 and status["sessions"][0]["queue"] == 1
                await user.open("one more")
            assert rig.agent("s0").prompts() == []


async def test_a8_an_agent_that_writes_before_it_reads_makes_no_deadlock(autojump_clock: MockClock) -> None:
    """A prompt of a megabyte, stuck in a full stdin; meanwhile a megabyte of updates, a permission in its middle."""
    with trio.fail_after(60):
        async with open_rig(habits=Habits(stops_reading=True)) as rig, rig.connect() as user:
            session = await user.open("a", policy="approve-all")
            end = user.later(user.prompt, session, "say " + "x" * MEGABYTE)
            await user.wait_phase("a", "working")
            agent = rig.agent("a")
            await agent.say("y" * (MEGABYTE // 2))
            permission = user.later(agent.ask, "go on")
            await agent.say("z" * (MEGABYTE // 2))
            while len(user.said(session)) < MEGABYTE:  # noqa: ASYNC110  # on its way through a socket
                await trio.sleep(0.01)
            assert agent.prompts() == [] and not permission.done
            agent.reading_resumed.set()
            assert await end.wait() == "end_turn"
            assert (await permission.wait())["result"]["outcome"]["optionId"] == "allow"


async def test_a9_an_agent_that_never_reads_is_ended_when_it_does_not_heed_a_cancel(
    autojump_clock: MockClock,
) -> None:
    config = settings(cancel_grace=30, close_grace=2, term_grace=2)
    with trio.fail_after(120):
        async with (
            open_rig(config, Habits(stops_reading=True, ignores_term=True)) as rig,
            rig.connect() as user,
        ):
            session = await user.open("a")
            end = user.later(user.prompt, session, "x" * MEGABYTE)
            await user.wait_phase("a", "working")
            begun = trio.current_time()
            with trio.fail_after(AT_ONCE):
                assert await user.cancel(session) == "turn"
            assert await end.wait() == "cancelled"
            assert trio.current_time() - begun == pytest.approx(30, abs=1)
            await rig.agent("a").exited.wait()
            assert trio.current_time() - begun == pytest.approx(34, abs=1)


async def test_a9_an_agent_that_does_not_read_is_given_up_when_its_outbox_is_full(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(120):
        async with open_rig(habits=Habits(stops_reading=True)) as rig, rig.connect() as user:
            session = await user.open("a")
            end = user.later(user.prompt, session, "x")
            await user.wait_phase("a", "working")
            for _ in range(1000):
                user.client.notify("x/noise", {"sessionId": session})
            error = await end.fails()
            assert isinstance(error, AgentGone) and "does not read its stdin" in error.message
            rig.agents.habits = Habits()
            assert await user.prompt(await user.open("b"), "say alive") == "end_turn"
