"""The dashboard in a terminal of its own, against a real daemon with scripted agents: seen, used, and ended."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from typing import Any, Self

import pyte
import pytest

from trio_broker.testing.home import LIMIT, TRIO_BROKER, Home, eventually

UP, DOWN, ESC, ENTER = "\x1b[A", "\x1b[B", "\x1b", "\r"


class Window:
    """`trio-broker top` in a window; what stands on the screen is what a terminal would show."""

    def __init__(self, home: Home, *words: str, columns: int = 100, lines: int = 32, **env: str) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self._master, self._slave = pty.openpty()
        self._resize(columns, lines)
        self.before = termios.tcgetattr(self._slave)
        self.process = subprocess.Popen(
            [*TRIO_BROKER, "top", *words],
            stdin=self._slave, stdout=self._slave, stderr=self._slave,
            env={**home.env, "TERM": "xterm-256color", **env},
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

    def see(self, *texts: str) -> None:
        """Wait until all of these stand on the screen at once."""
        self._until(lambda: all(text in self.text for text in texts), texts)

    def see_no(self, text: str) -> None:
        self._until(lambda: text not in self.text, (f"still {text}",))

    def _until(self, holds: Any, what: tuple[str, ...]) -> None:
        deadline = time.monotonic() + LIMIT
        while not holds():
            assert time.monotonic() < deadline and self.process.poll() is None, f"no {what} in:\n{self.text}"
            self.read(0.1)

    def read(self, patience: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], patience)
        if not ready:
            return False
        data = os.read(self._master, 65536)
        self.raw += data
        self._stream.feed(data)
        return True

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def _resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns: int, lines: int) -> None:
        self._resize(columns, lines)
        self.screen.resize(lines, columns)
        os.kill(self.process.pid, signal.SIGWINCH)

    def end(self) -> int:
        """Its exit code, when it has ended; the terminal has to be as it was."""
        deadline = time.monotonic() + LIMIT
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "it does not end"
            self.read(0.05)
        while self.read(0.1):
            pass
        assert termios.tcgetattr(self._slave) == self.before
        for sequence in (b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?2004l"):
            assert self.raw.rfind(sequence) > self.raw.rfind(
                sequence[:-1] + (b"h" if sequence[-1:] == b"l" else b"l")
            )
        return self.process.returncode


@pytest.fixture
def home() -> Iterator[Home]:
    with Home() as home:
        assert home.run("up").returncode == 0
        yield home


def prompt(home: Home, key: str, text: str) -> None:
    assert home.run("prompt", "-s", key, "-a", "fake", "--no-wait", text).returncode == 0


def test_it_shows_every_session_and_what_was_said(home: Home) -> None:
    prompt(home, "one", "say hello there")
    prompt(home, "two", "hang")
    with Window(home) as window:
        window.see("● 1 working", "○ 1 idle", "hello there", "● working")
        window.type("q")
        assert window.end() == 0


def test_a_session_is_prompted_cancelled_and_killed_by_keys(home: Home) -> None:
    prompt(home, "one", "say ready")
    with Window(home) as window:
        window.see("ready")
        window.type("p")
        window.see("one >")
        window.type("hang" + ENTER)
        window.see("prompted", "● 1 working")
        window.type("c")
        window.see("cancel the turn of one")
        window.type("y")
        window.see("○ 1 idle", "cancelled")
        window.type("K")
        window.see("kill one")
        window.type("n")
        window.see("nothing was done")
        assert home.session("one")["phase"] == "idle"
        window.type("Ky")
        window.see("no sessions")
        window.type("q")
        assert window.end() == 0


def test_a_new_session_is_opened_in_a_directory(home: Home) -> None:
    with Window(home) as window:
        window.see("No session yet.")
        window.type("n")
        window.see("new session, agent:")
        window.type("fake" + ENTER)
        window.see("new session, directory:")
        window.type(ENTER)
        window.see("new session, key:")
        window.type("\x15mine" + ENTER)
        window.see("mine: is here", "○ 1 idle")
        window.type("q")
        assert window.end() == 0


def test_the_window_is_resized(home: Home) -> None:
    prompt(home, "one", "say hello")
    with Window(home) as window:
        window.see("SESSION", "hello")
        window.resize(30, 5)
        window.see("too small")
        window.resize(140, 40)
        window.see("SESSION", "ABOUT", "hello")
        window.type("q")
        assert window.end() == 0


def test_a_restart_of_the_broker_is_told_and_survived(home: Home) -> None:
    prompt(home, "one", "say hello")
    with Window(home) as window:
        window.see("hello")
        assert home.run("down").returncode == 0
        window.see("no broker for")
        assert home.run("up").returncode == 0
        window.see("the broker is back")
        window.see_no("no broker for")
        window.type("q")
        assert window.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_it_with_the_terminal_as_it_was(number: signal.Signals, home: Home) -> None:
    with Window(home) as window:
        window.see("No session yet.")
        os.kill(window.process.pid, number)
        assert window.end() == 128 + number


def test_escape_sequences_of_an_agent_are_shown_and_not_obeyed(home: Home) -> None:
    prompt(home, "one", "say \x1b]0;owned\x07\x1b[2Jx")
    with Window(home) as window:
        window.see("␛]0;owned␇␛[2Jx")
        assert b"\x1b]0;" not in window.raw
        window.type("q")
        assert window.end() == 0


def test_without_colours_the_phases_are_words(home: Home) -> None:
    prompt(home, "one", "hang")
    with Window(home, NO_COLOR="1") as window:
        window.see("● working")
        window.type("q")
        assert window.end() == 0
        assert not any(b"\x1b[%dm" % colour in window.raw for colour in range(30, 38))


def test_without_a_terminal_it_says_what_to_do(home: Home) -> None:
    done = home.run("top")
    assert done.returncode == 2
    assert "--once" in done.stderr


def test_one_picture_as_text_json_and_svg(home: Home) -> None:
    prompt(home, "one", "say hello")
    eventually(lambda: home.session("one")["phase"] == "idle")
    assert "○ idle" in home.run("top", "--once", "--size", "100x24").stdout
    assert home.json("top", "--once")["sessions"][0]["key"] == "one"
    file = home.path / "top.svg"
    assert home.run("top", "--svg", str(file), "--size", "120x30").returncode == 0
    assert "hello" in file.read_text(encoding="utf-8")
    assert home.run("top", "--once", "--size", "big").returncode == 2
