"""The things of a transcript as lines: Markdown, thoughts, tool calls with their diffs, plans with their ticks.

What was laid out once is remembered: of a message that grows, only its last paragraph is laid out anew.
"""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Heading, Markdown
from rich.segment import Segment
from rich.style import Style

from trio_broker.tui.text import (
    PLAN_STYLES,
    TOOL_STYLES,
    Line,
    Theme,
    clip,
    styled,
    visible,
    visible_lines,
    wrap,
)
from trio_broker.tui.transcript import Item, content_text

Json = dict[str, Any]
MAX_OUTPUT_LINES = 12  # lines of a tool's output or diff
MAX_DIFF_CHARACTERS = 100_000  # characters that are compared
_FENCE = re.compile(r"^ {0,3}(```|~~~)")


class _Heading(Heading):
    """At the left, and no box around it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "left"
        yield self.text


class _Markdown(Markdown):
    elements = Markdown.elements | {"heading_open": _Heading}


@lru_cache(maxsize=600)
def render_item(item: Item, width: int) -> tuple[Line, ...]:
    """The lines of one thing, at most `width` cells each, an empty one before where a new thought begins."""
    return tuple(_RENDERERS.get(item.kind, _render_note)(item, max(10, width)))


def _render_text(item: Item, width: int) -> Iterator[Line]:
    for block in split_blocks(visible_lines(item.text)):
        yield []
        yield from render_markdown(block, width)


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


def _render_prompt(item: Item, width: int) -> Iterator[Line]:
    yield []
    for number, line in enumerate(wrap(visible_lines(item.text), width - 2)):
        yield styled(("> " if number == 0 else "  ", Theme.TITLE), (line, Theme.BOLD))


def _render_thought(item: Item, width: int) -> Iterator[Line]:
    yield []
    thought = Style(dim=True, italic=True)
    for line in wrap(visible_lines(item.text).strip("\n"), width - 2):
        yield styled(("┊ ", Theme.DIM), (line, thought))


def _render_tool_call(item: Item, width: int) -> Iterator[Line]:
    data = item.data
    status = str(data.get("status") or "pending")
    glyph, style = TOOL_STYLES.get(status, ("◇", Theme.DIM))
    kind = visible(data.get("kind") or "")
    state = "" if status == "completed" else f"  {visible(status).replace('_', ' ')}"
    yield []
    title = clip(visible(item.text), max(8, width - len(kind) - len(state) - 6))
    yield styled((f"{glyph} ", style), (title, Theme.PLAIN), (state, style), (f"  {kind}", Theme.DIM))
    content = data.get("content")
    lines = (
        [line for part in content if isinstance(part, dict) for line in _render_content(part, width - 4)]
        if isinstance(content, list)
        else []
    )
    yield from ([Segment("  │ ", Theme.DIM), *line] for line in lines[:MAX_OUTPUT_LINES])
    if len(lines) > MAX_OUTPUT_LINES:
        yield styled((f"  │ … {len(lines) - MAX_OUTPUT_LINES} more lines", Theme.DIM))


def _render_content(part: Json, width: int) -> Iterator[Line]:
    if part.get("type") == "diff":
        yield styled((clip(visible(part.get("path")), width), Theme.DIM))
        yield from _render_diff(str(part.get("oldText") or ""), str(part.get("newText") or ""), width)
    elif part.get("type") == "terminal":
        yield styled((f"terminal {visible(part.get('terminalId'))}", Theme.DIM))
    else:
        text = visible_lines(content_text(part.get("content"))[:MAX_DIFF_CHARACTERS]).rstrip("\n")
        yield from (styled((clip(line, width), Theme.DIM)) for line in text.split("\n"))


def _render_diff(old: str, new: str, width: int) -> Iterator[Line]:
    before, after = old[:MAX_DIFF_CHARACTERS].splitlines(), new[:MAX_DIFF_CHARACTERS].splitlines()
    if len(before) + len(after) > 2000:
        yield styled((f"{len(before)} lines become {len(after)}", Theme.DIM))
        return
    for line in list(difflib.unified_diff(before, after, lineterm="", n=2))[2:]:
        style = {"+": Theme.ADDED, "-": Theme.REMOVED, "@": Theme.ACCENT}.get(line[:1], Theme.DIM)
        yield styled((clip(visible(line), width), style))


def _render_plan(item: Item, width: int) -> Iterator[Line]:
    entries = item.data.get("entries")
    yield []
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            glyph, style = PLAN_STYLES.get(str(entry.get("status")), ("·", Theme.DIM))
            shown = Theme.DIM if glyph != "▸" else Theme.PLAIN
            yield styled((f"{glyph} ", style), (clip(visible(entry.get("content")), width - 2), shown))


def _render_request(item: Item, width: int) -> Iterator[Line]:
    yield styled(("▲ ", Theme.ATTENTION), (clip(visible(item.text), width - 2), Theme.WARNING))


def _render_answer(item: Item, width: int) -> Iterator[Line]:
    yield styled(("↳ ", Theme.DIM), clip(visible(item.text), width - 2))


def _render_end(item: Item, width: int) -> Iterator[Line]:
    failed = item.text.startswith(("failed", "unknown"))
    yield []
    for line in wrap(visible(item.text), width - 4):
        yield styled(("── ", Theme.DIM), (line, Theme.ERROR if failed else Theme.DIM))


def _render_note(item: Item, width: int) -> Iterator[Line]:
    for line in wrap(visible(item.text), width - 2):
        yield styled(("· ", Theme.DIM), (line, Theme.DIM))


_RENDERERS = {
    "text": _render_text,
    "prompt": _render_prompt,
    "thought": _render_thought,
    "tool": _render_tool_call,
    "plan": _render_plan,
    "ask": _render_request,
    "answer": _render_answer,
    "end": _render_end,
}
