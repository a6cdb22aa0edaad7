"""The pane about one session: what was said, its queue, its log, its stderr, and the facts of its process."""

from __future__ import annotations

import time
from typing import Any

import attrs
from rich.segment import Segment

from trio_broker.tui.state import State, Tab
from trio_broker.tui.text import (
    MARKER,
    Line,
    Theme,
    clip,
    format_duration,
    format_number,
    pad,
    short_path,
    styled,
    visible,
    visible_lines,
    width_of,
    wrap,
)
from trio_broker.tui.transcript import LogEntry, Transcript, render_item

Json = dict[str, Any]
ALL_LINES = 10**6  # lines


@attrs.frozen
class Extent:
    """How many lines there are, and how far from the end (of what grows there) or the beginning we are."""

    lines: int
    scroll: int


def render_detail(state: State, now: float, width: int, height: int) -> tuple[list[Line], Extent]:
    """The tabs, and under them the lines of the chosen one; of what grows, the newest at the bottom.

    Who has scrolled back goes on seeing the same lines, however much comes below them.
    """
    session = state.session
    if session is None:
        return [], Extent(0, 0)
    body = max(0, height - 1)
    lines = _TAB_BODIES[state.tab](state, session, now, width - 2, ALL_LINES if state.scroll else body)
    extent = _scroll_extent(state, len(lines), body)
    top = max(0, len(lines) - extent.scroll - body) if state.tab in TAIL_TABS else extent.scroll
    pane = [_tab_bar(state, session, width, extent.scroll)]
    return pane + [[Segment("  "), *line] for line in lines[top : top + body]], extent


def _scroll_extent(state: State, lines: int, body: int) -> Extent:
    most = max(0, lines - body)
    if state.tab is Tab.QUEUE:
        return Extent(lines, min(most, max(0, state.queue_index - body + 1)))
    grown = (
        max(0, lines - state.pane_lines)
        if state.tab in TAIL_TABS and state.scroll and state.pane_lines
        else 0
    )
    return Extent(lines, max(0, min(state.scroll + grown, most)))


def _tab_bar(state: State, session: Json, width: int, scroll: int) -> Line:
    line: Line = [
        Segment("─ ", Theme.DIM),
        Segment(clip(visible(session["key"]), 30), Theme.TITLE),
        Segment(" ── ", Theme.DIM),
    ]
    for tab in Tab:
        queued = f" {session['queue']}" if tab is Tab.QUEUE and session["queue"] else ""
        style = Theme.SELECTED if tab is state.tab else Theme.DIM
        line += [Segment(f" {tab.value}{queued} ", style)]
    position = f" ↑ {scroll}{' lines, End follows' if width >= 100 else ''} "
    position = position if scroll and state.tab in TAIL_TABS else ""
    role = _ROLE_LABELS.get(state.roles.get(session["key"], ""), "")
    title = visible(session["title"] or "")
    used = sum(width_of(segment.text) for segment in line) + len(position) + len(role)
    shown = f" {clip(title, width - used - 6)} " if title and width - used > 20 else ""
    rule = "─" * max(0, width - used - width_of(shown) - 1)
    return [
        *line,
        Segment(rule, Theme.DIM),
        Segment(shown),
        Segment(role, Theme.ACCENT),
        Segment(position, Theme.ACCENT),
        Segment("─", Theme.DIM),
    ]


def _transcript_lines(state: State, session: Json, now: float, width: int, room: int) -> list[Line]:
    transcript = state.transcript
    if transcript is None or transcript.next_seq is None:
        return [
            styled(("nothing has been said yet" if not session["events"] else "reading its log …", Theme.DIM))
        ]
    parts: list[tuple[Line, ...]] = []
    for item in reversed(transcript.items):
        parts.append(render_item(item, width))
        room -= len(parts[-1])
        if room <= 0:
            break
    return [line for part in reversed(parts) for line in part]


def _queue_lines(state: State, session: Json, now: float, width: int, room: int) -> list[Line]:
    if not session["queued"]:
        return [styled(("no prompt waits", Theme.DIM))]
    lines = []
    for place, turn in enumerate(session["queued"]):
        chosen = place == state.queue_index
        mark = (f"{MARKER} ", Theme.TITLE) if chosen else "  "
        text = clip(visible(turn["text"]), width - 6)
        lines.append(styled(mark, (f"{place + 1:>2}  ", Theme.DIM), (text, Theme.BOLD if chosen else None)))
    return lines


def _log_lines(state: State, session: Json, now: float, width: int, room: int) -> list[Line]:
    transcript = state.transcript or Transcript(session["key"])
    return [_log_line(entry, width) for entry in transcript.log[-room:]]


def _log_line(entry: LogEntry, width: int) -> Line:
    number = str(entry.first) if entry.first == entry.last else f"{entry.first}…{entry.last}"
    clock = time.strftime("%H:%M:%S", time.localtime(entry.at))
    kind = clip(visible(entry.kind), 22)
    return styled(
        (f"{number:>13}  {clock}  ", Theme.DIM),
        (pad(kind, 22), Theme.ACCENT if "_" not in entry.kind else Theme.PLAIN),
        f"  {clip(visible(entry.text), max(0, width - 49))}",
    )


def _stderr_lines(state: State, session: Json, now: float, width: int, room: int) -> list[Line]:
    if state.agent_output is None or state.agent_output[0] != session["key"]:
        return [styled(("asking for it …", Theme.DIM))]
    _, stderr, rejected = state.agent_output
    text = visible_lines(stderr).rstrip("\n")
    lines = [styled(line) for line in wrap(text, width)] if text else []
    if rejected:
        lines += [[], styled(("lines of its stdout that were no messages:", Theme.DIM))]
        lines += [styled((clip(visible(line), width), Theme.ERROR)) for line in rejected]
    return lines or [styled(("the agent has written nothing to stderr", Theme.DIM))]


def _fact_lines(state: State, session: Json, now: float, width: int, room: int) -> list[Line]:
    at, use, usage = state.broker_time(now), session["use"] or {}, session["usage"] or {}
    since = None if session["phase_since"] is None else at - session["phase_since"]
    cost = usage.get("cost") if isinstance(usage.get("cost"), dict) else {}
    facts = {
        "phase": f"{session['phase']} for {format_duration(since)}",
        "error": session["error"],
        "title": session["title"],
        "agent": session["agent"],
        "directory": short_path(session["cwd"]),
        "process": f"pid {session['pid']}" + (f", {use['processes']} in all" if use else "")
        if session["pid"]
        else "none",
        "cpu": f"{use['cpu']} % of a core" if use.get("cpu") is not None else None,
        "memory": f"{format_number(use['memory'], base=1024)}B" if use else None,
        "tokens": f"{usage['used']} of {usage.get('size')}" if "used" in usage else None,
        "cost": f"{cost.get('amount')} {cost.get('currency') or ''}" if cost else None,
        "turns": f"{session['turns']} done, {session['queue']} queued",
        "events": session["events"],
        "resumed": session["resumed"],
        "clients": ", ".join(f"{one['name']} ({one['role']})" for one in session["attached"]) or "none",
        "not understood": f"{session['rejected_lines']} lines, {session['foreign']} of other sessions"
        if session["rejected_lines"] or session["foreign"]
        else None,
        "session id": session["sessionId"],
    }
    lines: list[Line] = []
    for name, value in facts.items():
        if value is not None:
            first, *more = wrap(visible(value), max(10, width - 18))
            lines.append(
                styled((pad(name, 16), Theme.DIM), (first, Theme.ERROR if name == "error" else None))
            )
            lines += [styled(" " * 16 + line) for line in more]
    return lines


_TAB_BODIES = {
    Tab.TRANSCRIPT: _transcript_lines,
    Tab.QUEUE: _queue_lines,
    Tab.LOG: _log_lines,
    Tab.STDERR: _stderr_lines,
    Tab.FACTS: _fact_lines,
}
_ROLE_LABELS = {"observer": " you observe ", "controller": " you take part "}
TAIL_TABS = (Tab.TRANSCRIPT, Tab.LOG, Tab.STDERR)
