"""Listens to what an agent says until it matches: here and not in the broker, where a pattern could stop everybody."""

from __future__ import annotations

import re
from typing import Any

import attrs
import trio

from trio_broker.cli.events import EVENT, content_text, session_update
from trio_broker.errors import BrokerGone, SessionOver
from trio_broker.wire import jsonrpc
from trio_broker.wire.jsonrpc import Message

WINDOW = 64 * 1024  # characters in which a match is looked for


@attrs.define(eq=False)
class Listening:
    """`settled` when it was said, or will not be. Each turn begins on a line of its own."""

    pattern: re.Pattern[str]
    settled: trio.Event = attrs.field(factory=trio.Event)
    found: str | None = None
    over: bool = False
    _seq: int = 0
    _text: str = ""

    def hear(self, message: Message) -> None:
        if self.settled.is_set():
            return
        if message.method is None:  # the answer to `attach`, before all that it brings
            self._seq = jsonrpc.decode(message.result or b"{}").get("next", 1) - 1
        elif message.method == EVENT:
            self._event(jsonrpc.decode(message.params))
        elif message.method == "session/update":
            self._seq += 1
            update = session_update(message)
            if update.get("sessionUpdate") == "agent_message_chunk":
                self._say(content_text(update.get("content")))

    def _event(self, event: dict[str, Any]) -> None:
        self._seq = event.get("seq", self._seq)
        if event["kind"] == "gap":
            self._seq = max(self._seq, event["to"])
        if event["kind"] == "started" and self._text:
            self._text += "\n"
        if event["kind"] == "session" and event.get("event") == "closed":
            self.over = True
            self.settled.set()

    def _say(self, text: str) -> None:
        self._text = (self._text + text)[-WINDOW:]
        if (match := self.pattern.search(self._text)) is not None:
            self.found = match[0]
            self.settled.set()

    def result(self, key: str) -> dict[str, Any]:
        """What was found, and the number of the event that made it whole. Raises SessionOver, BrokerGone."""
        if self.found is not None:
            return {"action": "matched", "key": key, "match": self.found, "seq": self._seq}
        if self.over:
            raise SessionOver(f"session {key!r} was closed before it said that")
        raise BrokerGone(
            "the broker closed the connection before the agent said that; see `trio-broker status`"
        )
