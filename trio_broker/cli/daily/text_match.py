"""Listens to what an agent says until it matches: here and not in the broker, where a pattern could stop everybody."""

from __future__ import annotations

import re
from typing import Any

import attrs
import trio

from trio_broker.cli.events import EVENT, content_text, session_update
from trio_broker.errors import BrokerGone, SessionOver
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import Message

MAX_TEXT = 64 * 1024  # characters in which a match is looked for


@attrs.define(eq=False)
class TextMatcher:
    """`done` is set on a match, or when none can come any more. Each turn begins on a line of its own."""

    pattern: re.Pattern[str]
    done: trio.Event = attrs.field(factory=trio.Event)
    match: str | None = None
    session_closed: bool = False
    _seq: int = 0
    _text: str = ""

    def on_message(self, message: Message) -> None:
        if self.done.is_set():
            return
        if message.method is None:  # the answer to `attach`, before all that it brings
            self._seq = jsonrpc.decode(message.result or b"{}").get("next", 1) - 1
        elif message.method == EVENT:
            self._on_event(jsonrpc.decode(message.params))
        elif message.method == "session/update":
            self._seq += 1
            update = session_update(message)
            if update.get("sessionUpdate") == "agent_message_chunk":
                self._add_text(content_text(update.get("content")))

    def _on_event(self, event: dict[str, Any]) -> None:
        self._seq = event.get("seq", self._seq)
        if event["kind"] == "gap":
            self._seq = max(self._seq, event["to"])
        if event["kind"] == "started" and self._text:
            self._text += "\n"
        if event["kind"] == "session" and event.get("event") == "closed":
            self.session_closed = True
            self.done.set()

    def _add_text(self, text: str) -> None:
        self._text = (self._text + text)[-MAX_TEXT:]
        if (match := self.pattern.search(self._text)) is not None:
            self.match = match[0]
            self.done.set()

    def result(self, key: str) -> dict[str, Any]:
        """What was found, and the number of the event that made it whole. Raises SessionOver, BrokerGone."""
        if self.match is not None:
            return {"action": "matched", "key": key, "match": self.match, "seq": self._seq}
        if self.session_closed:
            raise SessionOver(f"session {key!r} was closed before it said that")
        raise BrokerGone(
            "the broker closed the connection before the agent said that; see `trio-broker status`"
        )
