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

from trio_broker.testing.processes.home import Home
from trio_broker.testing.processes.terminal_emulator import TerminalEmulator


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_it_with_the_terminal_as_it_was(number: signal.Signals, home: Home) -> None:
    with TerminalEmulator(home.env, "top") as window:
        window.see("No session yet.")
        os.kill(window.process.pid, number)
        assert window.end() == 128 + number


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
