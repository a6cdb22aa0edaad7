"""The table of sessions. Columns leave as the window narrows, the dispensable ones first."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import attrs
from rich.segment import Segment
from rich.style import Style

from trio_broker.tui import look
from trio_broker.tui.state import SAMPLES, State, amount_of, number_of
from trio_broker.tui.text import Line, ago, clip_start, pad, short, visible, width_of

Json = dict[str, Any]
GAP = 2
KEY_LEAST, KEY_LITTLE, KEY_MOST = 12, 18, 32
WHAT_LEAST, WHAT_WISHED = 18, 21  # cells; the wish goes before the most dispensable columns
DIRECTORY = 26

Cell = tuple[str, Style]


@attrs.frozen
class Sight:
    """What a cell is made of: the session, and what the state knows of it besides."""

    view: Json
    state: State
    at: float

    def since(self, name: str) -> float | None:
        began = self.view[name]
        return None if began is None else self.at - began

    @property
    def alive(self) -> bool:
        return self.view["pid"] is not None


@attrs.frozen
class Column:
    """`stay`: of two columns, the one with the larger number stays longer."""

    title: str
    width: int
    stay: int
    cell: Callable[[Sight], Cell]
    right: bool = True


def _phase(sight: Sight) -> Cell:
    glyph, style = look.phase(sight.view["phase"])
    return f"{glyph} {sight.view['phase']}", style


def _turn(sight: Sight) -> Cell:
    return ago(sight.since("turn_since")), look.PLAIN if sight.view["turn_since"] is not None else look.DIM


def _quiet(sight: Sight) -> Cell:
    busy = sight.view["phase"] in ("working", "cancelling")
    seconds = sight.since("heard_at") if sight.alive else None
    style = look.SOFT_ASK if busy and seconds and seconds >= 60 else look.PLAIN if busy else look.DIM
    return ago(seconds), style


def _queue(sight: Sight) -> Cell:
    return (str(sight.view["queue"]), look.BOLD) if sight.view["queue"] else ("-", look.DIM)


def _updates(sight: Sight) -> Cell:
    trend = sight.state.trends.get(sight.view["key"])
    if trend is None or not any(trend.samples):
        return "-", look.DIM
    rate = f"{trend.rate:.1f}" if 0 < trend.rate < 10 else short(trend.rate)
    return f"{look.spark(trend.samples, SAMPLES)} {rate:>4}", look.ACCENT if trend.rate else look.DIM


def _tokens(sight: Sight) -> Cell:
    usage = sight.view["usage"] or {}
    used, size = number_of(usage.get("used")), number_of(usage.get("size"))
    if not used:
        return "-", look.DIM
    if size <= 0:
        return short(used), look.PLAIN
    part = 100 * min(used / size, 9.99)
    return f"{short(used)} {part:>3.0f}%", look.ALARM if part >= 90 else look.PLAIN


def _cost(sight: Sight) -> Cell:
    usage = sight.view["usage"] or {}
    amount = amount_of(usage)
    if not amount:
        return "-", look.DIM
    unit = visible(usage["cost"].get("currency") or "")[:3]
    number = f"{amount:.2f}" if amount < 1000 else short(amount)
    return f"${number}" if unit == "USD" else f"{number}{unit}", look.PLAIN


def _cpu(sight: Sight) -> Cell:
    cpu = (sight.view["use"] or {}).get("cpu")
    return ("-", look.DIM) if cpu is None else (f"{cpu:.0f}%", look.PLAIN if cpu >= 1 else look.DIM)


def _memory(sight: Sight) -> Cell:
    memory = (sight.view["use"] or {}).get("memory")
    return ("-", look.DIM) if memory is None else (short(memory, base=1024), look.PLAIN)


def _clients(sight: Sight) -> Cell:
    return (str(sight.view["clients"]), look.PLAIN) if sight.view["clients"] else ("-", look.DIM)


def _pid(sight: Sight) -> Cell:
    return str(sight.view["pid"] or "-"), look.DIM


def _directory(sight: Sight) -> Cell:
    return clip_start(short_path(visible(sight.view["cwd"])), DIRECTORY), look.DIM


KEY = Column("SESSION", KEY_LEAST, 100, lambda sight: (visible(sight.view["key"]), look.PLAIN), right=False)
WHAT = Column("ABOUT", WHAT_LEAST, 45, lambda sight: ("", look.PLAIN), right=False)
COLUMNS = (
    KEY,
    Column("AGENT", 9, 70, lambda sight: (visible(sight.view["agent"]), look.DIM), right=False),
    Column("PHASE", 12, 99, _phase, right=False),
    Column("TURN", 6, 90, _turn),
    Column("QUIET", 6, 85, _quiet),
    Column("Q", 2, 80, _queue),
    Column("UPDATES/S", SAMPLES + 5, 60, _updates),
    Column("TOKENS", 9, 50, _tokens),
    Column("COST", 6, 20, _cost),
    Column("CPU", 5, 40, _cpu),
    Column("MEM", 5, 35, _memory),
    Column("CL", 2, 15, _clients),
    Column("PID", 7, 10, _pid),
    Column("DIRECTORY", DIRECTORY, 5, _directory, right=False),
    WHAT,
)


def columns_for(width: int, rows: list[Json]) -> list[Column]:
    """Those that fit into so many cells, in their order; what no agent tells has no column."""
    left, chosen = width - 2 - (_key_width(rows, width) - KEY_LEAST), set()
    told = {name for view in rows for name, value in (view["usage"] or {}).items() if value is not None}
    untold = {column for column, name in (("TOKENS", "used"), ("COST", "cost")) if name not in told}
    for column in sorted(COLUMNS, key=lambda column: -column.stay):
        if column.title in untold:
            continue
        if left < column.width:
            break
        chosen.add(column.title)
        left -= GAP + (min(left, WHAT_WISHED) if column is WHAT else column.width)
    return [column for column in COLUMNS if column.title in chosen]


def table(state: State, now: float, width: int, height: int) -> list[Line]:
    """The head and as many sessions as there is room for, the selected one among them."""
    rows = state.rows()
    columns = columns_for(width, rows)
    widths = _widths(columns, rows, width)
    place = next((at for at, view in enumerate(rows) if view["key"] == state.selected), 0)
    room = max(1, height - 1)
    top = max(0, min(place - room // 2, len(rows) - room))
    shown = rows[top : top + room]
    at = state.clock(now)
    return [
        _head(columns, widths, state, len(rows) - len(shown)),
        *(_row(Sight(view, state, at), columns, widths) for view in shown),
    ]


def _widths(columns: list[Column], rows: list[Json], width: int) -> list[int]:
    """The key as wide as it wants, within reason; what is left is for the last column."""
    widths = [column.width for column in columns]
    left = width - 2 - sum(widths) - GAP * (len(widths) - 1)
    widths[0] = _key_width(rows, width)
    if columns[-1] is WHAT:
        widths[-1] += left - (widths[0] - KEY_LEAST)
    return widths


def _key_width(rows: list[Json], width: int) -> int:
    longest = max((width_of(visible(view["key"])) for view in rows), default=0)
    return max(
        KEY_LEAST, min(longest, KEY_MOST if width >= 120 else KEY_LITTLE if width >= 60 else KEY_LEAST)
    )


def _head(columns: list[Column], widths: list[int], state: State, hidden: int) -> Line:
    """The titles; with the first one, how many sessions there was no room for."""
    line = [Segment("  ")]
    sorted_by = {"key": "SESSION", "memory": "MEM", "updates": "UPDATES/S", "opened": ""}.get(
        state.sort, state.sort.upper()
    )
    for column, width in zip(columns, widths, strict=True):
        arrow = ("▴" if state.reverse else "▾") if column.title and column.title == sorted_by else ""
        style = look.TITLE if arrow else look.DIM
        title = f"{column.title}{arrow}"
        if column is KEY and hidden:
            fits = [more for more in (f"  +{hidden} more", f" +{hidden}") if len(title + more) <= width]
            title += fits[0] if fits else ""
        line.append(Segment(pad(title, width, right=column.right), style))
        line.append(Segment(" " * GAP))
    return line[:-1]


def _row(sight: Sight, columns: list[Column], widths: list[int]) -> Line:
    chosen = sight.view["key"] == sight.state.selected
    line = [Segment(f"{look.MARKER} ", look.TITLE) if chosen else Segment("  ")]
    for column, width in zip(columns, widths, strict=True):
        if column is WHAT:  # the last
            line += _what(sight, width, there="DIRECTORY" in (one.title for one in columns))
            break
        text, style = column.cell(sight)
        if chosen and column is KEY:
            style = look.BOLD
        line += [Segment(pad(text, width, right=column.right), style), Segment(" " * GAP)]
    return line if columns[-1] is WHAT else line[:-1]


def _what(sight: Sight, width: int, *, there: bool) -> Line:
    """Why it died, what it asks, or what it is about; and where it works, if that is not `there` already."""
    view = sight.view
    if view["error"]:
        return [Segment(pad(visible(view["error"]), width), look.BAD)]
    if view["asks"]:
        return [Segment(pad(visible(view["asks"][0]["title"]), width), look.SOFT_ASK)]
    place = "" if there else short_path(visible(view["cwd"]))
    title = visible(view["title"] or "")
    if not title:
        return [Segment(pad(clip_start(place, width), width), look.DIM)]
    left = width - width_of(title) - GAP
    if left < 10:
        return [Segment(pad(title, width))]
    return [Segment(f"{title}  "), Segment(pad(clip_start(place, left), left), look.DIM)]


def short_path(path: str, home: str = os.path.expanduser("~")) -> str:
    inside = path == home or path.startswith(home + "/")
    return "~" + path[len(home) :] if inside and len(home) > 1 else path
