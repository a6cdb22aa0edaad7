"""A session's log for people: what was asked, said, done, answered, and how it ended."""

from __future__ import annotations

from typing import Any

import attrs

from trio_broker.journal.record import Record
from trio_broker.journal.replay import Replay, ReplayItem
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.notices import COMPACTION, NOTICE, notice_text

KINDS = {
    "agent_message_chunk": "text",
    "agent_thought_chunk": "thought",
    "user_message_chunk": "prompt",
    "tool_call": "tool",
    "tool_call_update": "tool",
    "plan": "plan",
    NOTICE: "notice",
    COMPACTION: "compaction",
}


@attrs.define(eq=False)
class Transcript:
    """Feed it the records in order; then `items` has the things of the conversation.

    Each is one JSON object: `n` (number of its first event), `at`, `kind`, `text`, and its details. Kinds: prompt,
    text, thought, tool, plan, notice (with its `severity`), compaction, update, child, ask, answer, end, agent,
    session, note, gap. The end of a prompt that was never sent, and so stands nowhere else, has its text as `prompt`.
    An item of a child session has its `childSessionId`, and its kind as `what`: what a child says is not the session's
    answer.
    """

    _replay: Replay = attrs.field(factory=lambda: Replay(""))
    _children: dict[str, Replay] = attrs.field(factory=dict)
    _events: list[dict[str, Any]] = attrs.field(factory=list)
    _waiting: dict[object, str] = attrs.field(factory=dict)  # by prompt id: what those say that are not sent

    def feed(self, record: Record) -> None:
        self._replay.feed(record)
        if record.kind in ("queued", "started"):
            self._apply_queue_event(record)
        elif record.kind == "child":
            event = jsonrpc.decode(record.data)
            replay = self._children.setdefault(str(event.get("childSessionId")), Replay(""))
            replay.feed_update(record.first, record.at, event.get("params"))
        elif record.kind != "update":
            event = _event(record)
            unsent = self._waiting.pop(event.get("promptId"), None) if record.kind == "ended" else None
            self._events.append(event if unsent is None else event | {"prompt": unsent})

    def _apply_queue_event(self, record: Record) -> None:
        event = jsonrpc.decode(record.data)
        if record.kind == "started":
            self._waiting.pop(event.get("promptId"), None)
        elif "prompt" in event:  # one that was moved says nothing new
            self._waiting[event.get("promptId")] = " ".join(map(_content_text, event["prompt"] or ()))

    def items(self) -> list[dict[str, Any]]:
        """In the order of the log."""
        items = [*self._events, *map(_item, self._replay.items)]
        items += [_child_item(id, item) for id, replay in self._children.items() for item in replay.items]
        return sorted(items, key=lambda entry: entry["n"])


def _item(item: ReplayItem) -> dict[str, Any]:
    update = item.merged_update()
    kind = KINDS.get(str(update.get("sessionUpdate")), "update")
    entry = {"n": item.number, "at": item.at, "kind": kind}
    if kind == "tool":
        return entry | {
            "text": update.get("title") or update.get("toolCallId"),
            "status": update.get("status"),
        }
    if kind == "plan":
        return entry | {"text": "", "entries": update.get("entries")}
    if kind == "notice":
        return entry | {"text": notice_text(update), "severity": update.get("severity")}
    if kind == "compaction":
        return entry | {"text": notice_text(update), "status": update.get("status")}
    if kind == "update":
        return entry | {"text": "", "update": update}
    return entry | {"text": _content_text(update.get("content"))}


def _child_item(id: str, item: ReplayItem) -> dict[str, Any]:
    entry = _item(item)
    return entry | {"kind": "child", "what": entry["kind"], "childSessionId": id}


def _content_text(content: Any) -> str:
    if not isinstance(content, dict):
        return ""
    text = content.get("text")
    return text if isinstance(text, str) else f"<{content.get('type', 'content')}>"


def _event(record: Record) -> dict[str, Any]:
    event = jsonrpc.decode(record.data)
    entry = {"n": record.first, "at": record.at, "kind": "end" if record.kind == "ended" else record.kind}
    words = {
        "ask": event.get("title"),
        "answer": (event.get("outcome") != "expired" and event.get("option")) or event.get("outcome"),
        "ended": event.get("note") or event.get("error") or event.get("stopReason"),
        "agent": event.get("note") or event.get("how") or event.get("event"),
        "session": event.get("error") or event.get("event"),
        "note": event.get("text"),
        "gap": f"events {event.get('from')} to {event.get('to')} are lost: {event.get('why')}",
    }
    details = {name: value for name, value in event.items() if name not in ("text", "params", "prompt")}
    return entry | {"text": str(words.get(record.kind) or "")} | details
