"""What a long-lived process needs of the operating system: writes that never wait, and memory that is returned."""

from __future__ import annotations

import ctypes
import gc
import os

import trio

GC_THRESHOLD = 20_000  # objects that may be made before it is looked which of them are garbage


def write_nowait(file: int, data: memoryview) -> int:
    """How many bytes went into a pipe or socket that does not block; 0 if it is full. Raises BrokenResourceError."""
    try:
        return os.write(file, data)
    except BlockingIOError:
        return 0
    except OSError as error:
        raise trio.BrokenResourceError from error


def trim_heap() -> None:
    """Return unused memory to the system. Blocks for some milliseconds. Does nothing where there is no glibc.

    glibc keeps freed blocks in its heap as long as anything stands behind them (mallopt(3), M_TRIM_THRESHOLD). A
    thousand sessions that had worked once held 160 KiB each, 80 of them for nothing.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def tune_gc() -> None:
    """Have cycles looked for seldom, and never in what is there already: modules, mostly.

    They are few here, and of bounded size. A picture of 500 sessions is some thousand objects, made and gone at once:
    each set off a search, now and then one through all there is (p99 of `status` 16 to 25 ms; without, 9 to 13).
    """
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 10, 10)
