"""What goes between one agent and its session's clients: updates into the log, all else to whom it concerns.

Frames pass untouched: only the session id is translated, at the known places, and only while the public one differs
from the agent's (D3): two agents named their sessions alike, or the agent came back under a new name.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import attrs

from trio_broker.agent.connection import AgentConnection
from trio_broker.journal.log import Log
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import Kind, Message
from trio_broker.session.agent_request import Asked
from trio_broker.session.permissions import Asks

EARLY_KEPT = 256  # messages before the session is named: commands, modes and titles, hardly ever a turn
UPDATE = b'_update"'  # a search for it is a fraction of one for these
STATE = re.compile(
    rb'"(?:current_mode_update|config_option_update|session_info_update|available_commands_update|usage_update)"'
)


class Listener(Asked, Protocol):
    """A client that is attached to a session. It hears the log by itself; here it is who can be asked."""


@attrs.define(eq=False)
class Relay:
    """`author` names the client whose prompt runs, who is asked first. `on_state` hears of each state update."""

    log: Log
    author: Callable[[], object]
    refuse: Callable[[Message], None]
    on_state: Callable[[dict[str, Any]], None]
    session_id: str | None = None
    agent_session_id: str | None = None
    asks: Asks | None = None
    line: AgentConnection | None = None
    foreign: int = 0
    unheard: int | None = None  # since when the agent spoke of its own accord with nobody there
    replaying: bool = False  # the agent loads a conversation: what it says is known already (RACES B16)
    listeners: list[Listener] = attrs.field(factory=list)
    observers: set[Listener] = attrs.field(factory=set)  # those of them that are not asked
    _before: deque[Message] = attrs.field(factory=lambda: deque(maxlen=EARLY_KEPT))

    def begin(self, line: AgentConnection) -> None:
        """A new life of the agent begins; until `name`, what it says has no conversation to belong to."""
        self.line, self.asks = line, None
        self._before.clear()

    def name(self, agent_session_id: str, session_id: str, asks: Asks) -> None:
        """The session has its ids now: what the agent said before it named them is heard (ACP §1.13, rule 4)."""
        self.agent_session_id, self.session_id, self.asks = agent_session_id, session_id, asks
        before, self._before = self._before, deque(maxlen=EARLY_KEPT)
        for message in before:
            self.receive(message)
        if self.line is not None:
            self.line.set_session_id(agent_session_id)

    def attach(self, listener: Listener, *, observes: bool = False) -> None:
        """From now on `listener` can be asked, unless it `observes`. Attaching twice is once."""
        if listener not in self.listeners:
            self.listeners.append(listener)
            if observes:
                self.observers.add(listener)
            self.unheard = None
            if self.asks is not None:
                self.asks.offer()

    def detach(self, listener: Listener) -> None:
        if listener in self.listeners:
            self.listeners.remove(listener)
            self.observers.discard(listener)
            if self.asks is not None:
                self.asks.lost(listener)

    @property
    def controllers(self) -> list[Listener]:
        """Those who can be asked, in the order in which they came."""
        return [listener for listener in self.listeners if listener not in self.observers]

    def primary(self) -> Listener | None:
        """Who is asked first: the client whose prompt runs, if it is still attached, else who came last."""
        author, controllers = self.author(), self.controllers
        running = next((listener for listener in controllers if listener is author), None)
        return running or (controllers[-1] if controllers else None)

    # What the line tells

    def receive(self, message: Message) -> None:
        """A request of the agent, or a notification that is no update of this session."""
        if self.asks is None and message.kind is Kind.REQUEST:
            self.refuse(message)  # at once: the agent may wait for it before it answers `session/new`
        elif self.asks is None:
            if not self.replaying or message.method != "session/update":
                self._before.append(message)
        elif message.session_id not in (None, self.agent_session_id):
            self._foreign(message)
        elif message.kind is Kind.REQUEST:
            self.asks.take(message)
        elif message.method == "$/cancel_request":
            self.asks.agent_withdrew(message.params)
        elif message.method == "session/update":
            self._receive_update(message)
        elif message.method == "elicitation/complete":
            self.asks.completed(message)
        else:
            self._pass_on(message)

    def receive_updates(self, count: int, lines: bytes, *, plain: bool = False) -> None:
        """Whole lines, each an update of this session; `plain` is said in Hearer."""
        if self.session_id != self.agent_session_id:
            lines = b"".join(self._renamed(line) for line in lines.rstrip(b"\n").split(b"\n"))
        first = self.log.append_updates(count, lines, plain=plain).first
        if not self.listeners and self.unheard is None and self.author() is None:
            self.unheard = first
        if not plain and UPDATE in lines and STATE.search(lines):
            self._note_states(lines)

    def _receive_update(self, message: Message) -> None:
        """One that names no session can be shown to nobody: no client could tell whose it is."""
        if message.session_id is not None:
            self.receive_updates(1, message.raw + b"\n")
        elif self.line is not None:
            self.line.reject(message.raw)

    def tell(self, update: dict[str, Any] | None) -> None:
        """Tell everyone, in the log and so in order, what the agent told only one of them."""
        if update is not None:
            params = jsonrpc.encode({"sessionId": self.session_id, "update": update})
            self.log.append_updates(1, jsonrpc.notification("session/update", params))

    async def wait_for_room(self) -> None:
        """An agent is read no faster than its words can be kept; it never waits for a client."""
        if self.log.keeper.crowded(self.log.number):
            await self.log.keeper.wait_room(self.log.number)

    def outward(self, message: Message) -> bytes:
        """The parameters of a message of the agent as clients may see them."""
        if self.session_id == self.agent_session_id or message.session_id is None:
            return message.params
        return jsonrpc.replace_members(message.params, sessionId=self.session_id)

    def inward(self, params: bytes) -> bytes:
        """The parameters of a client's message as the agent knows them."""
        if self.session_id == self.agent_session_id:
            return params
        return jsonrpc.replace_members(params, sessionId=self.agent_session_id)

    def _renamed(self, line: bytes) -> bytes:
        message = jsonrpc.parse_envelope(line)
        return jsonrpc.notification(message.method or "", self.outward(message))

    def _pass_on(self, message: Message) -> None:
        """A notification that ACP has no place for in a conversation: to whoever is there, as it came."""
        params = self.outward(message)
        same = params is message.params
        frame = message.raw + b"\n" if same else jsonrpc.notification(message.method or "", params)
        for listener in tuple(self.listeners):
            listener.tell(self.log, frame)

    def _foreign(self, message: Message) -> None:
        """Another session's message on this line: counted, kept, never mixed in; a request is refused (RACES C16)."""
        self.foreign += 1
        if self.line is not None:
            self.line.reject(message.raw)
        if message.kind is Kind.REQUEST and self.asks is not None:
            self.asks.refuse(message, -32602, f"this line's session is {self.agent_session_id}")

    def _note_states(self, lines: bytes) -> None:
        for line in lines.rstrip(b"\n").split(b"\n"):
            if STATE.search(line):
                value = jsonrpc.decode(jsonrpc.parse_envelope(line).params)
                update = value.get("update") if isinstance(value, dict) else None
                if isinstance(update, dict):
                    self.on_state(update)
