"""The help: every key, in two columns where there is room for them."""

from __future__ import annotations

from rich.segment import Segment

from trio_broker.tui import look
from trio_broker.tui.text import Line, fit, words

KEYS = 13  # cells for the keys
COLUMN = 38  # cells, at least, for what they do and their keys
Group = tuple[str, tuple[tuple[str, str], ...]]

LEFT: tuple[Group, ...] = (
    (
        "move",
        (
            ("↑ ↓   j k", "another session"),
            ("g G", "the first, the last"),
            ("Enter", "look into it, and back"),
            ("Tab   ← →", "what is shown of it"),
            ("PgUp PgDn", "scroll; End follows again"),
            ("Esc", "back, and clear the filter"),
        ),
    ),
    (
        "answer",
        (
            ("1-9", "so, to the question on top"),
            ("a", "the next question"),
        ),
    ),
    (
        "look",
        (
            ("/", "filter: words in any column"),
            ("s < >", "sort by another column"),
            ("S", "turn the order round"),
            ("Ctrl-L", "draw anew"),
            ("q", "quit; turns go on"),
        ),
    ),
)
RIGHT: tuple[Group, ...] = (
    (
        "act on the session",
        (
            ("p", "prompt"),
            ("i", "interrupt, and prompt"),
            ("c", "cancel the running turn"),
            ("n", "new session"),
            ("r", "observe, take part, leave"),
            ("R", "restart its agent"),
            ("X   K", "close, kill it"),
        ),
    ),
    (
        "its queue (Tab to it)",
        (
            ("e   x", "edit, drop the chosen one"),
            ("[   ]", "have it run earlier, later"),
        ),
    ),
    (
        "while typing",
        (
            ("Enter", "send it"),
            ("Alt-Enter", "a new line; so does Ctrl-J"),
            ("↑ ↓", "earlier prompts"),
            ("Esc", "leave it"),
        ),
    ),
)


def help_lines(width: int) -> list[Line]:
    if width < 2 * COLUMN:
        return [[], *_column(LEFT), [], *_column(RIGHT)]
    left, right = _column(LEFT), _column(RIGHT)
    longest = max(len(left), len(right))
    column = max(COLUMN, min(56, width // 2))
    return [
        [],
        *([*fit(_line(left, at), column), *_line(right, at)] for at in range(longest)),
    ]


def _line(lines: list[Line], at: int) -> Line:
    return lines[at] if at < len(lines) else [Segment("")]


def _column(groups: tuple[Group, ...]) -> list[Line]:
    lines: list[Line] = []
    for title, keys in groups:
        lines += [[]] if lines else []
        lines.append(words((f"  {title}", look.TITLE)))
        lines += [words((f"  {key:<{KEYS - 2}}", look.KEYS), text) for key, text in keys]
    return lines
