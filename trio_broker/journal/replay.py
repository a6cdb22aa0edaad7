"""A session's log as ACP `session/load` replays it: what was said, not every word in which it was said (DESIGN D7).

Adjacent chunks of one message become one, a tool call stands once in its last state, and of plans and other states only
the last is told. What is not understood passes as it came. Memory grows with the result, not with the log.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from trio_broker.errors import BadMessage
from trio_broker.journal.record import Record
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.notices import NOTICE

CHUNKS = ("agent_message_chunk", "agent_thought_chunk", "user_message_chunk")
STATES = (
    "current_mode_update",
    "config_option_update",
    "available_commands_update",
    "session_info_update",
    "usage_update",
)
Update = dict[str, Any]


@attrs.define(eq=False)
class ReplayItem:
    """One thing of the conversation: its update, or the raw line of one that is told as it came."""

    number: int
    at: float
    update: Update
    raw: bytes | None = None
    texts: list[str] = attrs.field(factory=list)

    def merged_update(self) -> Update:
        """The update, with all of its text."""
        if len(self.texts) < 2:
            return self.update
        return self.update | {"content": self.update["content"] | {"text": "".join(self.texts)}}


@attrs.define(eq=False)
class Replay:
    """Feed it the records in order; then `frames` has the replay, and `items` what it consists of."""

    session_id: str
    items: list[ReplayItem] = attrs.field(factory=list)
    _states: dict[str, ReplayItem] = attrs.field(factory=dict)
    _tools: dict[str, ReplayItem] = attrs.field(factory=dict)
    _plan: ReplayItem | None = None
    _prompt: list[str] = attrs.field(factory=list)  # texts of the turn's prompt that its agent may echo

    def feed(self, record: Record) -> None:
        if record.kind == "started":
            self._start(record)
        elif record.kind == "update":
            for number, line in enumerate(record.data.rstrip(b"\n").split(b"\n"), record.first):
                self._line(number, record.at, line)

    def frames(self) -> Iterator[bytes]:
        """Whole `session/update` lines, each with its newline.

        Without notices: they are live events, and not the session's history (ACP, session notices).
        """
        for item in (*self.items, *self._states.values()):
            if item.update.get("sessionUpdate") == NOTICE:
                continue
            if item.raw is not None:
                yield item.raw + b"\n"
            else:
                params = jsonrpc.encode({"sessionId": self.session_id, "update": item.merged_update()})
                yield jsonrpc.notification("session/update", params)

    def _start(self, record: Record) -> None:
        event = jsonrpc.decode(record.data)
        blocks = [block for block in event.get("prompt") or () if isinstance(block, dict)]
        id = f"prompt-{event.get('promptId')}"
        self._prompt = [block["text"] for block in blocks if isinstance(block.get("text"), str)]
        for block in blocks:
            update = {"sessionUpdate": "user_message_chunk", "content": block, "messageId": id}
            self.items.append(ReplayItem(record.first, record.at, update))

    def _line(self, number: int, at: float, line: bytes) -> None:
        try:
            params = jsonrpc.decode(jsonrpc.parse_envelope(line).params)
        except BadMessage:
            params = None
        self.feed_update(number, at, params, line)

    def feed_update(self, number: int, at: float, params: object, line: bytes | None = None) -> None:
        """One update by the parameters of its `session/update`; `line`: the whole message, for `frames`."""
        update = params.get("update") if isinstance(params, dict) else None
        item = ReplayItem(number, at, update if isinstance(update, dict) else {}, line)
        if not self._merged(item, item.update.get("sessionUpdate")):
            self.items.append(item)

    def _merged(self, item: ReplayItem, kind: object) -> bool:
        """Whether the item needs no place of its own."""
        if kind in CHUNKS:
            return self._chunk(item)
        if kind in ("tool_call", "tool_call_update"):
            return self._tool(item)
        if kind == "plan":
            if self._plan is not None:
                self.items.remove(self._plan)
            self._plan = item
        elif kind in STATES:
            self._states.pop(str(kind), None)
            self._states[str(kind)] = item
            return True
        return False

    def _chunk(self, item: ReplayItem) -> bool:
        text = _text(item.update)
        if item.update["sessionUpdate"] == "user_message_chunk" and text in self._prompt:
            self._prompt.remove(text or "")
            return True
        if text is None:
            return False
        item.texts.append(text)
        before = self.items[-1] if self.items else None
        if before is None or not before.texts or not _same_message(before.update, item.update):
            return False
        before.raw = None
        before.texts.append(text)
        return True

    def _tool(self, item: ReplayItem) -> bool:
        id = item.update.get("toolCallId")
        if not isinstance(id, str):
            return False
        if (first := self._tools.get(id)) is None:
            if item.update["sessionUpdate"] == "tool_call" or isinstance(item.update.get("title"), str):
                self._tools[id] = item
            if item.update["sessionUpdate"] != "tool_call" and id in self._tools:
                item.update, item.raw = item.update | {"sessionUpdate": "tool_call"}, None
            return False
        given = {name: value for name, value in item.update.items() if value is not None}
        first.update, first.raw = first.update | given | {"sessionUpdate": "tool_call"}, None
        return True


def _text(update: Update) -> str | None:
    """The text of a chunk that may be merged: one of text, and of nothing else."""
    content = update.get("content")
    if not isinstance(content, dict) or content.get("type") != "text" or set(content) != {"type", "text"}:
        return None
    text = content["text"]
    return text if isinstance(text, str) else None


def _same_message(one: Update, other: Update) -> bool:
    """Whether two chunks differ in their text only."""
    names = {*one, *other} - {"content"}
    return all(one.get(name) == other.get(name) for name in names)
