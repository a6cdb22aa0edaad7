"""Starts an agent for a look at it: what it says of itself, whether it opens a conversation, and how it failed.

No broker is needed. What it starts is marked as a broker's agents are, under a mark of its own, so that no sweep of a
home takes it for an orphan, and has a guardian: whatever ends us leaves nothing behind.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import attrs
import trio

from trio_broker.agent import orphans, process_tags
from trio_broker.agent.catalog import AgentSpec
from trio_broker.agent.connection import AgentConnection
from trio_broker.agent.control import refuse_request
from trio_broker.agent.lifecycle import AgentRun, SessionSettings
from trio_broker.agent.process import Ladder
from trio_broker.agent.spawn import spawn_agent
from trio_broker.config.config import PolicyConfig
from trio_broker.errors import AUTH_REQUIRED, BadMessage, BrokerError, RemoteError
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import Kind, Message

LADDER = Ladder(1.0, 1.0)
KEY = "probe"
AUTH_STATUS_UPDATES = ("auth/status_update", "_auth/status_update")  # the second before ACP had the first


@attrs.define(eq=False)
class Probe:
    """One agent that is looked at; `run` it once. Times are seconds from its start.

    `environment`: what it inherits from. `auth_status`: what it said of its logins and accounts, if it did.
    """

    spec: AgentSpec
    cwd: str
    timeout: float
    open_session: bool = True
    environment: Mapping[str, str] = os.environ
    initialize_result: dict[str, Any] | None = None
    initialized_after: float | None = None
    session_result: dict[str, Any] | None = None
    session_after: float | None = None
    auth_status: dict[str, Any] | None = None
    error: BrokerError | None = None
    agent_run: AgentRun | None = None
    _started_at: float = 0.0

    async def run(self) -> None:
        """Start it, ask it, end it. Raises nothing of the agent's: `error` says what went wrong.

        Cancelling it kills the agent's group at once.
        """
        self._started_at = trio.current_time()
        sweeper = orphans.OrphanReaper(process_tags.new_instance_tag(f"{KEY} {trio.current_time()}"))
        settings = SessionSettings(
            KEY, self.spec, self.cwd, asking=PolicyConfig(), start_timeout=self.timeout, ladder=LADDER
        )
        spawn = partial(spawn_agent, sweeper=sweeper, environment=self.environment)
        self.agent_run = AgentRun(settings, spawn, trio.CapacityLimiter(1), lambda _: None, self)
        async with trio.open_nursery() as nursery:
            await nursery.start(orphans.run_watchdog, sweeper.instance)
            nursery.start_soon(sweeper.run)
            await self.agent_run.run()
            nursery.cancel_scope.cancel()
        self.error = self.error or self.agent_run.cause

    @property
    def needs_login(self) -> bool:
        """Whether it demanded a login, or says that it has none."""
        demanded = isinstance(self.error, RemoteError) and self.error.rpc_code == AUTH_REQUIRED
        return demanded or (self.auth_status or {}).get("state") == "unauthenticated"

    @property
    def stderr_lines(self) -> list[str]:
        connection = self.agent_run.connection if self.agent_run is not None else None
        return connection.stderr_tail().strip().splitlines()[-5:] if connection is not None else []

    # As a host

    async def start_conversation(self, connection: AgentConnection) -> None:
        assert self.agent_run is not None, "it calls us"
        self.initialize_result = jsonrpc.decode(self.agent_run.initialize_result)
        self.initialized_after = trio.current_time() - self._started_at
        if self.open_session:
            await self._open_session(connection)
        await self._ask_auth_status(connection)

    async def _ask_auth_status(self, connection: AgentConnection) -> None:
        """ACP's `auth/status`, a draft: from agents that offer it."""
        capabilities = (self.initialize_result or {}).get("agentCapabilities")
        auth = capabilities.get("auth") if isinstance(capabilities, dict) else None
        if isinstance(auth, dict) and isinstance(auth.get("status"), dict):
            try:
                self._on_auth_status(await connection.call("auth/status", b"{}"))
            except RemoteError:
                pass  # it does not say; what it sent by itself remains

    def _on_auth_status(self, raw: bytes) -> None:
        try:
            status = jsonrpc.decode(raw)
        except BadMessage:
            return  # a number beyond all floats, say: it tells nothing
        self.auth_status = status if isinstance(status, dict) else self.auth_status

    async def _open_session(self, connection: AgentConnection) -> None:
        try:
            params = jsonrpc.encode({"cwd": self.cwd, "mcpServers": []})
            self.session_result = jsonrpc.decode(await connection.call("session/new", params))
        except RemoteError as error:
            self.error = error
        self.session_after = trio.current_time() - self._started_at

    async def run_conversation(self, connection: AgentConnection) -> None:
        await trio.lowlevel.checkpoint()
        assert self.agent_run is not None
        self.agent_run.request_end()

    def on_end(self, agent_run: AgentRun) -> None:
        pass  # `run` looks when it is over

    def update_phase(self) -> None:
        pass

    def receive(self, message: Message) -> None:
        if message.method in AUTH_STATUS_UPDATES:
            self._on_auth_status(message.params)
        if (
            message.kind is Kind.REQUEST
            and self.agent_run is not None
            and self.agent_run.connection is not None
        ):
            refuse_request(self.agent_run.connection, message)

    def receive_updates(
        self, count: int, lines: bytes, *, plain: bool = False, tool_calls: bool = True
    ) -> None:
        raise AssertionError("its line has no session")

    async def wait_for_room(self) -> None:
        pass
