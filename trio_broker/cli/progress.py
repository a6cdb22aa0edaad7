"""What is told to a person who waits: one line on stderr, of who works, for how long, and what it said last.

Only at a terminal; anywhere else nothing is written. The line is gone when the thing is done.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from trio_broker.cli.output import ago, safe

EVERY = 0.25  # seconds between two looks
AFTER = 0.5  # seconds until the first: what is quick needs none


class Progress:
    """`last` is what was said last; `draw` shows it."""

    def __init__(self, what: str) -> None:
        self.what, self.last = what, ""
        self._begun = time.monotonic()
        self._drawn = False

    def draw(self) -> None:
        elapsed = time.monotonic() - self._begun
        if elapsed < AFTER or not sys.stderr.isatty():
            return
        text = f"[{self.what}] {ago(elapsed)}" + (f": {safe(self.last.strip())}" if self.last.strip() else "")
        self._drawn = True
        sys.stderr.write(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}")
        sys.stderr.flush()

    def clear(self) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


@asynccontextmanager
async def progress(what: str) -> AsyncGenerator[Progress, None]:
    """Show how it goes while the block runs. An error that leaves the block does so within an ExceptionGroup."""
    import trio

    shown = Progress(what)

    async def run() -> None:
        while True:
            shown.draw()
            await trio.sleep(EVERY)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            yield shown
            nursery.cancel_scope.cancel()
    finally:
        shown.clear()
