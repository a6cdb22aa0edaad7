"""A broker in this very process, with agents in memory or real ones, and clients over real sockets.

    async with open_rig() as rig, rig.connect() as user:
        session = await user.open("a")
        assert await user.prompt(session, "say hello") == "end_turn"
        assert user.said(session) == "hello"

With pytest-trio's `autojump_clock` and agents in memory, hours pass in milliseconds. `open_real` is the same
with agents that are processes, in real time: use `trio.fail_after` around it.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from trio_broker.broker import Broker
from trio_broker.client import refuse_all
from trio_broker.config import AgentConfig, BrokerConfig, Config
from trio_broker.containment import contained
from trio_broker.grant import OWNER, Grant
from trio_broker.journal import Journal
from trio_broker.keeper import Keeper
from trio_broker.life import Spawn
from trio_broker.link import Lines
from trio_broker.serve import serve
from trio_broker.session import Session
from trio_broker.spawning import spawn_agent
from trio_broker.testing.clients.user import OnRequest, User, open_user
from trio_broker.testing.in_process.memory_agent import Habits, MemoryAgent, MemoryAgents
from trio_broker.testing.processes.home import FAKE

FOREVER = 7 * 86400.0  # virtual seconds: what takes longer will never end


@attrs.define(eq=False)
class Rig:
    """A running broker; `agents` are those in memory, if it has such."""

    nursery: trio.Nursery
    broker: Broker
    agents: MemoryAgents
    cancel_scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    ended: trio.Event = attrs.field(factory=trio.Event)
    users: list[User] = attrs.field(factory=list)  # those who are connected

    async def run(  # noqa: ASYNC128  # the broker calls started()
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run the broker; `cancel_scope` cancels it, as a second Ctrl-C does, and `ended` is set when it is over."""
        with self.cancel_scope:
            await self.broker.run(task_status=task_status)
        self.ended.set()

    @asynccontextmanager
    async def connect(
        self, on_request: OnRequest = refuse_all, *, grant: Grant = OWNER
    ) -> AsyncGenerator[User, None]:
        """A client of its own connection, which may what its `grant` says; leaving the block disconnects."""
        async with Lines(self.raw(grant)) as link, open_user(link, on_request) as user:
            self.users.append(user)
            try:
                yield user
            finally:
                self.users.remove(user)

    def raw(self, grant: Grant = OWNER) -> trio.SocketStream:
        """A connection to the broker, for bytes."""
        ours, theirs = socket.socketpair()
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
        link = Lines(stream, self.broker.config.broker.max_line)
        self.nursery.start_soon(contained, "client", partial(serve, self.broker, link, grant), lambda: None)
        return trio.SocketStream(trio.socket.from_stdlib_socket(ours))

    def session(self, key: str) -> Session:
        return self.broker.find(key=key)

    async def fail_when_stuck(self) -> None:
        """Raise AssertionError after a week, which is nothing in virtual time, with what every session is doing."""
        await trio.sleep(FOREVER)
        lines = [
            f"  session {session.key!r} is {_activity(session)}" for session in self.broker.pool.snapshot()
        ]
        raise AssertionError("\n".join(["the test has not ended within 7 virtual days", *lines]))

    def agent(self, key: str) -> MemoryAgent:
        """The agent in memory that was started last for that key."""
        return next(agent for agent in reversed(self.agents.spawned) if agent.settings.key == key)


def _activity(session: Session) -> str:
    asks = session.relay.asks
    if asks is None or not asks.open:
        return session.phase.value
    asked = ", ".join(repr(ask.title) for ask in asks.open)
    return (
        f"waiting for an answer to {asked}: have a client with `on_request=allow`, or `policy=` in its open"
    )


def settings(**broker: Any) -> Config:
    """A configuration with these settings in its table `[broker]`."""
    return Config(broker=BrokerConfig(**broker))


@asynccontextmanager
async def open_rig(
    config: Config | None = None,
    habits: Habits | None = None,
    spawn: Spawn | None = None,
    journal: Path | None = None,
) -> AsyncGenerator[Rig, None]:
    """A broker, running; its agents live in memory with these `habits`, unless `spawn` makes others.

    With a `journal` it keeps its logs there, and takes up what it finds. Leaving the block ends it at once, as a second
    Ctrl-C would; what is journalled at that moment is on disk.
    """
    keeper = Keeper(None if journal is None else Journal.open(journal))
    async with trio.open_nursery() as nursery:
        agents = MemoryAgents(nursery, habits or Habits())
        broker = Broker(config or Config(), spawn or agents.spawn, keeper)
        rig = Rig(nursery, broker, agents)
        await nursery.start(rig.run)
        yield rig
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_real(agents: dict[str, AgentConfig] | None = None, **broker: Any) -> AsyncGenerator[Rig, None]:
    """A broker with these settings and agents; `demo`, its default, is the scripted agent."""
    known = {"demo": AgentConfig(FAKE)} | (agents or {})
    config: Config = attrs.evolve(settings(**broker), agents=known)
    async with open_rig(config, spawn=spawn_agent) as rig:
        yield rig
