"""Output on a terminal: text of agents without control characters, tables, durations, JSON, and a progress line.

Everything that an agent says goes through `safe` or `safe_lines`, so that it cannot move the cursor or set a title.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import click

from trio_broker.protocol.visible_text import escape_json, escape_line, escape_lines

DRAW_INTERVAL = 0.25  # seconds between two looks
DRAW_DELAY = 0.5  # seconds until the first: what is quick needs none
MAX_NOTE = 110  # characters


def safe(text: str) -> str:
    """One line in which control and invisible characters are written out."""
    return escape_line(text)


def safe_lines(text: str) -> str:
    """The same, with newlines and tabs left in."""
    return escape_lines(text)


def safe_json(raw: bytes) -> bytes:
    """The same JSON on one line, with control and invisible characters escaped."""
    return escape_json(raw)


def format_duration(seconds: float | None) -> str:
    """A length of time in its two largest units: 4.2s, 3m10s, 2h05m."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}h{minute:02}m" if hours else f"{minute}m{second:02}s"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell."""
    lines = [head, *rows]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def _width(text: str) -> int:
    """How many columns of a terminal it takes: ideographs and most emoji two, what goes onto the one before none."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # late: most tables do without

    return cell_len(text)


def sessions_table(sessions: list[dict[str, Any]]) -> str:
    rows = [
        (
            safe(view["key"]),
            safe(view["agent"]),
            view["phase"],
            format_duration(view["phase_for"]),
            format_duration(view["quiet_for"]),
            str(view["queue"] or "-"),
            str(view["pid"] or "-"),
            _session_note(view),
        )
        for view in sessions
    ]
    return table(("SESSION", "AGENT", "PHASE", "FOR", "QUIET", "QUEUE", "PID", ""), rows)


def _session_note(view: dict[str, Any]) -> str:
    """What went wrong, else the title. Who it is stands in a column already, and what is left out is marked."""
    text = (view["error"] or view["title"] or "").split("\n")[0]
    text = safe(text.removeprefix(f"agent {view['agent']!r} "))
    return text if len(text) <= MAX_NOTE else text[: MAX_NOTE - 1] + "…"


def print_json(value: object) -> None:
    """One JSON object on one line."""
    click.echo(safe_json(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")))


def print_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # stdout belongs to the answer


class Progress:
    """`last` is what was said last; `draw` shows it."""

    def __init__(self, task: str) -> None:
        self.task, self.last = task, ""
        self._started = time.monotonic()
        self._drawn = False

    def draw(self) -> None:
        elapsed = time.monotonic() - self._started
        if elapsed < DRAW_DELAY or not sys.stderr.isatty():
            return
        import shutil  # late: few commands take that long

        text = f"[{self.task}] {format_duration(elapsed)}" + (
            f": {safe(self.last.strip())}" if self.last.strip() else ""
        )
        self._drawn = True
        sys.stderr.write(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}")
        sys.stderr.flush()

    def clear(self) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


@asynccontextmanager
async def progress(task: str) -> AsyncGenerator[Progress, None]:
    """Show how it goes while the block runs. An error that leaves the block does so within an ExceptionGroup."""
    import trio

    progress_line = Progress(task)

    async def draw_repeatedly() -> None:
        while True:
            progress_line.draw()
            await trio.sleep(DRAW_INTERVAL)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(draw_repeatedly)
            yield progress_line
            nursery.cancel_scope.cancel()
    finally:
        progress_line.clear()
