"""Writes that never wait, and memory that a daemon returns."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from trio_broker.ioutil import GC_THRESHOLD, trim_heap, write_nowait

BLOCK = 64 * 1024

CODE = """
import gc
from trio_broker import ioutil
before = gc.get_freeze_count()  # 375 in Python 3.12, 0 in others
print(gc.get_threshold()[0] < ioutil.GC_THRESHOLD)  # it is 700 up to Python 3.12, 2000 from 3.13 on
ioutil.tune_gc()
print(gc.get_threshold()[0], gc.get_freeze_count() - before > 1000)
"""


def test_as_much_is_written_as_there_is_room_for() -> None:
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        assert write_nowait(one.fileno(), memoryview(b"abc")) == 3 and other.recv(9) == b"abc"
        much = memoryview(bytes(16 * 1024 * 1024))
        sent = write_nowait(one.fileno(), much)
        assert 0 < sent < len(much)
        while write_nowait(one.fileno(), much):
            pass  # the last bytes of room


def test_whoever_is_gone_is_told_of_as_trio_does() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        with pytest.raises(trio.BrokenResourceError):
            write_nowait(writing, memoryview(b"abc"))
    finally:
        os.close(writing)
    with pytest.raises(trio.BrokenResourceError):
        write_nowait(-1, memoryview(b"abc"))  # as a closed stream has it


def test_garbage_is_looked_for_seldom_and_not_among_the_modules() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout == f"True\n{GC_THRESHOLD} True\n"


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="has no glibc")
def test_memory_that_is_not_used_is_given_back() -> None:
    kept, between = [bytes(BLOCK)], list[bytes]()
    for _ in range(1000):
        between.append(bytes(BLOCK))
        kept.append(bytes(3000))  # stands behind it in the heap
    before = resident()
    del between
    trim_heap()
    assert resident() < before - 500 * BLOCK, kept


def resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
