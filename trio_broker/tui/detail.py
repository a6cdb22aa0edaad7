"""The pane about one session: what was said, its queue, its log, its stderr, and the facts of its process."""

from __future__ import annotations

import time
from typing import Any

import attrs
from rich.segment import Segment

from trio_broker.tui import look
from trio_broker.tui.paper import item_lines
from trio_broker.tui.state import State, Tab
from trio_broker.tui.table import short_path
from trio_broker.tui.text import Line, ago, clip, pad, short, visible, visible_lines, width_of, words, wrap
from trio_broker.tui.transcript import Entry, Transcript

Json = dict[str, Any]
ALL = 10**6  # lines


@attrs.frozen
class Extent:
    """How many lines there are, and how far from the end (of what grows there) or the beginning we are."""

    lines: int
    scroll: int


def detail(state: State, now: float, width: int, height: int) -> tuple[list[Line], Extent]:
    """The tabs, and under them the lines of the chosen one; of what grows, the newest at the bottom.

    Who has scrolled back goes on seeing the same lines, however much comes below them.
    """
    view = state.view
    if view is None:
        return [], Extent(0, 0)
    body = max(0, height - 1)
    lines = _BODIES[state.tab](state, view, now, width - 2, ALL if state.scroll else body)
    extent = _placed(state, len(lines), body)
    top = max(0, len(lines) - extent.scroll - body) if state.tab in FROM_END else extent.scroll
    pane = [_tabs(state, view, width, extent.scroll)]
    return pane + [[Segment("  "), *line] for line in lines[top : top + body]], extent


def _placed(state: State, lines: int, body: int) -> Extent:
    most = max(0, lines - body)
    if state.tab is Tab.QUEUE:
        return Extent(lines, min(most, max(0, state.queue_at - body + 1)))
    grown = max(0, lines - state.extent) if state.tab in FROM_END and state.scroll and state.extent else 0
    return Extent(lines, max(0, min(state.scroll + grown, most)))


def _tabs(state: State, view: Json, width: int, scroll: int) -> Line:
    line: Line = [
        Segment("─ ", look.DIM),
        Segment(clip(visible(view["key"]), 30), look.TITLE),
        Segment(" ── ", look.DIM),
    ]
    for tab in Tab:
        queued = f" {view['queue']}" if tab is Tab.QUEUE and view["queue"] else ""
        style = look.CHOSEN if tab is state.tab else look.DIM
        line += [Segment(f" {tab.value}{queued} ", style)]
    back = f" ↑ {scroll}{' lines, End follows' if width >= 100 else ''} "
    back = back if scroll and state.tab in FROM_END else ""
    role = _ROLE_WORDS.get(state.roles.get(view["key"], ""), "")
    title = visible(view["title"] or "")
    used = sum(width_of(segment.text) for segment in line) + len(back) + len(role)
    shown = f" {clip(title, width - used - 6)} " if title and width - used > 20 else ""
    rule = "─" * max(0, width - used - width_of(shown) - 1)
    return [
        *line,
        Segment(rule, look.DIM),
        Segment(shown),
        Segment(role, look.ACCENT),
        Segment(back, look.ACCENT),
        Segment("─", look.DIM),
    ]


def _transcript(state: State, view: Json, now: float, width: int, room: int) -> list[Line]:
    transcript = state.transcript
    if transcript is None or transcript.next is None:
        return [words(("nothing has been said yet" if not view["events"] else "reading its log …", look.DIM))]
    parts: list[tuple[Line, ...]] = []
    for item in reversed(transcript.items):
        parts.append(item_lines(item, width))
        room -= len(parts[-1])
        if room <= 0:
            break
    return [line for part in reversed(parts) for line in part]


def _queue(state: State, view: Json, now: float, width: int, room: int) -> list[Line]:
    if not view["queued"]:
        return [words(("no prompt waits", look.DIM))]
    lines = []
    for place, turn in enumerate(view["queued"]):
        chosen = place == state.queue_at
        mark = (f"{look.MARKER} ", look.TITLE) if chosen else "  "
        text = clip(visible(turn["text"]), width - 6)
        lines.append(words(mark, (f"{place + 1:>2}  ", look.DIM), (text, look.BOLD if chosen else None)))
    return lines


def _log(state: State, view: Json, now: float, width: int, room: int) -> list[Line]:
    transcript = state.transcript or Transcript(view["key"])
    return [_entry(entry, width) for entry in transcript.log[-room:]]


def _entry(entry: Entry, width: int) -> Line:
    number = str(entry.first) if entry.first == entry.last else f"{entry.first}…{entry.last}"
    clock = time.strftime("%H:%M:%S", time.localtime(entry.at))
    kind = clip(visible(entry.kind), 22)
    return words(
        (f"{number:>13}  {clock}  ", look.DIM),
        (pad(kind, 22), look.ACCENT if "_" not in entry.kind else look.PLAIN),
        f"  {clip(visible(entry.text), max(0, width - 49))}",
    )


def _stderr(state: State, view: Json, now: float, width: int, room: int) -> list[Line]:
    if state.last_words is None or state.last_words[0] != view["key"]:
        return [words(("asking for it …", look.DIM))]
    _, stderr, rejected = state.last_words
    text = visible_lines(stderr).rstrip("\n")
    lines = [words(line) for line in wrap(text, width)] if text else []
    if rejected:
        lines += [[], words(("lines of its stdout that were no messages:", look.DIM))]
        lines += [words((clip(visible(line), width), look.BAD)) for line in rejected]
    return lines or [words(("the agent has written nothing to stderr", look.DIM))]


def _facts(state: State, view: Json, now: float, width: int, room: int) -> list[Line]:
    at, use, usage = state.clock(now), view["use"] or {}, view["usage"] or {}
    since = None if view["phase_since"] is None else at - view["phase_since"]
    cost = usage.get("cost") if isinstance(usage.get("cost"), dict) else {}
    facts = {
        "phase": f"{view['phase']} for {ago(since)}",
        "error": view["error"],
        "title": view["title"],
        "agent": view["agent"],
        "directory": short_path(view["cwd"]),
        "process": f"pid {view['pid']}" + (f", {use['processes']} in all" if use else "")
        if view["pid"]
        else "none",
        "cpu": f"{use['cpu']} % of a core" if use.get("cpu") is not None else None,
        "memory": f"{short(use['memory'], base=1024)}B" if use else None,
        "tokens": f"{usage['used']} of {usage.get('size')}" if "used" in usage else None,
        "cost": f"{cost.get('amount')} {cost.get('currency') or ''}" if cost else None,
        "turns": f"{view['turns']} done, {view['queue']} queued",
        "events": view["events"],
        "resumed": view["resumed"],
        "clients": ", ".join(f"{one['name']} ({one['role']})" for one in view["attached"]) or "none",
        "not understood": f"{view['rejected_lines']} lines, {view['foreign']} of other sessions"
        if view["rejected_lines"] or view["foreign"]
        else None,
        "session id": view["sessionId"],
    }
    lines: list[Line] = []
    for name, value in facts.items():
        if value is not None:
            first, *more = wrap(visible(value), max(10, width - 18))
            lines.append(words((pad(name, 16), look.DIM), (first, look.BAD if name == "error" else None)))
            lines += [words(" " * 16 + line) for line in more]
    return lines


_BODIES = {
    Tab.TRANSCRIPT: _transcript,
    Tab.QUEUE: _queue,
    Tab.LOG: _log,
    Tab.STDERR: _stderr,
    Tab.FACTS: _facts,
}
_ROLE_WORDS = {"observer": " you observe ", "controller": " you take part "}
FROM_END = (Tab.TRANSCRIPT, Tab.LOG, Tab.STDERR)
