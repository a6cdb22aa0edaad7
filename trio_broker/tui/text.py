"""Text in terminal cells: made safe to print, measured, clipped, wrapped, styled, and rendered from Markdown.

Every string from an agent or from another person passes `visible` or `visible_lines` before it is drawn.
"""

from __future__ import annotations

import io
import os.path
import re
from collections.abc import Iterator
from functools import lru_cache

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Heading, Markdown
from rich.segment import Segment
from rich.style import Style

from trio_broker.protocol.visible_text import escape_line, escape_lines

Line = list[Segment]


class Theme:
    """Styles in the sixteen colours of the terminal's own theme. A glyph or a word stands beside each colour."""

    PLAIN = Style()
    DIM = Style(dim=True)
    BOLD = Style(bold=True)
    ACCENT = Style(color="cyan")
    TITLE = Style(color="cyan", bold=True)
    SUCCESS = Style(color="green")
    ERROR = Style(color="red")
    ALARM = Style(color="red", bold=True)
    ATTENTION = Style(color="yellow", bold=True)
    WARNING = Style(color="yellow")
    KEY = Style(bold=True)
    SELECTED = Style(reverse=True)
    ADDED = Style(color="green")
    REMOVED = Style(color="red")


_PHASE_STYLES: dict[str, tuple[str, Style]] = {
    "starting": ("◔", Style(color="blue")),
    "idle": ("○", Theme.DIM),
    "working": ("●", Style(color="green")),
    "waiting": ("▲", Theme.ATTENTION),
    "cancelling": ("◌", Style(color="magenta")),
    "suspended": ("‖", Theme.DIM),
    "dead": ("✗", Theme.ALARM),
    "closed": ("·", Theme.DIM),
}
TOOL_STYLES: dict[str, tuple[str, Style]] = {
    "pending": ("◇", Theme.DIM),
    "in_progress": ("◈", Theme.ACCENT),
    "completed": ("✓", Theme.SUCCESS),
    "failed": ("✗", Theme.ERROR),
}
PLAN_STYLES: dict[str, tuple[str, Style]] = {
    "completed": ("✓", Theme.SUCCESS),
    "in_progress": ("▸", Theme.TITLE),
    "pending": ("·", Theme.DIM),
}
MARKER = "▌"
_BARS = "▁▂▃▄▅▆▇█"


def phase_style(name: str) -> tuple[str, Style]:
    return _PHASE_STYLES.get(name, ("?", Theme.PLAIN))


def sparkline(samples: tuple[float, ...], width: int) -> str:
    """The samples as bars, the newest at the right; the highest of them is full."""
    top = max(samples, default=0.0)
    bars = "".join(_BARS[min(7, int(sample / top * 7.999))] if sample else " " for sample in samples[-width:])
    return bars.rjust(width)


MAX_CHARACTERS_PER_CELL = 8  # characters in a cell: more combining ones are a prank


def visible(text: object) -> str:
    """One line: control characters are drawn (ESC as ␛), invisible ones are spelled out."""
    return escape_line(str(text), pictures=True)


def visible_lines(text: str) -> str:
    """The same, with newlines left in, and tabs as spaces."""
    return escape_lines(text.replace("\r\n", "\n").expandtabs(4), pictures=True)


def width_of(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)


def clip(text: str, width: int) -> str:
    """The beginning of a text in at most `width` cells, with an ellipsis if that is not all."""
    if text.isascii() and len(text) <= width:
        return text
    text = text[: width * MAX_CHARACTERS_PER_CELL]
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + "…" if width > 0 else ""


def clip_start(text: str, width: int) -> str:
    """The end of a text in at most `width` cells."""
    if width_of(text) <= width:
        return text
    while text and width_of(text) > width - 1:
        text = text[max(1, (width_of(text) - width) // 2) :]
    return f"…{text}" if width > 0 else ""


def pad(text: str, width: int, *, right: bool = False) -> str:
    """A text in exactly `width` cells, clipped or filled up; numbers stand at the right."""
    text = clip(text, width)
    space = " " * (width - width_of(text))
    return space + text if right else text + space


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` cells, broken at spaces where there are any."""
    lines: list[str] = []
    for line in text.split("\n"):
        lines.extend(_wrap_one(line, max(1, width)))
    return lines


def _wrap_one(line: str, width: int) -> list[str]:
    if width_of(line) <= width:
        return [line]
    found, present, used = [], "", 0
    for word in line.split(" "):
        cells = width_of(word)
        if present and used + 1 + cells > width:
            found.append(present)
            present, used = "", 0
        if cells > width:
            *whole, word = chop_cells(f"{present} {word}" if present else word, width)
            found.extend(whole)
            present, used = word, width_of(word)
        else:
            present = f"{present} {word}" if present else word
            used = width_of(present)
    return [*found, present]


def split_cells(text: str, width: int) -> list[str]:
    """Pieces of at most `width` cells, broken anywhere: no character is lost."""
    pieces, present, used = [], "", 0
    for character in text:
        cells = width_of(character)
        if used + cells > width:
            pieces.append(present)
            present, used = "", 0
        present, used = present + character, used + cells
    return [*pieces, present]


def fit(line: Line, width: int) -> Line:
    """A line of exactly `width` cells."""
    used = sum(width_of(segment.text) for segment in line)
    if used <= width:
        return [*line, Segment(" " * (width - used))] if used < width else line
    cut, used = [], 0
    for segment in line:
        cells = width_of(segment.text)
        if used + cells > width - 1:
            cut.append(Segment(pad(segment.text + "…", width - used), segment.style))
            break
        cut.append(segment)
        used += cells
    return cut


def styled(*parts: str | tuple[str, Style | None]) -> Line:
    """A line of texts, each with or without a style."""
    return [Segment(part) if isinstance(part, str) else Segment(*part) for part in parts]


_FENCE = re.compile(r"^ {0,3}(```|~~~)")


class _Heading(Heading):
    """At the left, and no box around it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "left"
        yield self.text


class _Markdown(Markdown):
    elements = Markdown.elements | {"heading_open": _Heading}


@lru_cache(maxsize=600)
def render_markdown(block: str, width: int) -> tuple[Line, ...]:
    """One paragraph, list, table or piece of code."""
    console = _console(width)
    rendered = console.render_lines(_Markdown(block, code_theme="ansi_dark", hyperlinks=False), pad=False)
    lines = [[Segment(part.text, part.style) for part in line if not part.control] for line in rendered]
    while lines and not "".join(part.text for part in lines[-1]).strip():
        lines.pop()
    while lines and not "".join(part.text for part in lines[0]).strip():
        lines.pop(0)
    return tuple(lines)


@lru_cache(maxsize=4)
def _console(width: int) -> Console:
    return Console(
        file=io.StringIO(), width=width, force_terminal=True, color_system="standard", legacy_windows=False
    )


def split_blocks(text: str) -> Iterator[str]:
    """The parts of a Markdown text that an empty line divides, code and lists kept together."""
    block: list[str] = []
    fenced = False
    for line in text.split("\n"):
        ends = bool(block) and not block[-1].strip() and not _continues_block(line)
        if line.strip() and ends and not fenced:
            yield "\n".join(block).rstrip()
            block = []
        if block or line.strip():
            block.append(line)
        fenced ^= _FENCE.match(line) is not None
    if "".join(block).strip():
        yield "\n".join(block).rstrip()


def _continues_block(line: str) -> bool:
    return line[:1] in " -*+" or line[:1].isdigit()


def format_duration(seconds: float | None) -> str:
    """A length of time in its two largest units, at most six cells: 4s, 3m10s, 2h05m, 3d04h."""
    if seconds is None:
        return "-"
    whole = max(0, int(seconds))
    for unit, below, name, smaller_unit in ((86400, 3600, "d", "h"), (3600, 60, "h", "m"), (60, 1, "m", "s")):
        if whole >= unit:
            return (
                f"{whole // unit}{name}{whole % unit // below:02}{smaller_unit}"
                if whole < unit * 1000
                else "ages"
            )
    return f"{whole}s"


def format_number(number: float | None, *, base: int = 1000) -> str:
    """A number in at most four cells and a unit: 950, 4.2k, 45k, 1.2M."""
    if number is None:
        return "-"
    for unit in ("", "k", "M", "G", "T"):
        if abs(number) < base or unit == "T":
            break
        number /= base
    return f"{number:.1f}{unit}" if unit and abs(number) < 10 else f"{number:.0f}{unit}"


def short_path(path: str, home: str = os.path.expanduser("~")) -> str:
    inside = path == home or path.startswith(home + "/")
    return "~" + path[len(home) :] if inside and len(home) > 1 else path
