"""What who operates a broker does with it: restart an agent, read the configuration anew, stop without haste."""

from __future__ import annotations

import attrs
import pytest
import trio
from trio.testing import MockClock

from trio_broker.auth.grant import Grant, Scope
from trio_broker.config.config import AgentConfig, BrokerConfig, Config, JournalConfig
from trio_broker.errors import ConfigError, Draining, Forbidden, Misuse, NoSession, SessionOver
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import open_rig, settings

RESUMABLE = Habits(resume=True)
MOMENT = 0.1  # virtual seconds


@pytest.mark.parametrize("kill", [False, True])
async def test_a_restart_goes_on_in_another_process_and_keeps_the_queue(
    kill: bool, autojump_clock: MockClock
) -> None:
    with trio.fail_after(120):
        habits = Habits(resume=True, ignores_eof=True)
        async with open_rig(habits=habits) as rig, rig.connect() as user:
            session = await user.open("k")
            running = user.later(user.prompt, session, "hang-hard")
            await user.wait_phase("k", "working")
            queued = user.later(user.prompt, session, "say next")
            await trio.sleep(MOMENT)
            before, begun = rig.agent("k"), trio.current_time()
            done = await user.call("_trio_broker/restart", key="k", kill=kill)
            assert (done["key"], done["resumed"]) == ("k", "exact")
            assert before.exit is not None and rig.agents.alive() == [rig.agent("k")]
            assert done["pid"] == rig.agent("k").pid != before.pid
            assert (trio.current_time() - begun < 1) is kill
            error = await running.fails()
            assert isinstance(error, SessionOver) and "'k' was restarted by owner (client-" in error.message
            assert await queued.wait() == "end_turn" and user.said(session) == "next"
            assert rig.agent("k").prompts() == ["say next"]


async def test_a_restart_wakes_what_sleeps_and_tells_why_it_can_not(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig(settings(start_timeout=5), RESUMABLE) as rig, rig.connect() as user:
            await user.open("k")
            assert rig.session("k").suspend_if_idle()
            await user.wait_phase("k", "suspended")
            assert (await user.call("_trio_broker/restart", key="k"))["phase"] == "idle"
            rig.agents.habits = Habits(never_starts=True)
            error = await user.later(user.call, "_trio_broker/restart", key="k").fails()
            assert "gave no session within 5 s" in error.message
            with pytest.raises(NoSession):
                await user.call("_trio_broker/restart", key="nobody's")


async def test_a_restart_that_a_drain_forbids_says_so(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=RESUMABLE) as rig, rig.connect() as user:
            user.later(user.prompt, await user.open("k"), "hang")
            await user.wait_phase("k", "working")
            await user.call("_trio_broker/shutdown", drain=True)
            assert isinstance(await user.later(user.call, "_trio_broker/restart", key="k").fails(), Draining)


async def test_who_may_end_a_session_may_restart_it(autojump_clock: MockClock) -> None:
    alice, bob = (Grant(name, frozenset({Scope.PROMPT}), roots=("/tmp",)) for name in ("alice", "bob"))
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(grant=alice) as one, rig.connect(grant=bob) as other:
            await one.open("k")
            with pytest.raises(Forbidden):
                await other.call("_trio_broker/restart", key="k")
            assert (await one.call("_trio_broker/restart", key="k"))["resumed"] == "new"


async def test_draining_lets_turns_end_and_begins_nothing_new(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig(habits=RESUMABLE) as rig, rig.connect() as user:
            session = await user.open("k")
            await user.open("idle")
            running = user.later(user.prompt, session, "wait 100; say first,")
            await user.wait_phase("k", "working")
            await user.submit(session, "wait 100; say second")
            await user.call("_trio_broker/shutdown", drain=True)
            await user.call("_trio_broker/shutdown", drain=True)  # twice is once
            assert (await user.status())["draining"] is True
            for call in (
                user.later(user.prompt, session, "say more"),
                user.later(user.submit, session, "say more"),
                user.later(user.open, "other"),
            ):
                error = await call.fails()
                assert isinstance(error, Draining) and "draining: it stops when all turns" in error.message
            assert await running.wait() == "end_turn"
            await trio.sleep(50)
            assert not rig.broker.stopping.is_set()
            await rig.ended.wait()
            assert user.said(session) == "first,second" and rig.agents.alive() == []


async def test_a_broker_at_rest_that_drains_stops_at_once_and_haste_is_still_possible(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(10):
        async with open_rig() as rig, rig.connect() as user:
            await user.call("_trio_broker/shutdown", drain=True)
            await rig.ended.wait()
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            user.later(user.prompt, await user.open("k"), "hang")
            await user.wait_phase("k", "working")
            await user.call("_trio_broker/shutdown", drain=True)
            await user.call("_trio_broker/shutdown")
            await rig.ended.wait()


async def test_a_drain_does_not_wait_for_a_queue_that_lost_its_agent(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig(settings(cancel_grace=10)) as rig, rig.connect() as user:
            session = await user.open("k")
            running = user.later(user.prompt, session, "hang-hard")
            await user.wait_phase("k", "working")
            queued = user.later(user.prompt, session, "say never")
            await trio.sleep(MOMENT)
            await user.call("_trio_broker/shutdown", drain=True)
            await user.cancel(session)
            assert await running.wait() == "cancelled"
            assert "never sent" in (await queued.fails()).message
            await rig.ended.wait()


async def test_a_reload_holds_for_what_is_started_from_now_on() -> None:
    agent = AgentConfig(command=("new-agent",))
    fresh = Config(
        broker=BrokerConfig(max_sessions=7, max_starting=3, queue=1),
        journal=JournalConfig(keep_days=3),
        agents={"mine": agent},
    )
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            old = await user.open("old")
            rig.broker.reload_config = lambda: fresh
            assert await user.call("_trio_broker/reload") == {"agents": ["mine"], "later": ["journal"]}
            assert (await user.status())["limits"] == {"max_sessions": 7, "max_starting": 3, "queue": 1}
            assert rig.broker.pool.limit == 7 and rig.broker.registry.starting.total_tokens == 3
            assert rig.broker.config == attrs.evolve(fresh, journal=JournalConfig())
            await user.open("new", agent="mine")
            limits = [rig.session(key).turns.limit for key in ("old", "new")]
            assert limits == [16, 1] and await user.prompt(old, "say hi") == "end_turn"
            assert "mine" in [one["name"] for one in (await user.call("_trio_broker/agents"))["agents"]]


async def test_a_mistake_in_the_configuration_changes_nothing() -> None:
    def broken() -> Config:
        raise ConfigError("config.toml: broker.queue: expected an integer")

    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            with pytest.raises(Misuse, match="was not started from a configuration file"):
                await user.call("_trio_broker/reload")
            before, rig.broker.reload_config = rig.broker.config, broken
            with pytest.raises(ConfigError, match=r"broker\.queue"):
                await user.call("_trio_broker/reload")
            assert rig.broker.config is before
