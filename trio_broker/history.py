"""A session's log for people: what was asked, said, done, answered, and how it ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from trio_broker.record import Record
from trio_broker.replay import Item, Replay
from trio_broker.wire import jsonrpc

KINDS = {
    "agent_message_chunk": "text",
    "agent_thought_chunk": "thought",
    "user_message_chunk": "prompt",
    "tool_call": "tool",
    "tool_call_update": "tool",
    "plan": "plan",
}


def history(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    """One JSON object a thing, in order: `n` (number of its first event), `at`, `kind`, `text`, and its details.

    Kinds: prompt, text, thought, tool, plan, update, ask, answer, end, agent, session, note, gap. The end of a prompt
    that was never sent, and so stands nowhere else, has its text as `prompt`.
    """
    replay = Replay("")
    events: list[dict[str, Any]] = []
    waiting: dict[object, str] = {}  # what they say that were queued and not sent, by prompt id
    for record in records:
        replay.feed(record)
        if record.kind in ("queued", "started"):
            _heed_queue(record, waiting)
        elif record.kind != "update":
            event = _event(record)
            unsent = waiting.pop(event.get("promptId"), None) if record.kind == "ended" else None
            events.append(event if unsent is None else event | {"prompt": unsent})
    items = [_item(item) for item in replay.items]
    yield from sorted([*events, *items], key=lambda entry: entry["n"])


def _heed_queue(record: Record, waiting: dict[object, str]) -> None:
    event = jsonrpc.decode(record.data)
    if record.kind == "started":
        waiting.pop(event.get("promptId"), None)
    elif "prompt" in event:  # one that was moved says nothing new
        waiting[event.get("promptId")] = " ".join(map(_words, event["prompt"] or ()))


def _item(item: Item) -> dict[str, Any]:
    update = item.whole()
    kind = KINDS.get(str(update.get("sessionUpdate")), "update")
    entry = {"n": item.number, "at": item.at, "kind": kind}
    if kind == "tool":
        return entry | {
            "text": update.get("title") or update.get("toolCallId"),
            "status": update.get("status"),
        }
    if kind == "plan":
        return entry | {"text": "", "entries": update.get("entries")}
    if kind == "update":
        return entry | {"text": "", "update": update}
    return entry | {"text": _words(update.get("content"))}


def _words(content: Any) -> str:
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
