"""What goes between one agent and the clients that hear its session, in the order in which it came.

Frames pass untouched: only the session id is translated, at the known places, and only while the public one differs
from the agent's (D3), which it does when two agents named their sessions alike.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import attrs

from trio_broker.asks import Asked, Asks
from trio_broker.wire import jsonrpc
from trio_broker.wire.jsonrpc import Kind, Message

EARLY_KEPT = 256  # frames before the first client came: commands, modes and titles, hardly ever a turn


class Listener(Asked, Protocol):
    """A client that hears a session. None of these waits."""

    def send(self, frame: bytes) -> None: ...
    def event(self, kind: str, **fields: Any) -> None: ...


@attrs.define(eq=False)
class Relay:
    """The clients of one session. `author` names the one whose prompt runs; it is the first to be asked."""

    author: Callable[[], object]
    reject: Callable[[bytes], None]
    refuse: Callable[[Message], None]
    session_id: str | None = None
    agent_session_id: str | None = None
    asks: Asks | None = None
    title: str | None = None
    foreign: int = 0
    listeners: list[Listener] = attrs.field(factory=list)
    _before: deque[Message] = attrs.field(factory=lambda: deque(maxlen=EARLY_KEPT))
    _unheard: deque[bytes] = attrs.field(factory=lambda: deque(maxlen=EARLY_KEPT))

    def name(self, agent_session_id: str, session_id: str, asks: Asks) -> None:
        """The session has its ids now: what the agent said before it named them is heard (ACP §1.13, rule 4)."""
        self.agent_session_id, self.session_id, self.asks = agent_session_id, session_id, asks
        before, self._before = self._before, deque(maxlen=EARLY_KEPT)
        for message in before:
            self.hear(message)

    def attach(self, listener: Listener) -> None:
        """From now on `listener` hears everything; the first one also what nobody has heard. Twice is once."""
        if listener in self.listeners:
            return
        self.listeners.append(listener)
        while self._unheard:
            listener.send(self._unheard.popleft())
        if self.asks is not None:
            self.asks.offer()

    def detach(self, listener: Listener) -> None:
        """`listener` hears no more. The turn goes on; what it was asked goes to another or waits."""
        if listener in self.listeners:
            self.listeners.remove(listener)
            if self.asks is not None:
                self.asks.lost(listener)

    def primary(self) -> Listener | None:
        """Whom to ask: whose prompt runs, if it still listens, else who came last."""
        author = self.author()
        running = next((listener for listener in self.listeners if listener is author), None)
        return running or (self.listeners[-1] if self.listeners else None)

    def tell(self, kind: str, **fields: Any) -> None:
        """An event of the broker's own, to all who listen."""
        for listener in tuple(self.listeners):
            listener.event(kind, sessionId=self.session_id, **fields)

    def hear(self, message: Message) -> None:
        """A request or a notification of the agent."""
        if self.asks is None and message.kind is Kind.REQUEST:
            self.refuse(message)  # at once: the agent may wait for it before it answers `session/new`
        elif self.asks is None:
            self._before.append(message)
        elif message.session_id not in (None, self.agent_session_id):
            self._foreign(message)
        elif message.kind is Kind.REQUEST:
            self.asks.take(message)
        elif message.method == "$/cancel_request":
            self.asks.agent_withdrew(message.params)
        else:
            self._pass_on(message)

    def outward(self, message: Message) -> bytes:
        """The parameters of a message of the agent as clients may see them."""
        if self.session_id == self.agent_session_id or message.session_id is None:
            return message.params
        return jsonrpc.with_fields(message.params, sessionId=self.session_id)

    def inward(self, params: bytes) -> bytes:
        """The parameters of a client's message as the agent knows them."""
        if self.session_id == self.agent_session_id:
            return params
        return jsonrpc.with_fields(params, sessionId=self.agent_session_id)

    def _pass_on(self, message: Message) -> None:
        if b'"session_info_update"' in message.raw:
            self._note_title(message)
        params = self.outward(message)
        same = params is message.params
        frame = message.raw + b"\n" if same else jsonrpc.notification(message.method or "", params)
        for listener in tuple(self.listeners):
            listener.send(frame)
        if not self.listeners and self.author() is None:
            self._unheard.append(frame)

    def _foreign(self, message: Message) -> None:
        """Another session's message on this line: counted, kept, never mixed in; a request is refused (RACES C16)."""
        self.foreign += 1
        self.reject(message.raw)
        if message.kind is Kind.REQUEST and self.asks is not None:
            self.asks.refuse(message, -32602, f"this line's session is {self.agent_session_id}")

    def _note_title(self, message: Message) -> None:
        value = jsonrpc.decode(message.params)
        update = value.get("update") if isinstance(value, dict) else None
        if (
            isinstance(update, dict)
            and update.get("sessionUpdate") == "session_info_update"
            and "title" in update
        ):
            self.title = update["title"] if isinstance(update["title"], str) else None
