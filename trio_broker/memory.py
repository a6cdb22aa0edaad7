"""How a process that is to live long keeps house with its memory.

What a flood took from the system is given back when it is over: glibc keeps freed blocks in its heap as long as
anything stands behind them (mallopt(3), M_TRIM_THRESHOLD). A thousand sessions that had worked once held 160 KiB each,
80 of them for nothing.
"""

from __future__ import annotations

import ctypes
import gc

YOUNG = 20_000  # objects that may be made before it is looked which of them are garbage


def give_back() -> None:
    """Give unused memory back to the system; blocks for some milliseconds. Does nothing where there is no glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def collect_seldom() -> None:
    """Have cycles looked for seldom, and never in what is there already: modules, mostly.

    They are few here, and of bounded size. A picture of 500 sessions is some thousand objects, made and gone at once:
    each set off a search, now and then one through all there is (p99 of `status` 16 to 25 ms; without, 9 to 13).
    """
    gc.freeze()
    gc.set_threshold(YOUNG, 10, 10)
