"""A daemon gives memory back, and does not look for garbage all the time."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trio_broker.memory import YOUNG, give_back

BLOCK = 64 * 1024

CODE = """
import gc
from trio_broker import memory
before = gc.get_threshold()[0], gc.get_freeze_count()
memory.collect_seldom()
print(before, gc.get_threshold()[0], gc.get_freeze_count() > 1000)
"""


def test_garbage_is_looked_for_seldom_and_not_among_the_modules() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout == f"(700, 0) {YOUNG} True\n"


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="has no glibc")
def test_memory_that_is_not_used_is_given_back() -> None:
    kept, between = [bytes(BLOCK)], list[bytes]()
    for _ in range(1000):
        between.append(bytes(BLOCK))
        kept.append(bytes(3000))  # stands behind it in the heap
    before = resident()
    del between
    give_back()
    assert resident() < before - 500 * BLOCK, kept


def resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
