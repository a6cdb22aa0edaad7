"""The question in lines: which session asks, what would be done, and the choices with their keys.

What the agent wrote stands behind a frame at the left, each row of it. The choices stand below the frame's last line,
and have their kinds in our words. So nothing that an agent writes looks like a choice, or like the end of its text.
"""

from __future__ import annotations

from functools import lru_cache

from rich.segment import Segment
from rich.style import Style

from trio_broker.client.request_text import request_lines
from trio_broker.tui.question.focus import DrawnQuestion
from trio_broker.tui.question.model import (
    LETTERS,
    AnswerChoice,
    Focus,
    Json,
    Question,
)
from trio_broker.tui.state import State
from trio_broker.tui.text import (
    Line,
    Theme,
    clip,
    format_duration,
    pad,
    split_cells,
    styled,
    visible,
    width_of,
)

MAX_OTHERS = 2  # other questions that have a line
MAX_PREVIEW = 8  # rows of a question without the focus ...
MAX_TALL_PREVIEW = 12  # ... in a tall window
TALL_PREVIEW_HEIGHT = 14  # lines of room from which on the preview is a tall one
KEYS_WIDTH = 8  # cells of the keys of a choice
KIND_WIDTH = 13  # cells of the longest kind: "reject always"
TITLE_WIDTH = 28  # cells of the name of a session
LINE_STYLES = {
    "title": Theme.BOLD,
    "label": Theme.DIM,
    "command": Theme.BOLD,
    "path": Theme.ACCENT,
    "url": Theme.ACCENT,
    "input": Theme.PLAIN,
    "hunk": Theme.ACCENT,
    "added": Theme.ADDED,
    "removed": Theme.REMOVED,
    "context": Theme.DIM,
    "note": Theme.WARNING,
}
FIELD_HINT = "Enter next field   ↑ the field before   PgUp PgDn scroll   Esc leaves the form"
VALUES_HINT = "y sends these values   ↑ the field before   PgUp PgDn scroll   n Esc leaves"

Panel = tuple[list[Line], DrawnQuestion | None]


def render_questions(state: State, now: float, width: int, height: int) -> Panel:
    """The question of the selected session, and a line for each of some others, in at most `height` lines."""
    requests, current = state.requests(), state.current_request()
    if not requests or height < 2:
        return [], None
    if current is None:
        lines = render_headings(state, now, width - 12, min(height, 1 + MAX_OTHERS))
        lines[0] += styled("  ", ("a", Theme.KEY), (" shows it", Theme.DIM))
        return lines, None
    others = [one for one in requests if one[1] is not current[1]]
    if state.focus is not None:
        return _render_focused(current, len(others), state, state.focus, now, width, height)
    lines = _render_preview(current, state, now, width, height)
    room = max(0, min(MAX_OTHERS, height - len(lines)))
    lines += [_heading(*one, state.broker_time(now), width, Theme.WARNING) for one in others[:room]]
    return _with_more(lines, len(others) - room), DrawnQuestion(state.question())


def _with_more(lines: list[Line], more: int) -> list[Line]:
    """With the number of those that have no line, behind the first line."""
    return [[*lines[0], Segment(f"  +{more} more", Theme.ATTENTION)], *lines[1:]] if more > 0 else lines


def render_headings(state: State, now: float, width: int, height: int) -> list[Line]:
    """A line for each question, in at most `height` lines, the longest waiting first."""
    requests, at = state.requests(), state.broker_time(now)
    lines = [_heading(*one, at, width, Theme.WARNING) for one in requests[:height]]
    return _with_more(lines, len(requests) - len(lines))


def _heading(session: Json, request: Json, at: float, width: int, style: Style) -> Line:
    since = "-" if request["since"] is None else format_duration(at - request["since"])
    who = clip(visible(session["key"]), TITLE_WIDTH)
    left = width - width_of(who) - len(since) - 15
    title = clip(visible(request["title"] or request["method"]), max(8, left))
    return styled(("▲ ", style), (who, Theme.BOLD), "  ", (title, style), (f"  {since}", Theme.DIM))


# Without the focus


def _render_preview(
    current: tuple[Json, Json], state: State, now: float, width: int, height: int
) -> list[Line]:
    heading = _heading(*current, state.broker_time(now), width, Theme.ATTENTION)
    most = MAX_TALL_PREVIEW if height >= TALL_PREVIEW_HEIGHT else MAX_PREVIEW
    room = min(most, height - 2)
    question = state.question()
    rows = _body(question, heading, state, width - 2)
    shown = rows[:room]
    if len(rows) > len(shown) and shown:
        shown = [
            *shown[:-1],
            styled((f"… {len(rows) - len(shown) + 1} more lines, v shows all", Theme.WARNING)),
        ]
    names = " / ".join(visible(choice.name) for choice in question.choices) if question else ""
    answers = styled(
        ("  a", Theme.KEY), (clip(f" answers it: {names}" if names else " answers it", width - 4), Theme.DIM)
    )
    return [heading, *(styled(("│ ", Theme.DIM)) + row for row in shown), answers]


# With the focus


def _render_focused(
    current: tuple[Json, Json], others: int, state: State, focus: Focus, now: float, width: int, height: int
) -> Panel:
    heading = _heading(*current, state.broker_time(now), width, Theme.ATTENTION)
    heading = _with_more([heading], others)[0]
    question = state.question()
    form = focus.form
    if form is None:
        choices = _choice_lines(question, width, max(1, height - 3))
        rows = _body(question, heading, state, width - 2)
    else:
        hint = FIELD_HINT if form.field is not None else VALUES_HINT
        choices = [styled((f"  {clip(hint, width - 2)}", Theme.DIM))]
        rows = _rows([(text, LINE_STYLES[style]) for text, style in form.lines()], width - 2)
    room = height - 2 - len(choices or [[]])
    if choices is None or room < 1:
        text = "  make the window larger to see its choices"
        return [heading, styled((text, Theme.ERROR))][:height], DrawnQuestion(question, lacks_room=True)
    max_scroll = max(0, len(rows) - room)
    top = min(focus.scroll, max_scroll)
    shown = rows[top : top + room]
    frame = [styled(("┃ ", Theme.ATTENTION)) + row for row in shown]
    lines = [heading, *frame, _bottom(top, len(shown), len(rows), focus, width), *choices]
    complete = form if form is not None and form.field is None else None
    return lines, DrawnQuestion(question, max_scroll, answerable=question is not None, form=complete)


def _bottom(top: int, shown: int, rows: int, focus: Focus, width: int) -> Line:
    """The end of the frame: which part of the text stands above it."""
    if rows == shown:
        return styled(("┗━", Theme.ATTENTION))
    more = " ↑ ↓ PgUp PgDn scroll" if focus.full else " ↑ ↓ scroll · v opens it in full"
    text = f" lines {top + 1}-{top + shown} of {rows} ·{more}"
    return styled(("┗━", Theme.ATTENTION), (clip(text, width - 2), Theme.WARNING))


def _choice_lines(question: Question | None, width: int, height: int) -> list[Line] | None:
    """The choices, each in a line of its own where there is room; None where they cannot all be read."""
    if question is None:
        return []
    if not question.choices:
        method = visible(question.ask["method"])
        return [styled(("  answer it with a client that can: ", Theme.DIM), clip(method, width - 36))]
    hint = [styled((f"  {clip(text, width - 2)}", Theme.DIM)) for text in _hints(question)]
    room = height - len(hint)
    if room < 1:
        return None
    columns = -(-len(question.choices) // room)
    widest = max(width_of(visible(choice.name)) for choice in question.choices)
    if columns > 1 and width // columns < widest + KEYS_WIDTH:
        return None
    labels = [
        _choice_label(number, choice, width // columns) for number, choice in enumerate(question.choices, 1)
    ]
    rows = [labels[at : at + columns] for at in range(0, len(labels), columns)]
    return [[part for label in row for part in label] for row in rows] + hint


def _hints(question: Question) -> list[str]:
    more = len(question.ask["options"]) - len(question.choices)
    return [f"{more} more: `trio-broker allow {visible(question.ask['askId'])}`"] if more > 0 else []


def _choice_label(number: int, choice: AnswerChoice, width: int) -> Line:
    """The keys, the kind in our words, and the name, which is the agent's and can lie: it stands last."""
    room = width - KEYS_WIDTH
    kind = pad(kind_words(choice), KIND_WIDTH) + "  " if room >= 2 * KIND_WIDTH else ""
    style = (
        Theme.ERROR if choice.is_rejection else Theme.WARNING if choice.needs_confirmation else Theme.SUCCESS
    )
    return styled(
        (f"  {choice.letter or ' '} ", Theme.KEY),
        (f" {number} ", Theme.SELECTED),
        (f" {kind}", style),
        (pad(visible(choice.name), room - len(kind)), style),
    )


def kind_words(choice: AnswerChoice) -> str:
    """The kind of an option, for a person."""
    return choice.kind.replace("_", " ") if choice.kind in LETTERS else "other"


# The text


def _body(question: Question | None, heading: Line, state: State, width: int) -> list[Line]:
    """What would be done, in rows; without the title, if the whole of it stands in the heading."""
    if question is not None:
        first, *more = _wrapped(question, width)
        is_repeated = any(part.text == first[0].text for part in heading)
        return more if is_repeated and more else [first, *more]
    if state.fetch_error is not None and state.fetch_error[0] == state.selected_request:
        text = f"what it asks could not be loaded, and is tried again: {visible(state.fetch_error[1])}"
        return [styled((piece, Theme.ERROR)) for piece in split_cells(text, width)]
    return [styled(("loading what it asks …", Theme.DIM))]


@lru_cache(maxsize=8)
def _wrapped(question: Question, width: int) -> tuple[Line, ...]:
    """The rows of a request, and of choices that are too long for their lines.

    A row that goes on with a long line says so, or it could look like a line of a diff.
    """
    lines = [(line.text, LINE_STYLES.get(line.style, Theme.PLAIN)) for line in request_lines(question.ask)]
    for number, choice in enumerate(question.choices, 1):
        name = visible(choice.name)
        if width_of(name) > width - KEYS_WIDTH - KIND_WIDTH:
            lines.append((f"all of choice {number}: {name}", Theme.PLAIN))
    return tuple(_rows(lines, width))


def _rows(lines: list[tuple[str, Style]], width: int) -> list[Line]:
    rows: list[Line] = []
    for text, style in lines:
        first, *more = split_cells(text, width - 2)
        rows.append(styled((first, style)))
        rows += [styled(("… ", Theme.ATTENTION), (piece, style)) for piece in more]
    return rows
