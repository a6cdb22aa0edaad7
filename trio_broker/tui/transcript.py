"""What was said and done in one session, folded from pages of its log; bounded, the oldest is dropped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

Json = dict[str, Any]

MAX_ITEMS = 400
MAX_CHARACTERS = 400_000
MAX_ITEM_CHARACTERS = 50_000  # characters of one item; what a tool gave out beyond that is not shown
MAX_LOG_ENTRIES = 1000  # of the log
BACKLOG = 600  # events read when one begins to look at a session, or fell behind
CHUNK_KINDS = {
    "agent_message_chunk": "text",
    "agent_thought_chunk": "thought",
    "user_message_chunk": "prompt",
}


@attrs.frozen(eq=False)
class Item:
    """`kind`: prompt, text, thought, tool, plan, ask, answer, end, note; `data` is the update or event behind it."""

    kind: str
    text: str
    at: float
    data: Json = attrs.field(factory=dict)


@attrs.frozen(eq=False)
class LogEntry:
    """One line of the log: events `first` to `last` of one kind."""

    first: int
    last: int
    at: float
    kind: str
    text: str


@attrs.frozen(eq=False)
class Transcript:
    """`next_seq` is the number of the event to read next, None before the first page."""

    key: str
    next_seq: int | None = None
    items: tuple[Item, ...] = ()
    log: tuple[LogEntry, ...] = ()
    _restart_at: int | None = None  # where to begin instead, for what lies before a gap

    def read_from(self, last: int) -> int:
        """Where to read on when the log ends at `last`: what is too far back is left out."""
        return max(self.next_seq or 1, self._restart_at or last - BACKLOG + 1)

    def with_events(self, events: Iterable[Json], next_seq: int) -> Transcript:
        """The transcript after a page of events. `next_seq` is the number of the first event of the next page."""
        events, items, log = list(events), list(self.items), list(self.log)
        if self._restart_at is None and events and _is_partial_gap(events[0]):
            return attrs.evolve(self, restart_at=max(1, events[0]["from"] - BACKLOG))
        expected = self.next_seq
        for event in events:
            if expected is not None and event["seq"] > expected:
                items.append(Item("note", f"{event['seq'] - expected} events left out", event["at"]))
            expected = max(event["seq"], event["to"] if event["kind"] == "gap" else 0) + 1
            _apply_to_items(items, event)
            _apply_to_log(log, event)
        return Transcript(self.key, next_seq, _trim(items), tuple(log[-MAX_LOG_ENTRIES:]))


def _is_partial_gap(event: Json) -> bool:
    """A gap of which only the end was read: it has far more numbers than events, and says little about a session."""
    return event["kind"] == "gap" and int(event["from"]) < int(event["seq"]) <= int(event["to"])


def _trim(items: list[Item]) -> tuple[Item, ...]:
    kept, characters = items[-MAX_ITEMS:], 0
    for at in range(len(kept) - 1, -1, -1):
        characters += len(kept[at].text)
        if characters > MAX_CHARACTERS:
            return tuple(kept[at + 1 :] or kept[-1:])
    return tuple(kept)


def _apply_to_items(items: list[Item], event: Json) -> None:
    if event["kind"] != "update":
        if (item := _event_item(event)) is not None:
            items.append(item)
        return
    update = _update(event)
    kind = str(update.get("sessionUpdate"))
    if kind in CHUNK_KINDS:
        _append_chunk(items, CHUNK_KINDS[kind], update, event["at"])
    elif kind in ("tool_call", "tool_call_update"):
        _merge_tool_call(items, update, event["at"])
    elif kind == "plan":
        items[:] = [item for item in items if item.kind != "plan"]
        items.append(Item("plan", "", event["at"], update))


def _update(event: Json) -> Json:
    """What the agent sent, which is not always what the protocol asks for."""
    update = event.get("update")
    return update if isinstance(update, dict) else {}


def _append_chunk(items: list[Item], kind: str, update: Json, at: float) -> None:
    text, last = content_text(update.get("content")), items[-1] if items else None
    same = last is not None and last.kind == kind and last.data.get("messageId") == update.get("messageId")
    if last is not None and same and len(last.text) < MAX_ITEM_CHARACTERS:
        items[-1] = Item(kind, last.text + text, last.at, last.data)
    else:
        items.append(Item(kind, text, at, {"messageId": update.get("messageId")}))


def _merge_tool_call(items: list[Item], update: Json, at: float) -> None:
    id = update.get("toolCallId")
    given = {name: value for name, value in update.items() if value is not None}
    for place in range(len(items) - 1, -1, -1):
        there = items[place]
        if there.kind == "tool" and there.data.get("toolCallId") == id:
            data = there.data | given
            items[place] = Item("tool", str(data.get("title") or id), there.at, data)
            return
    items.append(Item("tool", str(given.get("title") or id), at, given))


def _event_item(event: Json) -> Item | None:
    kind, at = str(event["kind"]), event["at"]
    if kind == "started":
        return Item("prompt", prompt_text(event.get("prompt")), at, {"author": event.get("author")})
    if kind in ("queued", "session") and event.get("event") not in ("closed", "suspended", "ended"):
        return None
    names: dict[str, str] = {"ended": "end", "agent": "note", "session": "note", "gap": "note"}
    return Item(names.get(kind, kind), _event_text(event), at, event)


def _event_text(event: Json) -> str:
    kind = event["kind"]
    if kind == "ended":
        why = event.get("note") or event.get("error") or event.get("stopReason")
        return f"{event.get('outcome')}: {why}" if why else str(event.get("outcome"))
    if kind == "ask":
        return str(event.get("title"))
    if kind == "answer":
        return f"{event.get('option') or event.get('outcome')} ({event.get('by')})"
    if kind == "agent":
        return _agent_event_text(event)
    if kind == "session":
        return f"session {event.get('event')}" + (f": {event['error']}" if event.get("error") else "")
    if kind == "gap":
        return f"events {event.get('from')} to {event.get('to')} are lost: {event.get('why')}"
    return str(event.get("text") or event.get("event") or "")


def _agent_event_text(event: Json) -> str:
    if event.get("event") == "exited":
        how = event.get("signal") or f"exit code {event.get('exitCode')}"
        return f"the agent ended: {how}"
    if event.get("event") == "resumed":
        return f"resumed: {event.get('how')}" + (f", {event['note']}" if event.get("note") else "")
    return f"the agent {event.get('event')}, pid {event.get('pid')}"


def _apply_to_log(log: list[LogEntry], event: Json) -> None:
    seq, at, update = event["seq"], event["at"], _update(event)
    if event["kind"] != "update":
        text = _event_text(event)
        if event["kind"] in ("queued", "started"):
            how = f"{event['event']} by {event.get('by')}: " if event.get("event") else ""
            text = how + prompt_text(event.get("prompt"))
        log.append(LogEntry(seq, seq, at, event["kind"], text[:300]))
        return
    kind, last = str(update.get("sessionUpdate")), log[-1] if log else None
    text = (
        content_text(update.get("content"))
        if kind in CHUNK_KINDS
        else str(update.get("title") or update.get("status") or "")
    )
    if last is not None and last.kind == kind and last.last == seq - 1 and kind in CHUNK_KINDS:
        log[-1] = LogEntry(last.first, seq, last.at, kind, (last.text + text)[:300])
    else:
        log.append(LogEntry(seq, seq, at, kind, text[:300]))


def prompt_text(blocks: Any) -> str:
    return "\n".join(content_text(block) for block in blocks) if isinstance(blocks, list) else ""


def content_text(content: Any) -> str:
    """A content block in words: text as it is, anything else by its kind and name."""
    if not isinstance(content, dict):
        return ""
    if isinstance(content.get("text"), str):
        return str(content["text"])[:MAX_ITEM_CHARACTERS]
    resource = content.get("resource")
    named = resource if isinstance(resource, dict) else content
    return f"<{content.get('type', 'content')} {named.get('uri') or named.get('mimeType') or ''}>"
