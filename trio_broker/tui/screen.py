"""The whole screen: a state and a size go in, lines come out. It decides the layout, and which part gives way first.

From top to bottom: header, problems, open requests, table, the pane about one session, and the last lines (input,
question, notice or key hints). `render_screen` fills a window. `render_snapshot` is as high as it has to be.
`render_svg` draws a screen as an image.
"""

from __future__ import annotations

import io
from typing import Any

import attrs
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import TerminalTheme

from trio_broker.tui.detail import Extent, render_detail
from trio_broker.tui.input import Editor
from trio_broker.tui.keymap import render_help, render_key_hints
from trio_broker.tui.overview import render_table
from trio_broker.tui.question.focus import DrawnQuestion
from trio_broker.tui.question.form import FormInput
from trio_broker.tui.question.panel import Panel, kind_words, render_headings, render_questions
from trio_broker.tui.state import PHASES_BY_URGENCY, Mode, State
from trio_broker.tui.text import (
    Line,
    Theme,
    clip,
    fit,
    format_duration,
    phase_style,
    split_cells,
    styled,
    visible,
    width_of,
    wrap,
)

MIN_SIZE = (40, 8)  # cells, lines
TALL_HEIGHT = 30  # lines from which on table and detail are both there
MIN_DETAIL_LINES = 9  # lines for which a detail pane is worth it, with what divides it from the table
MIN_TABLE_LINES = 4  # lines that are left to the table below a question with the focus ...
ROOM_FOR_TABLE = 20  # ... if there is so much room for both
MAX_HEADINGS = 3  # questions that have a line in a picture of all there is
MAX_INPUT_LINES = 6
MAX_NOTICE_LINES = 3
MAX_PROBLEM_LINES = 3
STALE = Style(dim=True, reverse=True)


@attrs.frozen
class Screen:
    """A renderable of rich; `cursor` is where the terminal's cursor is shown, column and line from 0.

    `extent`: how much the pane about one session has, and which part of it is shown. `question`: the one that is shown.
    """

    lines: list[Line]
    cursor: tuple[int, int] | None = None
    extent: Extent | None = None
    question: DrawnQuestion | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines:
            yield from line
            yield Segment.line()


def render_screen(state: State, now: float, width: int, height: int) -> Screen:
    """The picture at this size: exactly `height` lines of exactly `width` cells."""
    if width < MIN_SIZE[0] or height < MIN_SIZE[1]:
        return _render_too_small(width, height)
    footer, cursor = _render_footer(state, width)
    problems = _render_problems(state, now, width, min(MAX_PROBLEM_LINES, height // 8))
    lines = [_render_header(state, now, width), *problems, *([[]] if height >= TALL_HEIGHT else [])]
    room = height - len(lines) - len(footer)
    questions, drawn = ([], None) if state.mode is Mode.HELP else _render_questions(state, now, width, room)
    if questions and height >= TALL_HEIGHT:
        questions = [*questions, []]
    lines += questions
    room -= len(questions)
    middle, extent = _render_body(state, now, width, room, height >= TALL_HEIGHT)
    if state.mode is Mode.HELP and extent is not None and extent.lines > room:
        footer = [styled((" ↑ ↓ scroll, any other key goes back", Theme.DIM))]
    lines += middle
    lines = lines[: height - len(footer)]
    lines += [[]] * (height - len(footer) - len(lines))
    if state.disconnected is not None and state.snapshot is not None and state.mode is not Mode.HELP:
        lines = [line if at in range(1, 1 + len(problems)) else _stale(line) for at, line in enumerate(lines)]
    shown = None if cursor is None else (cursor[0], cursor[1] + len(lines))
    return Screen([fit(line, width) for line in (*lines, *footer)], shown, extent, drawn)


def _render_questions(state: State, now: float, width: int, room: int) -> Panel:
    """With the focus, a question leaves some lines to the table, where there are enough; without it, half of them."""
    if state.focus is None:
        return render_questions(state, now, width, room // 2)
    spare = 0 if state.focus.full or room < ROOM_FOR_TABLE else MIN_TABLE_LINES
    return render_questions(state, now, width, room - spare)


def render_snapshot(state: State, now: float, width: int) -> Screen:
    """All there is to see, as high as it needs: for `--once`, which has no window to fit into."""
    rows = len(state.visible_sessions())
    lines = [_render_header(state, now, width), *_render_problems(state, now, width, MAX_PROBLEM_LINES)]
    if state.requests():
        hint = styled("  ", ("`trio-broker pending` shows what they ask", Theme.DIM))
        lines += [[], *render_headings(state, now, width, MAX_HEADINGS), hint]
    lines += [[], *(render_table(state, now, width, rows + 1) if rows else _render_empty(state))]
    return Screen([fit(line, width) for line in lines])


def _render_too_small(width: int, height: int) -> Screen:
    text = f"{width}x{height} is too small: {MIN_SIZE[0]}x{MIN_SIZE[1]} will do"
    lines = [[Segment(text[at : at + width])] for at in range(0, len(text), max(1, width))][:height]
    lines += [[]] * (height - len(lines))
    return Screen([fit(line, width) for line in lines])


def _render_header(state: State, now: float, width: int) -> Line:
    if state.snapshot is None:
        return styled((" trio-broker ", Theme.SELECTED), ("  connecting …", Theme.DIM))
    broker: dict[str, Any] = state.snapshot["broker"]
    left = styled((" trio-broker ", Theme.SELECTED), "  ")
    left += styled(("drains", Theme.ATTENTION), "   ") if broker.get("draining") else []
    for name in PHASES_BY_URGENCY:
        glyph, style = phase_style(name)
        if number := broker["counts"].get(name):
            left += [Segment(f"{glyph} {number} {name}", style), Segment("   ")]
    if not any(broker["counts"].values()):
        left += [Segment("no sessions", Theme.DIM)]
    rates = sum(trend.rate for trend in state.trends.values())
    rate = f"{rates:.0f} updates/s · " if rates >= 1 else ""
    clients = broker["clients"]
    uptime = format_duration(state.broker_time(now))
    facts = f"{rate}{clients} client{'' if clients == 1 else 's'} · up {uptime} · {broker['version']} "
    space = width - sum(width_of(part.text) for part in left) - width_of(facts)
    return [*left, Segment(" " * space), Segment(facts, Theme.DIM)] if space > 0 else left


def _stale(line: Line) -> Line:
    """What was so when the broker went: without the colours that say that it is so."""
    return [Segment(part.text, STALE if part.style == Theme.SELECTED else Theme.DIM) for part in line]


def _render_problems(state: State, now: float, width: int, height: int) -> list[Line]:
    lines: list[Line] = []
    if state.disconnected is not None:
        since, why = state.disconnected
        old = "" if state.snapshot is None else "; all below is how it was then"
        text = f"no broker for {format_duration(now - since)}{old}. Trying again: {visible(why)}"
        lines += [[Segment(f" {line}", Theme.ALARM)] for line in _wrap_at_most(text, width - 2, height)]
    journal = state.snapshot["broker"]["journal"] if state.snapshot else {}
    if journal.get("failing"):
        lines.append(
            [Segment(clip(f" the journal fails: {visible(journal['failing'])}", width), Theme.ALARM)]
        )
    return lines


def _render_body(
    state: State, now: float, width: int, room: int, tall: bool
) -> tuple[list[Line], Extent | None]:
    if state.mode is Mode.HELP:
        whole = render_help(width)
        top = max(0, min(state.help_scroll, len(whole) - room))
        return whole[top : top + room], Extent(len(whole), top)
    rows = len(state.visible_sessions())
    if not rows:
        return _render_empty(state), None
    if not tall and (state.show_detail or rows + MIN_DETAIL_LINES > room):
        return (
            render_detail(state, now, width, room)
            if state.show_detail
            else (render_table(state, now, width, room), None)
        )
    upper = min(rows + 1, 6 if state.show_detail else max(6, room * 45 // 100))
    lines = [*render_table(state, now, width, upper), []]
    pane, extent = render_detail(state, now, width, room - len(lines))
    return [*lines, *pane], extent


def _render_empty(state: State) -> list[Line]:
    if state.snapshot is None:
        return []
    if state.sessions:
        return [[], styled((f"  no session matches “{visible(state.filter)}”", Theme.DIM))]
    return [
        [],
        styled(("  No session yet.", Theme.BOLD)),
        [],
        styled("  Press ", ("n", Theme.KEY), " for a new one, or in another window:"),
        styled(("    trio-broker demo                      three agents at play", Theme.DIM)),
        styled(('    trio-broker claude "fix the tests"    prompt an agent', Theme.DIM)),
    ]


def _render_footer(state: State, width: int) -> tuple[list[Line], tuple[int, int] | None]:
    """The last lines: what is being typed, a question, a notice, or the keys; and where the cursor is."""
    if state.mode is Mode.CONFIRM and state.confirmation is not None:
        text = clip(f" {visible(state.confirmation.text)} ", width - 16)
        return [styled((text, Theme.ALARM), "  ", ("y", Theme.KEY), "es  ", ("n", Theme.KEY), "o")], None
    if state.mode is Mode.HELP:
        return [styled((" any key goes back", Theme.DIM))], None
    if state.focus is not None and state.focus.confirming is not None:
        chosen = state.focus.confirming
        text = clip(f" not only this once? {kind_words(chosen)}: {visible(chosen.name)} ", width - 12)
        return [styled((text, Theme.ALARM), "  ", ("y", Theme.KEY), "es  ", ("n", Theme.KEY), "o")], None
    if state.focus is not None and state.focus.form is not None:
        return _render_form_input(state, state.focus.form, width)
    if state.mode in INPUT_LABELS:
        lines, (column, row) = _render_input(_input_label(state), state.editor, width)
        above = [] if state.notice is None else _render_notice(state.notice, width)[:1]
        return [*above, *lines], (column, row + len(above))
    if state.notice is not None:
        return _render_notice(state.notice, width), None
    return [render_key_hints(state, width)], None


def _render_notice(notice: tuple[str, float, bool], width: int) -> list[Line]:
    """A line, or for what went wrong as many as it takes, within reason: its end says what to do."""
    text, _, error = notice
    style = Theme.ERROR if error else Theme.SUCCESS
    lines = _wrap_at_most(visible(text), width - 2, MAX_NOTICE_LINES if error else 1)
    return [styled((f" {line}", style)) for line in lines]


def _wrap_at_most(text: str, width: int, most: int) -> list[str]:
    lines = wrap(text, width)
    if len(lines) > most:
        lines = [*lines[: most - 1], clip(" ".join(lines[most - 1 :]), width)]
    return lines


FORM_FIELDS = ("agent", "directory", "key")
INPUT_LABELS = {
    Mode.PROMPT: "{} > ",
    Mode.INTERRUPT: "interrupt {} > ",
    Mode.EDIT: "{}, queued > ",
    Mode.NEW: "new session, {}: ",
    Mode.FILTER: "/",
}


def _input_label(state: State) -> str:
    what = FORM_FIELDS[len(state.form)] if state.mode is Mode.NEW else clip(visible(state.selected or ""), 24)
    return INPUT_LABELS[state.mode].format(what)


def _render_form_input(
    state: State, form: FormInput, width: int
) -> tuple[list[Line], tuple[int, int] | None]:
    """The field that is typed, below the error of its value; or the last question about all values."""
    notice = (form.error, 0.0, True) if form.error else state.notice
    above = [] if notice is None else _render_notice(notice, width)
    if form.field is None:
        text = styled(
            (" send these values? ", Theme.ALARM), "  ", ("y", Theme.KEY), "es  ", ("n", Theme.KEY), "o"
        )
        return [*above, text], None
    lines, (column, row) = _render_input(form.label, form.editor, width)
    return [*above, *lines], (column, row + len(above))


def _render_input(label: str, editor: Editor, width: int) -> tuple[list[Line], tuple[int, int]]:
    indent = width_of(label)
    room = max(8, width - indent - 1)
    before = _visible_input(editor.text[: editor.cursor])
    rows = [piece for line in _visible_input(editor.text).split("\n") for piece in split_cells(line, room)]
    placed = [piece for line in before.split("\n") for piece in split_cells(line, room)]
    row, column = len(placed) - 1, width_of(placed[-1])
    top = max(0, min(row - MAX_INPUT_LINES + 1, len(rows) - MAX_INPUT_LINES), row - MAX_INPUT_LINES + 1)
    lines = [
        styled((label if at == 0 else " " * indent, Theme.TITLE), text)
        for at, text in enumerate(rows[top : top + MAX_INPUT_LINES], top)
    ]
    return lines, (indent + column, row - top)


def _visible_input(text: str) -> str:
    return "\n".join(visible(line) for line in text.split("\n"))


# The screen as an SVG image: no font is fetched, the viewer uses one that it has

SVG_THEME = TerminalTheme(
    (23, 25, 30),
    (208, 212, 220),
    [
        (23, 25, 30),
        (224, 108, 117),
        (143, 188, 124),
        (229, 192, 123),
        (97, 165, 229),
        (190, 132, 210),
        (86, 182, 194),
        (208, 212, 220),
    ],
)
SVG_TEMPLATE = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
    <style>
    .{unique_id}-matrix {{
        font-family: "Fira Code", "JetBrains Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
        font-size: {char_height}px;
        line-height: {line_height}px;
    }}
    .{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
    {styles}
    </style>
    <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
    </defs>
    {chrome}
    <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
    </g>
</svg>
"""


def render_svg(shown: Screen, width: int) -> str:
    """The screen, so many columns wide, in a window."""
    console = Console(
        width=width, file=io.StringIO(), record=True, force_terminal=True, color_system="truecolor"
    )
    console.print(shown, end="", soft_wrap=True)
    return console.export_svg(
        title="trio-broker top", theme=SVG_THEME, code_format=SVG_TEMPLATE, unique_id="top"
    )
