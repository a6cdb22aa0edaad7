"""What is written without waiting: as much as there is room for."""

from __future__ import annotations

import os
import socket

import pytest
import trio

from trio_broker.atonce import written


def test_as_much_is_written_as_there_is_room_for() -> None:
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        assert written(one.fileno(), memoryview(b"abc")) == 3 and other.recv(9) == b"abc"
        much = memoryview(bytes(16 * 1024 * 1024))
        sent = written(one.fileno(), much)
        assert 0 < sent < len(much)
        while written(one.fileno(), much):
            pass  # the last bytes of room


def test_whoever_is_gone_is_told_of_as_trio_does() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        with pytest.raises(trio.BrokenResourceError):
            written(writing, memoryview(b"abc"))
    finally:
        os.close(writing)
    with pytest.raises(trio.BrokenResourceError):
        written(-1, memoryview(b"abc"))  # as a closed stream has it
