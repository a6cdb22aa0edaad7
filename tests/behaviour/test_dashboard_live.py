"""The dashboard in a terminal of its own, against a real daemon with scripted agents; and without a terminal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trio_broker.testing.processes.home import CONFIG, LIMIT, Home, eventually
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


@pytest.fixture
def far() -> Iterator[tuple[Home, str, str]]:
    """A broker that listens on a WebSocket, its URL, and an admin's token."""
    with Home(f'{CONFIG}\n[listen]\nwebsocket = "127.0.0.1:0"\n') as home:
        token = home.json("token", "new", "--name", "far", "--scope", "admin")["token"]
        yield home, home.status()["websocket"], token


def test_over_a_websocket_it_is_the_same(far: tuple[Home, str, str]) -> None:
    home, url, token = far
    assert home.run("prompt", "-s", "one", "--no-wait", "say hello").returncode == 0
    elsewhere = {**home.env, "TRIO_BROKER_HOME": str(home.path / "elsewhere")}
    with TerminalEmulator(elsewhere, "--url", url, "--token", token, "top") as window:
        window.see("○ 1 idle", "hello")
        window.type("psay from afar\r")
        window.see("prompted")
        window.see("from afar")
        window.type("n")
        window.type("\x15fake\r\x15/\r\x15two\r")
        window.see("two: is here")
        window.see("○ 2 idle")
        assert home.run("token", "revoke", "far").returncode == 0
        window.see("no broker for", "401")
        window.type("q")
        assert window.end() == 0


def test_one_picture_over_a_websocket(far: tuple[Home, str, str]) -> None:
    home, url, token = far
    assert home.run("prompt", "-s", "one", "--no-wait", "say hello").returncode == 0
    there = ("--url", url, "--token", token, "top")
    assert "one" in home.run(*there, "--once", "--size", "100x24").stdout
    file = home.path / "top.svg"
    assert home.run(*there, "--svg", str(file)).returncode == 0
    assert "hello" in file.read_text(encoding="utf-8")


def test_a_wrong_token_is_told_before_the_screen_is_taken(far: tuple[Home, str, str]) -> None:
    home, url, _ = far
    with TerminalEmulator(home.env, "--url", url, "--token", "tb_wrong", "top") as window:
        assert window.process.wait(LIMIT) == 6
        window.drain()
        assert "401" in window.text and "--token" in window.text
        assert b"\x1b[?1049h" not in window.raw


def test_a_terminal_that_can_place_no_cursor_is_refused(home: Home) -> None:
    with TerminalEmulator(home.env, "top", TERM="dumb") as window:
        assert window.process.wait(LIMIT) == 2
        window.drain()
        assert b"set TERM" in window.raw


def test_a_picture_that_can_not_be_saved_says_so(home: Home) -> None:
    done = home.run("top", "--svg", str(home.path / "no" / "such.svg"), "--size", "80x24")
    assert done.returncode == 2
    assert "name a file that can be written" in done.stderr
