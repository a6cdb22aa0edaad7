"""The help: every key, in two columns where there is room for them."""

from __future__ import annotations

from rich.segment import Segment

from trio_broker.tui.text import Line, Theme, fit, styled

KEY_WIDTH = 13  # cells for the keys
COLUMN_WIDTH = 38  # cells, at least, for what they do and their keys
KeyGroup = tuple[str, tuple[tuple[str, str], ...]]

LEFT_GROUPS: tuple[KeyGroup, ...] = (
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
RIGHT_GROUPS: tuple[KeyGroup, ...] = (
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


def render_help(width: int) -> list[Line]:
    if width < 2 * COLUMN_WIDTH:
        return [[], *_render_groups(LEFT_GROUPS), [], *_render_groups(RIGHT_GROUPS)]
    left, right = _render_groups(LEFT_GROUPS), _render_groups(RIGHT_GROUPS)
    longest = max(len(left), len(right))
    column = max(COLUMN_WIDTH, min(56, width // 2))
    return [
        [],
        *([*fit(_line_at(left, at), column), *_line_at(right, at)] for at in range(longest)),
    ]


def _line_at(lines: list[Line], at: int) -> Line:
    return lines[at] if at < len(lines) else [Segment("")]


def _render_groups(groups: tuple[KeyGroup, ...]) -> list[Line]:
    lines: list[Line] = []
    for title, keys in groups:
        lines += [[]] if lines else []
        lines.append(styled((f"  {title}", Theme.TITLE)))
        lines += [styled((f"  {key:<{KEY_WIDTH - 2}}", Theme.KEY), text) for key, text in keys]
    return lines
