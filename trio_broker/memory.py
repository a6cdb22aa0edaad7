"""What a flood took from the system is given back when it is over.

glibc keeps freed blocks in its heap as long as anything stands behind them (mallopt(3), M_TRIM_THRESHOLD): a thousand
sessions that had worked once held 160 KiB each, 80 of them for nothing.
"""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Give unused memory back to the system; blocks for some milliseconds. Does nothing where there is no glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
