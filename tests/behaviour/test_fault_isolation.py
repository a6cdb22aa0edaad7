"""A fault of ours, wherever a session waits for something: it is that session's alone, and everybody has an outcome."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest
import trio
from trio.testing import MockClock

from trio_broker.agent.connection import AgentConnection
from trio_broker.agent.lifecycle import AgentRun, SessionSettings
from trio_broker.agent.process import Ladder
from trio_broker.broker.broker import END_MARGIN
from trio_broker.errors import BrokerError
from trio_broker.journal.keeper import Keeper
from trio_broker.protocol.jsonrpc import Kind
from trio_broker.session.session import Session
from trio_broker.testing.clients.user import BackgroundCall
from trio_broker.testing.in_process.memory_agent import FIRST_PID, Habits, MemoryAgent
from trio_broker.testing.in_process.rig import Rig, open_rig, settings


class Fault(Exception):
    """What the code never expects."""


@attrs.define(eq=False)
class FaultyStdin(trio.abc.SendStream):
    inner: trio.abc.SendStream
    fault: trio.Event

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.fault.is_set():
            raise Fault
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self.inner.aclose()


@attrs.define(eq=False)
class FaultyAgent(MemoryAgent):
    """Watching it, writing to it, or looking whether it lives, fails once these are set."""

    watch_fails: trio.Event = attrs.field(factory=trio.Event)
    write_fails: trio.Event = attrs.field(factory=trio.Event)
    look_fails: bool = False
    ends: bool = True  # else its ladder leads nowhere

    async def watch(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._fail)
            await self.exited.wait()
            nursery.cancel_scope.cancel()

    async def _fail(self) -> None:
        await self.watch_fails.wait()
        raise Fault

    async def end(self, ladder: Ladder, hang_up: Callable[[], None]) -> None:
        if not self.ends and ladder.close_grace:
            await trio.sleep_forever()
        await super().end(ladder, hang_up)

    def alive(self) -> bool:
        if self.look_fails:
            raise Fault
        return super().alive()

    @property
    def stdin(self) -> trio.abc.SendStream:
        return FaultyStdin(self._in[0], self.write_fails)


class FaultyKeeper(Keeper):
    """Waiting for the disk fails."""

    async def flush(self, session: int | None = None) -> None:
        await trio.lowlevel.checkpoint()
        raise Fault


class CrowdedKeeper(Keeper):
    """Waiting for room fails."""

    def crowded(self, session: int) -> bool:
        return True

    async def wait_room(self, session: int) -> None:
        await trio.lowlevel.checkpoint()
        raise Fault


def at_watch(session: Session, agent: FaultyAgent) -> None:
    agent.watch_fails.set()


def at_write(session: Session, agent: FaultyAgent) -> None:
    agent.write_fails.set()
    line_of(session).send(b"{}\n")


def at_read(session: Session, agent: FaultyAgent) -> None:
    session.log.keeper = CrowdedKeeper()


def at_look(session: Session, agent: FaultyAgent) -> None:
    agent.look_fails = True


def line_of(session: Session) -> AgentConnection:
    life = session.agent_run
    assert isinstance(life, AgentRun) and life.connection is not None
    return life.connection


async def open_faulty(rig: Rig, settings: SessionSettings) -> FaultyAgent:
    await trio.lowlevel.checkpoint()
    agent = FaultyAgent(FIRST_PID + len(rig.agents.spawned), settings, Habits(ignores_eof=True))
    rig.agents.spawned.append(agent)
    rig.nursery.start_soon(agent.run)
    return agent


async def outcome(call: BackgroundCall[str]) -> str:
    try:
        return await call.wait()
    except BrokerError as error:
        return error.code


FAULTS: list[Callable[[Session, FaultyAgent], None]] = [at_watch, at_write, at_read, at_look]


@pytest.mark.parametrize("fault", FAULTS)
async def test_e2_after_a_fault_at_any_await_each_prompt_has_one_outcome(
    fault: Callable[[Session, FaultyAgent], None], autojump_clock: MockClock
) -> None:
    rigs: list[Rig] = []
    with trio.fail_after(600):
        async with (
            open_rig(spawn=lambda settings: open_faulty(rigs[0], settings)) as rig,
            rig.connect() as user,
            rig.connect() as neighbour,
        ):
            rigs.append(rig)
            session, other = await user.open("k"), await neighbour.open("other")
            calm = neighbour.later(neighbour.prompt, other, "wait 50; say calm")
            calls = [user.later(user.prompt, session, "wait 20; say done") for _ in range(3)]
            await user.wait_phase("k", "working")
            agent = rig.agent("k")
            assert isinstance(agent, FaultyAgent)
            fault(rig.session("k"), agent)
            outcomes = sorted([await outcome(call) for call in calls])
            assert outcomes == ["session_over"] * 3
            await trio.sleep(60)
            assert agent.exit is not None and await calm.wait() == "end_turn"
            answers = [message.id for message in user.messages if message.kind is Kind.RESPONSE]
            assert len(answers) == len(set(answers))
            assert "failed in it" in (await user.view("k"))["error"]
            assert await user.prompt(await user.open("k"), "say again") == "end_turn"


async def test_e2_after_a_fault_at_the_wait_for_the_disk_a_prompt_has_one_outcome(
    autojump_clock: MockClock,
) -> None:
    """It is waited for before a prompt is sent that runs whatever happens."""
    with trio.fail_after(600):
        async with open_rig() as rig, rig.connect() as user, rig.connect() as other:
            session = await user.open("k")
            await other.call("_trio_broker/attach", key="k")
            rig.session("k").log.keeper = FaultyKeeper()
            user.later(user.submit, session, "say never", promptId="p")
            await other.wait_phase("k", "dead")
            assert "failed in it" in (await other.view("k"))["error"]
            assert [event["promptId"] for event in other.events if event["kind"] == "ended"] == ["p"]
            assert rig.agents.spawned[0].prompts() == []


async def test_g5_a_ladder_that_leads_nowhere_does_not_outlast_the_budget(autojump_clock: MockClock) -> None:
    rigs: list[Rig] = []
    with trio.fail_after(600):
        async with (
            open_rig(settings(close_grace=2, term_grace=3), spawn=lambda it: open_faulty(rigs[0], it)) as rig,
            rig.connect() as user,
        ):
            rigs.append(rig)
            await user.open("k")
            agent = rig.agent("k")
            assert isinstance(agent, FaultyAgent)
            agent.ends = False
            begun = trio.current_time()
            rig.broker.stop()
            await rig.ended.wait()
            assert agent.exit is not None
            assert trio.current_time() - begun == pytest.approx(2 + 3 + END_MARGIN, abs=0.5)
