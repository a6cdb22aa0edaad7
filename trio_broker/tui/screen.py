"""The whole screen: a state and a size in, lines out. What is drawn where, and what gives way when it gets narrow."""

from __future__ import annotations

from typing import Any

import attrs
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from trio_broker.tui import look
from trio_broker.tui.detail import Extent, detail
from trio_broker.tui.helping import help_lines
from trio_broker.tui.questions import questions
from trio_broker.tui.state import URGENCY, Mode, State, Tab
from trio_broker.tui.table import table
from trio_broker.tui.text import Line, ago, clip, fit, visible, width_of, words, wrap

LEAST = (40, 8)  # cells, lines
TALL = 30  # lines from which on table and detail are both there
DETAIL = 9  # lines for which a detail pane is worth it, with what divides it from the table
INPUT_LINES = 6
NOTICE_LINES = 3
GONE_LINES = 3
OLD = Style(dim=True, reverse=True)
KEY_GAP = 3


@attrs.frozen
class Screen:
    """A renderable of rich; `cursor` is where the terminal's cursor is shown, column and line from 0.

    `extent`: how much the pane about one session has, and which part of it is shown.
    """

    lines: list[Line]
    cursor: tuple[int, int] | None = None
    extent: Extent | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines:
            yield from line
            yield Segment.line()


def screen(state: State, now: float, width: int, height: int) -> Screen:
    """The picture at this size: exactly `height` lines of exactly `width` cells."""
    if width < LEAST[0] or height < LEAST[1]:
        return _too_small(width, height)
    foot, cursor = _foot(state, width)
    told = _gone(state, now, width, min(GONE_LINES, height // 8))
    lines = [_header(state, now, width), *told, *([[]] if height >= TALL else [])]
    room = height - len(lines) - len(foot)
    asked = questions(state, now, width, room // 2)
    if asked:
        asked = [*asked, []] if height >= TALL else asked
        lines += asked
    room -= len(asked)
    middle, extent = _middle(state, now, width, room, height >= TALL)
    if state.mode is Mode.HELP and extent is not None and extent.lines > room:
        foot = [words((" ↑ ↓ scroll, any other key goes back", look.DIM))]
    lines += middle
    lines = lines[: height - len(foot)]
    lines += [[]] * (height - len(foot) - len(lines))
    if state.gone is not None and state.picture is not None and state.mode is not Mode.HELP:
        lines = [line if at in range(1, 1 + len(told)) else _old(line) for at, line in enumerate(lines)]
    shown = None if cursor is None else (cursor[0], cursor[1] + len(lines))
    return Screen([fit(line, width) for line in (*lines, *foot)], shown, extent)


def picture(state: State, now: float, width: int) -> Screen:
    """All there is to see, as high as it needs: for `--once`, which has no window to fit into."""
    rows = len(state.rows())
    lines = [_header(state, now, width), *_gone(state, now, width, GONE_LINES)]
    if asked := questions(state, now, width, 4):
        lines += [[], *asked]
    lines += [[], *(table(state, now, width, rows + 1) if rows else _nobody(state))]
    return Screen([fit(line, width) for line in lines])


def _too_small(width: int, height: int) -> Screen:
    text = f"{width}x{height} is too small: {LEAST[0]}x{LEAST[1]} will do"
    lines = [[Segment(text[at : at + width])] for at in range(0, len(text), max(1, width))][:height]
    lines += [[]] * (height - len(lines))
    return Screen([fit(line, width) for line in lines])


def _header(state: State, now: float, width: int) -> Line:
    if state.picture is None:
        return words((" trio-broker ", look.CHOSEN), ("  connecting …", look.DIM))
    broker: dict[str, Any] = state.picture["broker"]
    left = words((" trio-broker ", look.CHOSEN), "  ")
    left += words(("drains", look.ASKS), "   ") if broker.get("draining") else []
    for name in URGENCY:
        glyph, style = look.phase(name)
        if number := broker["counts"].get(name):
            left += [Segment(f"{glyph} {number} {name}", style), Segment("   ")]
    if not any(broker["counts"].values()):
        left += [Segment("no sessions", look.DIM)]
    rates = sum(trend.rate for trend in state.trends.values())
    rate = f"{rates:.0f} updates/s · " if rates >= 1 else ""
    clients = broker["clients"]
    facts = f"{rate}{clients} client{'' if clients == 1 else 's'} · up {ago(state.clock(now))} · {broker['version']} "
    space = width - sum(width_of(part.text) for part in left) - width_of(facts)
    return [*left, Segment(" " * space), Segment(facts, look.DIM)] if space > 0 else left


def _old(line: Line) -> Line:
    """What was so when the broker went: without the colours that say that it is so."""
    return [Segment(part.text, OLD if part.style == look.CHOSEN else look.DIM) for part in line]


def _gone(state: State, now: float, width: int, height: int) -> list[Line]:
    lines: list[Line] = []
    if state.gone is not None:
        since, why = state.gone
        old = "" if state.picture is None else "; all below is how it was then"
        text = f"no broker for {ago(now - since)}{old}. Trying again: {visible(why)}"
        lines += [[Segment(f" {line}", look.ALARM)] for line in _wrapped(text, width - 2, height)]
    journal = state.picture["broker"]["journal"] if state.picture else {}
    if journal.get("failing"):
        lines.append([Segment(clip(f" the journal fails: {visible(journal['failing'])}", width), look.ALARM)])
    return lines


def _middle(state: State, now: float, width: int, room: int, tall: bool) -> tuple[list[Line], Extent | None]:
    if state.mode is Mode.HELP:
        whole = help_lines(width)
        top = max(0, min(state.help_at, len(whole) - room))
        return whole[top : top + room], Extent(len(whole), top)
    rows = len(state.rows())
    if not rows:
        return _nobody(state), None
    if not tall and (state.detail or rows + DETAIL > room):
        return detail(state, now, width, room) if state.detail else (table(state, now, width, room), None)
    upper = min(rows + 1, 6 if state.detail else max(6, room * 45 // 100))
    lines = [*table(state, now, width, upper), []]
    pane, extent = detail(state, now, width, room - len(lines))
    return [*lines, *pane], extent


def _nobody(state: State) -> list[Line]:
    if state.picture is None:
        return []
    if state.sessions:
        return [[], words((f"  no session matches “{visible(state.filter)}”", look.DIM))]
    return [
        [],
        words(("  No session yet.", look.BOLD)),
        [],
        words("  Press ", ("n", look.KEYS), " for a new one, or in another window:"),
        words(("    trio-broker demo                      three agents at play", look.DIM)),
        words(('    trio-broker claude "fix the tests"    prompt an agent', look.DIM)),
    ]


def _foot(state: State, width: int) -> tuple[list[Line], tuple[int, int] | None]:
    """The last lines: what is being typed, a question, a notice, or the keys; and where the cursor is."""
    if state.mode is Mode.CONFIRM and state.pending is not None:
        text = clip(f" {visible(state.pending.text)} ", width - 16)
        return [words((text, look.ALARM), "  ", ("y", look.KEYS), "es  ", ("n", look.KEYS), "o")], None
    if state.mode is Mode.HELP:
        return [words((" any key goes back", look.DIM))], None
    if state.mode in LABELS:
        lines, (column, row) = _input(state, width)
        above = [] if state.notice is None else _notice(*state.notice, width)[:1]
        return [*above, *lines], (column, row + len(above))
    if state.notice is not None:
        return _notice(*state.notice, width), None
    return [_keys(state, width)], None


def _notice(text: str, until: float, mishap: bool, width: int) -> list[Line]:
    """A line, or for what went wrong as many as it takes, within reason: its end says what to do."""
    style = look.BAD if mishap else look.GOOD
    lines = _wrapped(visible(text), width - 2, NOTICE_LINES if mishap else 1)
    return [words((f" {line}", style)) for line in lines]


def _wrapped(text: str, width: int, most: int) -> list[str]:
    lines = wrap(text, width)
    if len(lines) > most:
        lines = [*lines[: most - 1], clip(" ".join(lines[most - 1 :]), width)]
    return lines


FORM = ("agent", "directory", "key")
LABELS = {
    Mode.PROMPT: "{} > ",
    Mode.INTERRUPT: "interrupt {} > ",
    Mode.EDIT: "{}, queued > ",
    Mode.NEW: "new session, {}: ",
    Mode.FILTER: "/",
}


def _label(state: State) -> str:
    what = FORM[len(state.form)] if state.mode is Mode.NEW else clip(visible(state.selected or ""), 24)
    return LABELS[state.mode].format(what)


def _input(state: State, width: int) -> tuple[list[Line], tuple[int, int]]:
    label, editor = _label(state), state.editor
    indent = width_of(label)
    room = max(8, width - indent - 1)
    before = visible_input(editor.text[: editor.cursor])
    rows = [piece for line in visible_input(editor.text).split("\n") for piece in _pieces(line, room)]
    placed = [piece for line in before.split("\n") for piece in _pieces(line, room)]
    row, column = len(placed) - 1, width_of(placed[-1])
    top = max(0, min(row - INPUT_LINES + 1, len(rows) - INPUT_LINES), row - INPUT_LINES + 1)
    lines = [
        words((label if at == 0 else " " * indent, look.TITLE), text)
        for at, text in enumerate(rows[top : top + INPUT_LINES], top)
    ]
    return lines, (indent + column, row - top)


def visible_input(text: str) -> str:
    return "\n".join(visible(line) for line in text.split("\n"))


def _pieces(line: str, room: int) -> list[str]:
    pieces, present, used = [], "", 0
    for character in line:
        cells = width_of(character)
        if used + cells > room:
            pieces.append(present)
            present, used = "", 0
        present, used = present + character, used + cells
    return [*pieces, present]


def _keys(state: State, width: int) -> Line:
    """The keys that matter now, the most telling first; as many as there is room for."""
    view = state.view
    keys = [("?", " help"), ("q", "uit")]
    if state.filter:
        keys.append(("Esc", f" clears “{clip(visible(state.filter), 16)}”"))
    keys += [*_deeds(state, view), ("n", "ew")] if state.gone is None else []
    keys += [("/", " filter"), ("s", f"ort: {state.sort}")]
    if view is not None:
        keys += [("Enter", " back" if state.detail else " details"), ("Tab", " " + _next(state.tab).value)]
    left, shown = width - 1, []
    for key, text in keys:
        left -= len(key) + width_of(text) + KEY_GAP
        if left < -KEY_GAP:
            break
        shown.append((key, text))
    ends, rest = shown[:2], shown[2:]
    line: Line = [Segment(" ")]
    for key, text in (*rest, *ends):
        line += [Segment(key, look.KEYS), Segment(f"{text}{' ' * KEY_GAP}", look.DIM)]
    if sum(width_of(part.text) for part in line) > width:  # only the gap after the last of them does not fit
        line[-1] = Segment(line[-1].text.rstrip(), look.DIM)
    return line


def _deeds(state: State, view: dict[str, Any] | None) -> list[tuple[str, str]]:
    """The keys that do something to a session."""
    keys = [("1-9", " answer")] if state.asks() else []
    if view is None:
        return keys
    if state.tab is Tab.QUEUE and view["queued"]:
        keys += [("e", "dit"), ("x", " drop"), ("[ ]", " move")]
    runs = view["turn_since"] is not None
    return [*keys, ("p", "rompt"), *([("c", "ancel"), ("i", "nterrupt")] if runs else [])]


def _next(tab: Tab) -> Tab:
    tabs = list(Tab)
    return tabs[(tabs.index(tab) + 1) % len(tabs)]
