"""The whole screen: a state and a size in, lines out. What is drawn where, and what gives way when it gets narrow."""

from __future__ import annotations

from typing import Any

import attrs
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment

from trio_broker.tui import look
from trio_broker.tui.detail import detail
from trio_broker.tui.questions import questions
from trio_broker.tui.state import URGENCY, Mode, State, Tab
from trio_broker.tui.table import table
from trio_broker.tui.text import Line, ago, clip, fit, visible, width_of, words

LEAST = (40, 8)  # cells, lines
TALL = 30  # lines from which on table and detail are both there
DETAIL = 9  # lines for which a detail pane is worth it, with what divides it from the table
INPUT_LINES = 6

HELP = (
    ("", "move"),
    ("↑ ↓  j k", "another session"),
    ("g G", "first, last session"),
    ("Enter", "look into it; Esc goes back"),
    ("Tab  1-9 ←→", "transcript, queue, log, stderr, facts (digits answer, when someone asks)"),
    ("PgUp PgDn", "scroll; End: follow again"),
    ("", "answer"),
    ("1-9", "give that answer to the question on top"),
    ("a", "the next question"),
    ("", "act"),
    ("p", "prompt (Enter sends, Alt-Enter or Ctrl-J: new line, ↑: earlier ones)"),
    ("n", "new session"),
    ("c", "cancel the running turn"),
    ("x", "cancel the queued prompt that is chosen (in the queue)"),
    ("K  X", "kill, close the session: asks first"),
    ("", "look"),
    ("/", "filter: words in key, agent, phase, directory, title"),
    ("s S", "sort by the next column, reverse"),
    ("Ctrl-L", "draw anew"),
    ("q", "quit; sessions and turns go on"),
)


@attrs.frozen
class Screen:
    """A renderable of rich; `cursor` is where the terminal's cursor is shown, column and line from 0."""

    lines: list[Line]
    cursor: tuple[int, int] | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines:
            yield from line
            yield Segment.line()


def screen(state: State, now: float, width: int, height: int) -> Screen:
    """The picture at this size: exactly `height` lines of exactly `width` cells."""
    if width < LEAST[0] or height < LEAST[1]:
        return _too_small(width, height)
    foot, cursor = _foot(state, width)
    lines = [_header(state, now, width), *_gone(state, now, width), *([[]] if height >= TALL else [])]
    room = height - len(lines) - len(foot)
    asked = questions(state, now, width, room // 2)
    if asked:
        asked = [*asked, []] if height >= TALL else asked
        lines += asked
    room -= len(asked)
    lines += _middle(state, now, width, room, height >= TALL)
    lines = lines[: height - len(foot)]
    lines += [[]] * (height - len(foot) - len(lines))
    shown = None if cursor is None else (cursor[0], cursor[1] + len(lines))
    return Screen([fit(line, width) for line in (*lines, *foot)], shown)


def picture(state: State, now: float, width: int) -> Screen:
    """All there is to see, as high as it needs: for `--once`, which has no window to fit into."""
    rows = len(state.rows())
    lines = [_header(state, now, width), *_gone(state, now, width)]
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


def _gone(state: State, now: float, width: int) -> list[Line]:
    lines: list[Line] = []
    if state.gone is not None:
        since, why = state.gone
        text = f" no broker for {ago(now - since)}; trying again: {visible(why)}"
        lines.append([Segment(clip(text, width), look.ALARM)])
    journal = state.picture["broker"]["journal"] if state.picture else {}
    if journal.get("failing"):
        lines.append([Segment(clip(f" the journal fails: {visible(journal['failing'])}", width), look.ALARM)])
    return lines


def _middle(state: State, now: float, width: int, room: int, tall: bool) -> list[Line]:
    if state.mode is Mode.HELP:
        return _help(room)
    rows = len(state.rows())
    if not rows:
        return _nobody(state)
    if not tall and (state.detail or rows + DETAIL > room):
        return detail(state, now, width, room) if state.detail else table(state, now, width, room)
    upper = min(rows + 1, 6 if state.detail else max(6, room * 45 // 100))
    lines = [*table(state, now, width, upper), []]
    return [*lines, *detail(state, now, width, room - len(lines))]


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


def _help(room: int) -> list[Line]:
    lines: list[Line] = [[]]
    for keys, text in HELP:
        lines.append(words((f"  {keys:<14}", look.KEYS), text) if keys else words((f"  {text}", look.TITLE)))
    return lines[:room]


def _foot(state: State, width: int) -> tuple[list[Line], tuple[int, int] | None]:
    """The last lines: what is being typed, a question, a notice, or the keys; and where the cursor is."""
    if state.mode is Mode.CONFIRM and state.pending is not None:
        text = clip(f" {visible(state.pending.text)} ", width - 16)
        return [words((text, look.ALARM), "  ", ("y", look.KEYS), "es  ", ("n", look.KEYS), "o")], None
    if state.mode in (Mode.PROMPT, Mode.FILTER, Mode.NEW):
        return _input(state, width)
    if state.notice is not None:
        text, _, mishap = state.notice
        return [words((clip(f" {visible(text)}", width), look.BAD if mishap else look.GOOD))], None
    return [_keys(state, width)], None


FORM = ("agent", "directory", "key")


def _label(state: State) -> str:
    if state.mode is Mode.PROMPT:
        return f"{clip(visible(state.selected or ''), 24)} > "
    if state.mode is Mode.NEW:
        return f"new session, {FORM[len(state.form)]}: "
    return "/"


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
    keys = [
        ("p", "rompt"),
        ("n", "ew"),
        ("c", "ancel"),
        ("/", " filter"),
        ("s", f"ort: {state.sort}"),
        ("?", " help"),
        ("q", "uit"),
    ]
    if state.asks():
        keys.insert(0, ("1-9", " answer"))
    if state.tab is Tab.QUEUE and state.view is not None and state.view["queued"]:
        keys.insert(0, ("x", " drop from queue"))
    if state.filter:
        keys.insert(0, ("Esc", f" clears “{clip(visible(state.filter), 16)}”"))
    line: Line = [Segment(" ")]
    for key, text in keys:
        if sum(width_of(part.text) for part in line) + len(key) + width_of(text) + 2 > width:
            break
        line += [Segment(key, look.KEYS), Segment(f"{text}   ", look.DIM)]
    return line
