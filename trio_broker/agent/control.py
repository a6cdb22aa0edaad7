"""A started agent without a conversation: for initialize, authenticate and logout."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from trio_broker.agent.connection import AgentConnection
from trio_broker.agent.lifecycle import AgentRun, SessionSettings, Spawn
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import Kind, Message
from trio_broker.protocol.pending import OnReply


def refuse_request(connection: AgentConnection, message: Message) -> None:
    """There is no conversation, so nobody to ask: every request still gets its answer (RACES C13)."""
    id = message.id or b"null"
    if message.method == "elicitation/create":
        connection.send_quietly(jsonrpc.response(id, b'{"action":"decline"}'))
    else:
        text = f"Method not found before there is a session: {message.method}"
        connection.send_quietly(
            jsonrpc.error_response(id, jsonrpc.error_object(jsonrpc.METHOD_NOT_FOUND, text))
        )


@attrs.define(eq=False)
class ControlAgent:
    """Hosts one life of an agent, and passes on what concerns no session."""

    settings: SessionSettings
    spawn: Spawn
    starting: trio.CapacityLimiter
    on_started: Callable[[AgentRun], None]
    used_at: float = attrs.field(factory=trio.current_time)
    agent_run: AgentRun = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.agent_run = AgentRun(self.settings, self.spawn, self.starting, self.on_started, self)

    @property
    def key(self) -> str:
        return self.settings.key

    async def run(self) -> None:
        await self.agent_run.run()

    async def wait_ready(self) -> None:
        """Wait for the start. Raises why it failed."""
        await self.agent_run.wait_ready()
        self.used_at = trio.current_time()

    def request(self, method: str, params: bytes, on_reply: OnReply) -> int:
        """Pass a request on to the agent; call it once ready. Raises AgentGone."""
        assert self.agent_run.connection is not None, "it is ready"
        return self.agent_run.connection.request(method, params, on_reply)

    def notify(self, method: str, params: bytes) -> None:
        assert self.agent_run.connection is not None, "it is ready"
        self.agent_run.connection.send(jsonrpc.notification(method, params))

    def forget(self, number: int) -> None:
        """Nobody waits for the answer to this request any more."""
        if self.agent_run.connection is not None:
            self.agent_run.connection.pending.forget(number)

    def end_if_unused(self, ttl: float) -> None:
        calls = self.agent_run.connection is not None and len(self.agent_run.connection.pending)
        if self.agent_run.started.is_set() and not calls and trio.current_time() - self.used_at >= ttl:
            self.agent_run.request_end()

    # As a host

    async def start_conversation(self, connection: AgentConnection) -> None:
        await trio.lowlevel.checkpoint()

    async def run_conversation(self, connection: AgentConnection) -> None:
        await trio.sleep_forever()

    def on_end(self, agent_run: AgentRun) -> None:
        pass  # whoever waits, waits on the life

    def update_phase(self) -> None:
        pass

    def receive(self, message: Message) -> None:
        if message.kind is Kind.REQUEST and self.agent_run.connection is not None:
            refuse_request(self.agent_run.connection, message)

    def receive_updates(
        self, count: int, lines: bytes, *, plain: bool = False, tool_calls: bool = True
    ) -> None:
        raise AssertionError("its line has no session")

    async def wait_for_room(self) -> None:
        pass
