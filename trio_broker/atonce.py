"""Writing without waiting: most messages are short, and there is room for them."""

from __future__ import annotations

import os

import trio


def written(file: int, data: memoryview) -> int:
    """How many bytes went into a pipe or socket that does not block; 0 if it is full. Raises BrokenResourceError."""
    try:
        return os.write(file, data)
    except BlockingIOError:
        return 0
    except OSError as error:
        raise trio.BrokenResourceError from error
