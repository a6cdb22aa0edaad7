"""Supervision: a session, a client or a callback fails alone (DESIGN D14), and liveness takes the place of deadlines.

This is the only module that catches broadly.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVarTuple

import trio

Ts = TypeVarTuple("Ts")

log = logging.getLogger(__name__)

LAST_WORDS = 1.0  # seconds: an agent may answer and exit in the same moment; its answer is still in the pipe


async def run_contained(name: str, body: Callable[[], Awaitable[None]], on_end: Callable[[], None]) -> None:
    """Run one session, or one client, so that nothing but cancellation leaves it (DESIGN D14).

    `except*`, because plain `except Exception` misses a failure during a cancellation (TRIO.md, fact 1). `on_end` is
    called when it has ended, whatever way; it is synchronous, so it can't be cancelled half way.
    """
    try:
        await body()
    except* Exception as group:
        log.exception("failed name=%s", name, exc_info=group)
    finally:
        on_end()


def call_contained(callback: Callable[[*Ts], None], *what: *Ts) -> None:
    """Call `hear(*what)`; what it raises is logged, and the caller, who has others to tell, goes on."""
    try:
        callback(*what)
    except* Exception as group:
        log.exception("failed hearing=%r", callback, exc_info=group)


async def while_alive(wait: Callable[[], Awaitable[Any]], alive: Callable[[], bool], every: float) -> bool:
    """Await `wait()` for as long as the agent's process lives, however quiet it is; says whether it came.

    `wait` is a cancel-atomic wait: it is abandoned and begun again every `every` seconds, when the process is looked
    at. There is no deadline: hours of silence from a living process end nothing. False: the process is gone, and its
    last words did not bring it either.
    """
    while alive():
        with trio.move_on_after(every):
            await wait()
            return True
    with trio.move_on_after(LAST_WORDS):
        await wait()
        return True
    return False
