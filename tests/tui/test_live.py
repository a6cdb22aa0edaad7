"""The dashboard in a terminal of its own, against a real daemon with scripted agents: seen, used, and ended."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trio_broker.testing.processes.home import Home, eventually
from trio_broker.testing.processes.terminal_emulator import TerminalEmulator

ENTER = "\r"


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
    with TerminalEmulator(home.env, "top") as window:
        window.see("● 1 working", "○ 1 idle", "hello there", "● working")
        window.type("q")
        assert window.end() == 0


def test_a_session_is_prompted_cancelled_and_killed_by_keys(home: Home) -> None:
    prompt(home, "one", "say ready")
    with TerminalEmulator(home.env, "top") as window:
        window.see("ready")
        window.type("p")
        window.see("one >")
        window.type("hang" + ENTER)
        window.see("prompted")
        window.see("● 1 working")
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
    with TerminalEmulator(home.env, "top") as window:
        window.see("No session yet.")
        window.type("n")
        window.see("new session, agent:")
        window.type("fakr" + ENTER)
        window.see("there is no agent 'fakr'; did you mean fake", "new session, agent: fakr")
        window.type("\x15fake" + ENTER)
        window.see("new session, directory:")
        window.type(ENTER)
        window.see("new session, key:")
        window.type("\x15mine" + ENTER)
        window.see("mine: is here")
        window.see("○ 1 idle")
        window.type("q")
        assert window.end() == 0


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


def test_what_is_typed_while_no_broker_is_there_waits_for_it(home: Home) -> None:
    prompt(home, "one", "say ready")
    with TerminalEmulator(home.env, "top") as window:
        window.see("ready")
        window.type("p")
        window.see("one >")
        assert home.run("down").returncode == 0
        window.see("no broker for", "all below is how it was then")
        window.type("say on" + ENTER)
        window.see("there is no broker to tell that; Enter tries again", "one > say on")
        assert home.run("up").returncode == 0
        window.see_no("no broker for")
        window.type(ENTER)
        window.see("prompted")
        window.see("> say on")
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
    drawn = file.read_text(encoding="utf-8")
    assert "hello" in drawn and drawn.count("http") == 1, "it fetches something"
    assert home.run("top", "--once", "--size", "big").returncode == 2
