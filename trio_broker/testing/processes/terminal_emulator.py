"""A full-screen program in a window of its own, as a person at a terminal has it. Needs pyte, which draws the window.

with TerminalEmulator(home.env, "top") as window:
    window.see("SESSION")
    window.type("q")
    assert window.end() == 0
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping
from typing import Self

import pyte

from trio_broker.testing.processes.home import LIMIT, TRIO_BROKER

BEGIN, END = b"\x1b[?2026h", b"\x1b[?2026l"  # what stands between is drawn at once
MARK = b"\0"  # no program writes it, and no terminal shows it


class TerminalEmulator:
    """`trio-broker WORDS` in a window; `text` is what a terminal would show, `raw` all that was written to it."""

    def __init__(
        self, env: Mapping[str, str], *words: str, columns: int = 100, lines: int = 32, **more: str
    ) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self._master, self._slave = pty.openpty()
        self._resize(columns, lines)
        self.before = self.settings()
        self.process = subprocess.Popen(
            [*TRIO_BROKER, *words],
            stdin=self._slave, stdout=self._slave, stderr=self._slave,
            env={**env, "TERM": "xterm-256color", **more},
            start_new_session=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(LIMIT)
        os.close(self._master)
        os.close(self._slave)

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    def settings(self) -> list[object]:
        """How the terminal is set: echo, whole lines or single keys, and the like."""
        return list(termios.tcgetattr(self._slave))

    def see(self, *texts: str) -> None:
        """Wait until all of these stand on the screen at once."""
        self._until(lambda: all(text in self.text for text in texts), texts)

    def see_no(self, text: str) -> None:
        """Wait until this stands nowhere on it."""
        self._until(lambda: text not in self.text, (f"still {text}",))

    def _until(self, holds: Callable[[], bool], what: tuple[str, ...]) -> None:
        deadline = time.monotonic() + LIMIT
        while not holds():
            assert time.monotonic() < deadline and self.process.poll() is None, f"no {what} in:\n{self.text}"
            self.read(0.1)

    def read(self, patience: float) -> bool:
        """Take what it writes, waiting for so many seconds; whether there was something."""
        ready, _, _ = select.select([self._master], [], [], patience)
        if not ready:
            return False
        data = os.read(self._master, 65536)
        self.raw += data
        self._stream.feed(data)
        if self.raw.rfind(BEGIN) > self.raw.rfind(END):  # half a frame, which a terminal does not show either
            self.read(patience)
        return True

    def drain(self) -> None:
        """Take all that has been written, also what the kernel hands on a moment later: a mark goes behind it."""
        marks = self.raw.count(MARK)
        os.write(self._slave, MARK)
        while self.raw.count(MARK) == marks:
            assert self.read(LIMIT), "it is clogged"

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def press(self, key: str, *, until: str) -> None:
        """Press a key again and again until this stands on the screen: something that a press too many leaves there."""
        deadline = time.monotonic() + LIMIT
        while until not in self.text:
            assert time.monotonic() < deadline, f"no {until!r} in:\n{self.text}"
            self.type(key)
            self.read(0.2)

    def block_output(self) -> None:
        """Fill what lies between it and the window, so that the terminal takes nothing more."""
        full = os.open(os.ttyname(self._slave), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        while select.select([], [full], [], 0.3)[1]:  # the kernel hands on what it was given, a moment later
            with contextlib.suppress(BlockingIOError):
                os.write(full, b"." * 512)
        os.close(full)

    def _resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns: int, lines: int) -> None:
        """Have the window another size, as its owner does who pulls at its corner."""
        self._resize(columns, lines)
        self.screen.resize(lines, columns)
        os.kill(self.process.pid, signal.SIGWINCH)

    def end(self) -> int:
        """Its exit code, when it has ended; the terminal has to be as it was."""
        deadline = time.monotonic() + LIMIT
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "it does not end"
            self.read(0.05)
        self.drain()
        assert self.settings() == self.before
        for on, off in (
            (b"\x1b[?1049h", b"\x1b[?1049l"),
            (b"\x1b[?25l", b"\x1b[?25h"),
            (b"\x1b[?2004h", b"\x1b[?2004l"),
        ):
            assert on not in self.raw or self.raw.rfind(off) > self.raw.rfind(on)
        return self.process.returncode
