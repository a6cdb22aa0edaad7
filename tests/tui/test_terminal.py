"""What is written to a terminal: it is not obeyed, and whatever happens, the terminal is as it was at the end."""

from __future__ import annotations

import os
import signal

from trio_broker.testing.processes.home import LIMIT, Home, eventually
from trio_broker.testing.processes.terminal_emulator import TerminalEmulator


def prompt(home: Home, key: str, text: str) -> None:
    assert home.run("prompt", "-s", key, "-a", "fake", "--no-wait", text).returncode == 0


def test_what_an_agent_says_on_stderr_is_a_tab_and_ctrl_l_draws_all_anew(home: Home) -> None:
    prompt(home, "one", "stderr 40; say done")
    with TerminalEmulator(home.env, "top") as window:
        window.see("done")
        window.type("\t\t\t")
        window.see("e" * 40)
        drawn = window.raw.count(b"e" * 40)
        window.type("\x0c")
        eventually(lambda: window.read(0.1) and window.raw.count(b"e" * 40) > drawn)
        window.type("q")
        assert window.end() == 0


def test_the_window_is_resized(home: Home) -> None:
    prompt(home, "one", "say hello")
    with TerminalEmulator(home.env, "top") as window:
        window.see("SESSION", "hello")
        window.resize(30, 5)
        window.see("too small")
        window.resize(140, 40)
        window.see("SESSION", "ABOUT", "hello")
        window.type("q")
        assert window.end() == 0


def test_escape_sequences_of_an_agent_are_shown_and_not_obeyed(home: Home) -> None:
    prompt(home, "one", "say \x1b]0;owned\x07\x1b[2Jx")
    with TerminalEmulator(home.env, "top") as window:
        window.see("␛]0;owned␇␛[2Jx")
        assert b"\x1b]0;" not in window.raw
        window.type("q")
        assert window.end() == 0


def test_without_colours_the_phases_are_words(home: Home) -> None:
    prompt(home, "one", "hang")
    with TerminalEmulator(home.env, "top", NO_COLOR="1") as window:
        window.see("● working")
        window.type("q")
        assert window.end() == 0
        assert not any(b"\x1b[%dm" % colour in window.raw for colour in range(30, 38))


def test_sigterm_ends_it_when_nobody_reads_what_it_draws(home: Home) -> None:
    """As over a connection that hangs: it must not wait for a terminal that takes nothing more."""
    with TerminalEmulator(home.env, "top") as window:
        window.see("No session yet.")
        window.block_output()
        os.kill(window.process.pid, signal.SIGTERM)
        assert window.process.wait(LIMIT) == 128 + signal.SIGTERM
        assert window.settings() == window.before
