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
from contextlib import ExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from trio_broker.agent.lifecycle import Spawn
from trio_broker.agent.spawn import spawn_agent
from trio_broker.auth.grant import OWNER, Grant
from trio_broker.broker.broker import Broker
from trio_broker.client import refuse_all
from trio_broker.config.config import AgentConfig, BrokerConfig, Config
from trio_broker.journal.keeper import Keeper
from trio_broker.journal.store import Journal
from trio_broker.server.serve import serve
from trio_broker.session.session import Session
from trio_broker.supervision import run_contained
from trio_broker.testing.clients.user import OnRequest, User, open_user
from trio_broker.testing.in_process.memory_agent import Habits, MemoryAgent, MemoryAgents
from trio_broker.testing.processes.home import FAKE
from trio_broker.transport.base import NdjsonTransport

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
        async with NdjsonTransport(self.raw(grant)) as link, open_user(link, on_request) as user:
            self.users.append(user)
            try:
                yield user
            finally:
                self.users.remove(user)

    def raw(self, grant: Grant = OWNER) -> trio.SocketStream:
        """A connection to the broker, for bytes."""
        ours, theirs = socket.socketpair()
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
        link = NdjsonTransport(stream, self.broker.config.broker.max_line)
        self.nursery.start_soon(
            run_contained, "client", partial(serve, self.broker, link, grant), lambda: None
        )
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
    asks = session.router.requests
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

    Where `config` names no default agent, it is `demo`. With a `journal` it keeps its logs there, and takes up what it
    finds. Leaving the block ends it at once, as a second Ctrl-C would; what is journalled at that moment is on disk.
    """
    config = config or Config()
    if config.default_agent is None:
        config = attrs.evolve(config, default_agent="demo")
    with ExitStack() as stack:
        opened = None if journal is None else stack.enter_context(closing(Journal.open(journal)))
        async with trio.open_nursery() as nursery:
            agents = MemoryAgents(nursery, habits or Habits())
            broker = Broker(config, spawn or agents.spawn, Keeper(opened))
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
