"""Starts an agent for a look at it: what it says of itself, whether it opens a conversation, and how it failed.

No broker is needed. What it starts is marked as a broker's agents are, under a mark of its own, so that no sweep of a
home takes it for an orphan, and has a guardian: whatever ends us leaves nothing behind.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import attrs
import trio

from trio_broker.agent import orphans, process_tags
from trio_broker.agent.catalog import AgentSpec
from trio_broker.agent.connection import Line
from trio_broker.agent.control import refuse
from trio_broker.agent.lifecycle import Life, Settings
from trio_broker.agent.process import Ladder
from trio_broker.agent.spawn import spawn_agent
from trio_broker.config.config import PolicyConfig
from trio_broker.errors import BrokerError, RemoteError
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import Kind, Message

AUTH_REQUIRED = -32000
LADDER = Ladder(1.0, 1.0)
KEY = "probe"


@attrs.define(eq=False)
class Probe:
    """One agent that is looked at; `run` it once. Times are seconds from its start."""

    spec: AgentSpec
    cwd: str
    patience: float
    converse: bool = True
    introduction: dict[str, Any] | None = None
    introduced_after: float | None = None
    conversation: dict[str, Any] | None = None
    conversed_after: float | None = None
    error: BrokerError | None = None
    life: Life | None = None
    _begun: float = 0.0

    async def run(self) -> None:
        """Start it, ask it, end it. Raises nothing of the agent's: `error` says what went wrong.

        Cancelling it kills the agent's group at once.
        """
        self._begun = trio.current_time()
        sweeper = orphans.Sweeper(process_tags.new_instance(f"{KEY} {trio.current_time()}"))
        settings = Settings(
            KEY, self.spec, self.cwd, asking=PolicyConfig(), start_timeout=self.patience, ladder=LADDER
        )
        spawn = partial(spawn_agent, sweeper=sweeper)
        self.life = Life(settings, spawn, trio.CapacityLimiter(1), lambda _: None, self)
        async with trio.open_nursery() as nursery:
            await nursery.start(orphans.guard, sweeper.instance)
            nursery.start_soon(sweeper.run)
            await self.life.run()
            nursery.cancel_scope.cancel()
        self.error = self.error or self.life.cause

    @property
    def needs_login(self) -> bool:
        return isinstance(self.error, RemoteError) and self.error.rpc_code == AUTH_REQUIRED

    @property
    def last_words(self) -> list[str]:
        line = self.life.line if self.life is not None else None
        return line.stderr_tail().strip().splitlines()[-5:] if line is not None else []

    # As a host

    async def begin(self, line: Line) -> None:
        assert self.life is not None, "it calls us"
        self.introduction = jsonrpc.decode(self.life.introduction)
        self.introduced_after = trio.current_time() - self._begun
        if not self.converse:
            return
        try:
            params = jsonrpc.encode({"cwd": self.cwd, "mcpServers": []})
            self.conversation = jsonrpc.decode(await line.call("session/new", params))
        except RemoteError as error:
            self.error = error
        self.conversed_after = trio.current_time() - self._begun

    async def work(self, line: Line) -> None:
        await trio.lowlevel.checkpoint()
        assert self.life is not None
        self.life.request_end()

    def on_end(self, life: Life) -> None:
        pass  # `run` looks when it is over

    def note_phase(self) -> None:
        pass

    def hear(self, message: Message) -> None:
        if message.kind is Kind.REQUEST and self.life is not None and self.life.line is not None:
            refuse(self.life.line, message)

    def hear_updates(self, count: int, lines: bytes, *, plain: bool = False) -> None:
        raise AssertionError("its line has no session")

    async def wait_room(self) -> None:
        pass
