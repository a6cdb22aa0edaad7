"""What was said and done in one session: built from pages of its log, and rendered as lines.

`Transcript` is a bounded value: the oldest items are dropped. `render_item` renders messages, thoughts, tool calls with
their diffs, and plans. It caches its results: when a message grows, only its last paragraph is rendered again.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import attrs
from rich.segment import Segment
from rich.style import Style

from trio_broker.protocol.notices import COMPACTION, NOTICE, notice_label, notice_text
from trio_broker.tui.text import (
    PLAN_STYLES,
    TOOL_STYLES,
    Line,
    Theme,
    clip,
    render_markdown,
    split_blocks,
    styled,
    visible,
    visible_lines,
    wrap,
)

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
    update = _session_update(event)
    kind = str(update.get("sessionUpdate"))
    if kind in CHUNK_KINDS:
        _append_chunk(items, CHUNK_KINDS[kind], update, event["at"])
    elif kind in ("tool_call", "tool_call_update"):
        _merge_tool_call(items, update, event["at"])
    elif kind == "plan":
        items[:] = [item for item in items if item.kind != "plan"]
        items.append(Item("plan", "", event["at"], update))
    elif kind in (NOTICE, COMPACTION):
        items.append(Item("note", f"[{notice_label(update)}] {notice_text(update)}", event["at"]))


def _session_update(event: Json) -> Json:
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
    if kind == "child" and _child_update(event).get("sessionUpdate") != "tool_call":
        return None  # what a child says is not the session's answer
    if kind == "started":
        return Item("prompt", prompt_text(event.get("prompt")), at, {"author": event.get("author")})
    if kind in ("queued", "session") and event.get("event") not in ("closed", "suspended", "ended"):
        return None
    names = {"ended": "end", **dict.fromkeys(("agent", "session", "gap", "child"), "note")}
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
    if kind == "child":
        update = _child_update(event)
        what = update.get("title") or update.get("toolCallId") or update.get("sessionUpdate")
        return f"{event.get('childSessionId')}: {what}"
    return str(event.get("text") or event.get("event") or "")


def _child_update(event: Json) -> Json:
    params = event.get("params")
    update = params.get("update") if isinstance(params, dict) else None
    return update if isinstance(update, dict) else {}


def _agent_event_text(event: Json) -> str:
    if event.get("event") == "exited":
        how = event.get("signal") or f"exit code {event.get('exitCode')}"
        return f"the agent ended: {how}"
    if event.get("event") == "resumed":
        return f"resumed: {event.get('how')}" + (f", {event['note']}" if event.get("note") else "")
    return f"the agent {event.get('event')}, pid {event.get('pid')}"


def _apply_to_log(log: list[LogEntry], event: Json) -> None:
    seq, at, update = event["seq"], event["at"], _session_update(event)
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


MAX_OUTPUT_LINES = 12  # lines of a tool's output or diff
MAX_DIFF_CHARACTERS = 100_000  # characters that are compared


@lru_cache(maxsize=600)
def render_item(item: Item, width: int) -> tuple[Line, ...]:
    """The lines of one thing, at most `width` cells each, an empty one before where a new thought begins."""
    return tuple(_RENDERERS.get(item.kind, _render_note)(item, max(10, width)))


def _render_text(item: Item, width: int) -> Iterator[Line]:
    for block in split_blocks(visible_lines(item.text)):
        yield []
        yield from render_markdown(block, width)


def _render_prompt(item: Item, width: int) -> Iterator[Line]:
    yield []
    for number, line in enumerate(wrap(visible_lines(item.text), width - 2)):
        yield styled(("> " if number == 0 else "  ", Theme.TITLE), (line, Theme.BOLD))


def _render_thought(item: Item, width: int) -> Iterator[Line]:
    yield []
    thought = Style(dim=True, italic=True)
    for line in wrap(visible_lines(item.text).strip("\n"), width - 2):
        yield styled(("┊ ", Theme.DIM), (line, thought))


def _render_tool_call(item: Item, width: int) -> Iterator[Line]:
    data = item.data
    status = str(data.get("status") or "pending")
    glyph, style = TOOL_STYLES.get(status, ("◇", Theme.DIM))
    kind = visible(data.get("kind") or "")
    state = "" if status == "completed" else f"  {visible(status).replace('_', ' ')}"
    yield []
    title = clip(visible(item.text), max(8, width - len(kind) - len(state) - 6))
    yield styled((f"{glyph} ", style), (title, Theme.PLAIN), (state, style), (f"  {kind}", Theme.DIM))
    content = data.get("content")
    lines = (
        [line for part in content if isinstance(part, dict) for line in _render_content(part, width - 4)]
        if isinstance(content, list)
        else []
    )
    yield from ([Segment("  │ ", Theme.DIM), *line] for line in lines[:MAX_OUTPUT_LINES])
    if len(lines) > MAX_OUTPUT_LINES:
        yield styled((f"  │ … {len(lines) - MAX_OUTPUT_LINES} more lines", Theme.DIM))


def _render_content(part: Json, width: int) -> Iterator[Line]:
    if part.get("type") == "diff":
        yield styled((clip(visible(part.get("path")), width), Theme.DIM))
        yield from _render_diff(str(part.get("oldText") or ""), str(part.get("newText") or ""), width)
    elif part.get("type") == "terminal":
        yield styled((f"terminal {visible(part.get('terminalId'))}", Theme.DIM))
    else:
        text = visible_lines(content_text(part.get("content"))[:MAX_DIFF_CHARACTERS]).rstrip("\n")
        yield from (styled((clip(line, width), Theme.DIM)) for line in text.split("\n"))


def _render_diff(old: str, new: str, width: int) -> Iterator[Line]:
    before, after = old[:MAX_DIFF_CHARACTERS].splitlines(), new[:MAX_DIFF_CHARACTERS].splitlines()
    if len(before) + len(after) > 2000:
        yield styled((f"{len(before)} lines become {len(after)}", Theme.DIM))
        return
    for line in list(difflib.unified_diff(before, after, lineterm="", n=2))[2:]:
        style = {"+": Theme.ADDED, "-": Theme.REMOVED, "@": Theme.ACCENT}.get(line[:1], Theme.DIM)
        yield styled((clip(visible(line), width), style))


def _render_plan(item: Item, width: int) -> Iterator[Line]:
    entries = item.data.get("entries")
    yield []
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            glyph, style = PLAN_STYLES.get(str(entry.get("status")), ("·", Theme.DIM))
            shown = Theme.DIM if glyph != "▸" else Theme.PLAIN
            yield styled((f"{glyph} ", style), (clip(visible(entry.get("content")), width - 2), shown))


def _render_request(item: Item, width: int) -> Iterator[Line]:
    yield styled(("▲ ", Theme.ATTENTION), (clip(visible(item.text), width - 2), Theme.WARNING))


def _render_answer(item: Item, width: int) -> Iterator[Line]:
    yield styled(("↳ ", Theme.DIM), clip(visible(item.text), width - 2))


def _render_end(item: Item, width: int) -> Iterator[Line]:
    failed = item.text.startswith(("failed", "unknown"))
    yield []
    for line in wrap(visible(item.text), width - 4):
        yield styled(("── ", Theme.DIM), (line, Theme.ERROR if failed else Theme.DIM))


def _render_note(item: Item, width: int) -> Iterator[Line]:
    for line in wrap(visible(item.text), width - 2):
        yield styled(("· ", Theme.DIM), (line, Theme.DIM))


_RENDERERS = {
    "text": _render_text,
    "prompt": _render_prompt,
    "thought": _render_thought,
    "tool": _render_tool_call,
    "plan": _render_plan,
    "ask": _render_request,
    "answer": _render_answer,
    "end": _render_end,
}
