"""What takes long tells a person how it goes, in one line that goes away; a program hears nothing of it.

The broker here is a socket that takes its time, so that there is something to see without waiting for much.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from trio_broker.testing.processes.home import LIMIT, Home, fake_command_line

PAGES = [
    {"lines": ["{}"] * 3, "next": 4, "items": [], "deleted": 0},
    {"lines": [], "next": None, "items": [], "deleted": 0},
]


@contextlib.contextmanager
def slow_broker(home: Home, go: threading.Event) -> Iterator[None]:
    """Answers whatever it is asked with the first page at once, and with the next when it may."""
    home.socket.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home.socket))
        listener.listen()

        def serve() -> None:
            while peer := _accepted(listener):
                with peer, peer.makefile("rwb") as lines:
                    for number, line in enumerate(lines):
                        page = PAGES[min(number, 1)]
                        if number or "export" not in line.decode():
                            go.wait()
                        answer = {"jsonrpc": "2.0", "id": json.loads(line)["id"], "result": page}
                        lines.write(json.dumps(answer).encode() + b"\n")
                        lines.flush()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            go.set()
            listener.shutdown(socket.SHUT_RDWR)  # wakes who accepts: its number is soon that of another file
            thread.join(LIMIT)


def _accepted(listener: socket.socket) -> socket.socket | None:
    try:
        return listener.accept()[0]
    except OSError:  # it was shut down
        return None


@pytest.mark.parametrize(
    ("words", "sees"),
    [
        (["export", "-s", "x", "-o", "/dev/null"], ("[export] ", ": 3 lines")),
        (["prune", "--older-than", "1d"], ("[prune] ",)),
        (["history", "-s", "x"], ("[replay] ",)),
        (["import", "/dev/null"], ("[import] ",)),
    ],
    ids=lambda words: words[0],
)
def test_a_person_sees_how_long_it_takes(words: list[str], sees: tuple[str, ...]) -> None:
    go = threading.Event()
    home = Home()  # its broker is no process: nothing to end
    with slow_broker(home, go):
        with home.terminal("sessions", *words) as person:
            for text in sees:
                person.see(text)
            go.set()
            person.see("\r\x1b[K")
            assert person.end() == 0
        done = home.run("sessions", *words)
        assert done.returncode == 0 and "[" not in done.stderr


def test_a_slow_start_is_told_with_the_agents_last_line(shared: Home, tmp_path: Path) -> None:
    slow = fake_command_line("--slow-start", "1.5", "--stderr", "fetching\x1b[2J 3 packages")
    with shared.terminal("exec", "say up", "--command", slow, cwd=tmp_path) as person:
        person.see(" s: fetching\\x1b[2J 3 packages")
        person.see("up\r\n")
        assert person.end() == 0
