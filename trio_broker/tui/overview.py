"""The overview of all sessions: the table.

Columns of the table disappear as the window gets narrower, those with the lowest priority first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from rich.segment import Segment
from rich.style import Style

from trio_broker.tui.state import (
    SPARKLINE_SAMPLES,
    State,
    cost_amount,
    finite_number,
)
from trio_broker.tui.text import (
    MARKER,
    Line,
    Theme,
    clip_start,
    format_duration,
    format_number,
    pad,
    phase_style,
    short_path,
    sparkline,
    visible,
    width_of,
)

Json = dict[str, Any]
GAP = 2
KEY_MIN, KEY_MEDIUM, KEY_MAX = 12, 18, 32
ABOUT_MIN, ABOUT_WIDTH = 18, 21  # cells; this width goes before the columns of lowest priority
DIRECTORY_WIDTH = 26

Cell = tuple[str, Style]


# The table


@attrs.frozen
class Row:
    """What a cell is made of: the session, and what the state knows of it besides."""

    session: Json
    state: State
    broker_time: float

    def seconds_since(self, name: str) -> float | None:
        began = self.session[name]
        return None if began is None else self.broker_time - began

    @property
    def alive(self) -> bool:
        return self.session["pid"] is not None


@attrs.frozen
class Column:
    """`priority`: when the window gets narrower, columns with a lower priority disappear first."""

    title: str
    width: int
    priority: int
    cell: Callable[[Row], Cell]
    align_right: bool = True


def _phase_cell(row: Row) -> Cell:
    glyph, style = phase_style(row.session["phase"])
    return f"{glyph} {row.session['phase']}", style


def _turn_cell(row: Row) -> Cell:
    seconds = row.seconds_since("turn_since")
    return format_duration(seconds), Theme.DIM if seconds is None else Theme.PLAIN


def _quiet_cell(row: Row) -> Cell:
    busy = row.session["phase"] in ("working", "cancelling")
    seconds = row.seconds_since("heard_at") if row.alive else None
    style = Theme.WARNING if busy and seconds and seconds >= 60 else Theme.PLAIN if busy else Theme.DIM
    return format_duration(seconds), style


def _queue_cell(row: Row) -> Cell:
    return (str(row.session["queue"]), Theme.BOLD) if row.session["queue"] else ("-", Theme.DIM)


def _updates_cell(row: Row) -> Cell:
    trend = row.state.trends.get(row.session["key"])
    if trend is None or not any(trend.samples):
        return "-", Theme.DIM
    rate = f"{trend.rate:.1f}" if 0 < trend.rate < 10 else format_number(trend.rate)
    return (
        f"{sparkline(trend.samples, SPARKLINE_SAMPLES)} {rate:>4}",
        Theme.ACCENT if trend.rate else Theme.DIM,
    )


def _tokens_cell(row: Row) -> Cell:
    usage = row.session["usage"] or {}
    used, size = finite_number(usage.get("used")), finite_number(usage.get("size"))
    if not used:
        return "-", Theme.DIM
    if size <= 0:
        return format_number(used), Theme.PLAIN
    part = 100 * min(used / size, 9.99)
    return f"{format_number(used)} {part:>3.0f}%", Theme.ALARM if part >= 90 else Theme.PLAIN


def _cost_cell(row: Row) -> Cell:
    usage = row.session["usage"] or {}
    amount = cost_amount(usage)
    if not amount:
        return "-", Theme.DIM
    unit = visible(usage["cost"].get("currency") or "")[:3]
    number = f"{amount:.2f}" if amount < 1000 else format_number(amount)
    return f"${number}" if unit == "USD" else f"{number}{unit}", Theme.PLAIN


def _cpu_cell(row: Row) -> Cell:
    cpu = (row.session["use"] or {}).get("cpu")
    return ("-", Theme.DIM) if cpu is None else (f"{cpu:.0f}%", Theme.PLAIN if cpu >= 1 else Theme.DIM)


def _memory_cell(row: Row) -> Cell:
    memory = (row.session["use"] or {}).get("memory")
    return ("-", Theme.DIM) if memory is None else (format_number(memory, base=1024), Theme.PLAIN)


def _clients_cell(row: Row) -> Cell:
    return (str(row.session["clients"]), Theme.PLAIN) if row.session["clients"] else ("-", Theme.DIM)


def _pid_cell(row: Row) -> Cell:
    return str(row.session["pid"] or "-"), Theme.DIM


def _directory_cell(row: Row) -> Cell:
    return clip_start(short_path(visible(row.session["cwd"])), DIRECTORY_WIDTH), Theme.DIM


KEY_COLUMN = Column(
    "SESSION", KEY_MIN, 100, lambda row: (visible(row.session["key"]), Theme.PLAIN), align_right=False
)
ABOUT_COLUMN = Column("ABOUT", ABOUT_MIN, 45, lambda row: ("", Theme.PLAIN), align_right=False)
COLUMNS = (
    KEY_COLUMN,
    Column("AGENT", 9, 70, lambda row: (visible(row.session["agent"]), Theme.DIM), align_right=False),
    Column("PHASE", 12, 99, _phase_cell, align_right=False),
    Column("TURN", 6, 90, _turn_cell),
    Column("QUIET", 6, 85, _quiet_cell),
    Column("Q", 2, 80, _queue_cell),
    Column("UPDATES/S", SPARKLINE_SAMPLES + 5, 60, _updates_cell),
    Column("TOKENS", 9, 50, _tokens_cell),
    Column("COST", 6, 20, _cost_cell),
    Column("CPU", 5, 40, _cpu_cell),
    Column("MEM", 5, 35, _memory_cell),
    Column("CL", 2, 15, _clients_cell),
    Column("PID", 7, 10, _pid_cell),
    Column("DIRECTORY", DIRECTORY_WIDTH, 5, _directory_cell, align_right=False),
    ABOUT_COLUMN,
)


def choose_columns(width: int, rows: list[Json]) -> list[Column]:
    """Those that fit into so many cells, in their order; what no agent tells has no column."""
    left, chosen = width - 2 - (_key_width(rows, width) - KEY_MIN), set()
    known = {
        name for session in rows for name, value in (session["usage"] or {}).items() if value is not None
    }
    unknown = {column for column, name in (("TOKENS", "used"), ("COST", "cost")) if name not in known}
    for column in sorted(COLUMNS, key=lambda column: -column.priority):
        if column.title in unknown:
            continue
        if left < column.width:
            break
        chosen.add(column.title)
        left -= GAP + (min(left, ABOUT_WIDTH) if column is ABOUT_COLUMN else column.width)
    return [column for column in COLUMNS if column.title in chosen]


def render_table(state: State, now: float, width: int, height: int) -> list[Line]:
    """The head and as many sessions as there is room for, the selected one among them."""
    rows = state.visible_sessions()
    columns = choose_columns(width, rows)
    widths = _column_widths(columns, rows, width)
    place = next((at for at, session in enumerate(rows) if session["key"] == state.selected), 0)
    room = max(1, height - 1)
    top = max(0, min(place - room // 2, len(rows) - room))
    shown = rows[top : top + room]
    at = state.broker_time(now)
    return [
        _render_titles(columns, widths, state, len(rows) - len(shown)),
        *(_render_row(Row(session, state, at), columns, widths) for session in shown),
    ]


def _column_widths(columns: list[Column], rows: list[Json], width: int) -> list[int]:
    """The key as wide as it wants, within reason; what is left is for the last column."""
    widths = [column.width for column in columns]
    left = width - 2 - sum(widths) - GAP * (len(widths) - 1)
    widths[0] = _key_width(rows, width)
    if columns[-1] is ABOUT_COLUMN:
        widths[-1] += left - (widths[0] - KEY_MIN)
    return widths


def _key_width(rows: list[Json], width: int) -> int:
    longest = max((width_of(visible(session["key"])) for session in rows), default=0)
    return max(KEY_MIN, min(longest, KEY_MAX if width >= 120 else KEY_MEDIUM if width >= 60 else KEY_MIN))


def _render_titles(columns: list[Column], widths: list[int], state: State, hidden: int) -> Line:
    """The titles; with the first one, how many sessions there was no room for."""
    line = [Segment("  ")]
    sorted_by = {"key": "SESSION", "memory": "MEM", "updates": "UPDATES/S", "opened": ""}.get(
        state.sort, state.sort.upper()
    )
    for column, width in zip(columns, widths, strict=True):
        arrow = ("▴" if state.reverse else "▾") if column.title and column.title == sorted_by else ""
        style = Theme.TITLE if arrow else Theme.DIM
        title = f"{column.title}{arrow}"
        if column is KEY_COLUMN and hidden:
            fits = [more for more in (f"  +{hidden} more", f" +{hidden}") if len(title + more) <= width]
            title += fits[0] if fits else ""
        line.append(Segment(pad(title, width, right=column.align_right), style))
        line.append(Segment(" " * GAP))
    return line[:-1]


def _render_row(row: Row, columns: list[Column], widths: list[int]) -> Line:
    chosen = row.session["key"] == row.state.selected
    line = [Segment(f"{MARKER} ", Theme.TITLE) if chosen else Segment("  ")]
    for column, width in zip(columns, widths, strict=True):
        if column is ABOUT_COLUMN:  # the last
            line += _about_cell(row, width, directory_shown="DIRECTORY" in (one.title for one in columns))
            break
        text, style = column.cell(row)
        if chosen and column is KEY_COLUMN:
            style = Theme.BOLD
        line += [Segment(pad(text, width, right=column.align_right), style), Segment(" " * GAP)]
    return line if columns[-1] is ABOUT_COLUMN else line[:-1]


def _about_cell(row: Row, width: int, *, directory_shown: bool) -> Line:
    """Why it died, what it asks, or what it is about; and where it works, unless a column shows the directory."""
    session = row.session
    if session["error"]:
        return [Segment(pad(visible(session["error"]), width), Theme.ERROR)]
    if session["asks"]:
        return [Segment(pad(visible(session["asks"][0]["title"]), width), Theme.WARNING)]
    place = "" if directory_shown else short_path(visible(session["cwd"]))
    title = visible(session["title"] or "")
    if not title:
        return [Segment(pad(clip_start(place, width), width), Theme.DIM)]
    left = width - width_of(title) - GAP
    if left < 10:
        return [Segment(pad(title, width))]
    return [Segment(f"{title}  "), Segment(pad(clip_start(place, left), left), Theme.DIM)]
