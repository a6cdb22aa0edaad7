"""A started agent without a conversation: for initialize, authenticate and logout."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from trio_broker.agent.connection import Line
from trio_broker.agent.lifecycle import Life, Settings, Spawn
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import Kind, Message
from trio_broker.protocol.pending import OnReply


def refuse(line: Line, message: Message) -> None:
    """There is no conversation, so nobody to ask: every request still gets its answer (RACES C13)."""
    id = message.id or b"null"
    if message.method == "elicitation/create":
        line.say(jsonrpc.response(id, b'{"action":"decline"}'))
    else:
        text = f"Method not found before there is a session: {message.method}"
        line.say(jsonrpc.error_response(id, jsonrpc.error_object(jsonrpc.METHOD_NOT_FOUND, text)))


@attrs.define(eq=False)
class Control:
    """Hosts one life of an agent, and passes on what concerns no session."""

    settings: Settings
    spawn: Spawn
    starting: trio.CapacityLimiter
    heed_start: Callable[[Life], None]
    used_at: float = attrs.field(factory=trio.current_time)
    life: Life = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.life = Life(self.settings, self.spawn, self.starting, self.heed_start, self)

    @property
    def key(self) -> str:
        return self.settings.key

    async def run(self) -> None:
        await self.life.run()

    async def wait_ready(self) -> None:
        """Wait for the start. Raises why it failed."""
        await self.life.wait_ready()
        self.used_at = trio.current_time()

    def request(self, method: str, params: bytes, on_reply: OnReply) -> int:
        """Pass a request on to the agent; call it once ready. Raises AgentGone."""
        assert self.life.line is not None, "it is ready"
        return self.life.line.request(method, params, on_reply)

    def notify(self, method: str, params: bytes) -> None:
        assert self.life.line is not None, "it is ready"
        self.life.line.send(jsonrpc.notification(method, params))

    def forget(self, number: int) -> None:
        """Nobody waits for the answer to this request any more."""
        if self.life.line is not None:
            self.life.line.calls.forget(number)

    def end_if_unused(self, ttl: float) -> None:
        calls = self.life.line is not None and len(self.life.line.calls)
        if self.life.started.is_set() and not calls and trio.current_time() - self.used_at >= ttl:
            self.life.request_end()

    # As a host

    async def begin(self, line: Line) -> None:
        await trio.lowlevel.checkpoint()

    async def work(self, line: Line) -> None:
        await trio.sleep_forever()

    def on_end(self, life: Life) -> None:
        pass  # whoever waits, waits on the life

    def note_phase(self) -> None:
        pass

    def hear(self, message: Message) -> None:
        if message.kind is Kind.REQUEST and self.life.line is not None:
            refuse(self.life.line, message)

    def hear_updates(self, count: int, lines: bytes, *, plain: bool = False) -> None:
        raise AssertionError("its line has no session")

    async def wait_room(self) -> None:
        pass
