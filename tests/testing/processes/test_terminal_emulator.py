"""A full-screen program in a terminal emulator: its screen, keys, size, and end."""

from __future__ import annotations

from trio_broker.testing.processes.home import Home
from trio_broker.testing.processes.terminal_emulator import TerminalEmulator


def test_the_screen_is_what_a_terminal_would_show() -> None:
    with Home() as home:
        assert home.run("prompt", "-s", "mine", "say hello there").returncode == 0
        with TerminalEmulator(home.env, "top", columns=90, lines=20) as window:
            window.see("mine", "hello there")
            window.resize(60, 15)
            assert (window.screen.columns, window.screen.lines) == (60, 15)
            window.see("mine", "hello there")
            window.type("?")
            window.see_no("hello there")
            window.type("x")
            window.see("hello there")
            window.type("q")
            assert window.end() == 0
            assert window.settings() == window.before and b"\x1b[?1049h" in window.raw
