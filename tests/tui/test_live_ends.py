"""How the dashboard ends, and what it survives: whatever happens, the terminal is as it was."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from trio_broker.testing.processes.home import CONFIG, LIMIT, Home
from trio_broker.testing.processes.terminal_emulator import TerminalEmulator


@pytest.fixture
def home() -> Iterator[Home]:
    with Home() as home:
        assert home.run("up").returncode == 0
        yield home


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_it_with_the_terminal_as_it_was(number: signal.Signals, home: Home) -> None:
    with TerminalEmulator(home.env, "top") as window:
        window.see("No session yet.")
        os.kill(window.process.pid, number)
        assert window.end() == 128 + number


def test_sigterm_ends_it_when_nobody_reads_what_it_draws(home: Home) -> None:
    """As over a connection that hangs: it must not wait for a terminal that takes nothing more."""
    with TerminalEmulator(home.env, "top") as window:
        window.see("No session yet.")
        window.block_output()
        os.kill(window.process.pid, signal.SIGTERM)
        assert window.process.wait(LIMIT) == 128 + signal.SIGTERM
        assert window.settings() == window.before


@contextmanager
def broker_of_another_kind(home: Home) -> Iterator[None]:
    """Something that listens where the broker does, and whose pictures are none."""
    home.socket.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(home.socket))
        server.listen()
        thread = threading.Thread(target=_serve, args=(server,))
        thread.start()
        yield
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    home.socket.unlink()
    home.socket.parent.rmdir()


def _serve(server: socket.socket) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:  # shut down: the test is over
            return
        with client, client.makefile("rwb") as lines:
            for line in lines:
                answer = {"jsonrpc": "2.0", "id": json.loads(line)["id"], "result": {"number": 1, "at": 0}}
                lines.write(json.dumps(answer).encode() + b"\n")
                lines.flush()


def test_a_crash_of_its_own_is_told_on_a_terminal_that_is_as_it_was() -> None:
    with Home() as home, broker_of_another_kind(home), TerminalEmulator(home.env, "top") as window:
        assert window.end() == 1
        left = window.raw.rpartition(b"\x1b[?1049l")[2].decode()
        assert "KeyError: 'sessions'" in left


def test_a_restart_of_the_broker_is_told_and_survived(home: Home) -> None:
    assert home.run("prompt", "-s", "one", "--no-wait", "say hello").returncode == 0
    with TerminalEmulator(home.env, "top") as window:
        window.see("hello")
        assert home.run("down").returncode == 0
        window.see("no broker for")
        assert home.run("up").returncode == 0
        window.see("the broker is back")
        window.see_no("no broker for")
        window.type("q")
        assert window.end() == 0


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
