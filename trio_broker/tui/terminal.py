"""The terminal: raw keys, the alternate screen, frames as what has changed; and everything as it was at the end."""

from __future__ import annotations

import os
import select
import signal
import termios
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import trio
from rich.color import ColorSystem
from rich.segment import Segment

from trio_broker.tui.screen import Screen
from trio_broker.tui.text import Line, width_of

ENTER_FULL_SCREEN = "\x1b[?1049h\x1b[?25l\x1b[?2004h\x1b[2J"
LEAVE_FULL_SCREEN = "\x1b[?2004l\x1b[0m\x1b[?25h\x1b[?1049l"
BEGIN_UPDATE, END_UPDATE = (
    "\x1b[?2026h",
    "\x1b[?2026l",
)  # drawn as one, where the terminal can; unknown to the others
LEAVE_TIMEOUT = (
    1.0  # seconds in which a terminal takes our last words; one at the end of a dead connection never does
)
WRITE_SIZE = 1024  # bytes a terminal takes without making us wait once it is writable at all


@attrs.define(eq=False)
class Terminal:
    """`colours` is None for NO_COLOR. Only what differs from the last frame is written."""

    fd_in: int
    fd_out: int
    colours: ColorSystem | None
    _saved_settings: list[int | list[bytes | int]] = attrs.field(factory=list)
    _drawn_lines: list[Line] = attrs.field(factory=list)

    @contextmanager
    def full_screen(self) -> Iterator[None]:
        """Take the terminal over; give it back as it was, whatever ends the block."""
        self._saved_settings = termios.tcgetattr(self.fd_in)
        self._enter()
        try:
            yield
        finally:
            self._leave()

    def _enter(self) -> None:
        raw = termios.tcgetattr(self.fd_in)
        raw[0] &= ~(termios.BRKINT | termios.ICRNL | termios.INPCK | termios.ISTRIP | termios.IXON)
        raw[3] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN | termios.ISIG)
        termios.tcsetattr(self.fd_in, termios.TCSAFLUSH, raw)
        self._write_now(ENTER_FULL_SCREEN)
        self._drawn_lines = []

    def _leave(self) -> None:
        try:
            if select.select([], [self.fd_out], [], LEAVE_TIMEOUT)[
                1
            ]:  # blocking: nothing else is left to be done
                self._write_now(LEAVE_FULL_SCREEN)
            termios.tcsetattr(
                self.fd_in, termios.TCSANOW, self._saved_settings
            )  # not DRAIN, that waits for who does not read
        except (OSError, termios.error):
            pass  # the window is closed: nothing is left to be restored

    def suspend(self) -> None:
        """Ctrl-Z: give the terminal back, stop, and take it over again when we are continued."""
        self._leave()
        os.kill(0, signal.SIGTSTP)
        self._enter()

    def invalidate(self) -> None:
        """Draw all of the next frame: what is on the screen is not what we drew, or has another size."""
        self._drawn_lines = []

    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        try:
            size = os.get_terminal_size(self.fd_out)
        except OSError:
            return 80, 24
        return size.columns or 80, size.lines or 24

    async def read(self) -> bytes:
        """What was typed; b"" when the terminal is gone."""
        await trio.lowlevel.wait_readable(self.fd_in)
        try:
            return os.read(self.fd_in, 4096)
        except OSError:
            return b""

    async def draw(self, screen: Screen) -> None:
        """Bring the screen up to date."""
        parts = [BEGIN_UPDATE, "\x1b[?25l"]
        if len(self._drawn_lines) != len(screen.lines):
            self._drawn_lines = []
            parts.append("\x1b[0m\x1b[2J")
        for number, line in enumerate(screen.lines):
            if not self._drawn_lines or line != self._drawn_lines[number]:
                parts.append(f"\x1b[{number + 1};1H{self.ansi(line)}")
        if screen.cursor is not None:
            parts.append(f"\x1b[{screen.cursor[1] + 1};{screen.cursor[0] + 1}H\x1b[?25h")
        self._drawn_lines = screen.lines
        if len(parts) > 2:
            await self._write("".join((*parts, END_UPDATE)).encode("utf-8", "replace"))

    def ansi(self, line: Line) -> str:
        """A line in escape sequences. After what terminals disagree about the width of, the column is told."""
        parts, column = [], 0
        for segment in line:
            column += width_of(segment.text)
            parts.append(self._ansi_segment(segment))
            if not segment.text.isascii():
                parts.append(f"\x1b[{column + 1}G")
        return "".join(parts)

    def _ansi_segment(self, segment: Segment) -> str:
        style = segment.style
        if style is None:
            return segment.text
        if self.colours is None:
            style = style.without_color
        return style.render(segment.text, color_system=self.colours or ColorSystem.STANDARD)

    async def _write(self, data: bytes) -> None:
        for start in range(0, len(data), WRITE_SIZE):
            await trio.lowlevel.wait_writable(self.fd_out)
            rest = data[start : start + WRITE_SIZE]
            while rest:
                rest = rest[os.write(self.fd_out, rest) :]

    def _write_now(self, text: str) -> None:
        os.write(self.fd_out, text.encode())
