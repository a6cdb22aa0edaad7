"""The one place that catches broadly: a session, a client, or who is told of something, fails alone (DESIGN D14)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVarTuple

Ts = TypeVarTuple("Ts")

log = logging.getLogger(__name__)


async def contained(name: str, body: Callable[[], Awaitable[None]], over: Callable[[], None]) -> None:
    """Run one session, or one client, so that nothing but cancellation leaves it (DESIGN D14).

    `except*`, because plain `except Exception` misses a failure during a cancellation (TRIO.md, fact 1). `over` is
    called when it has ended, whatever way; it is synchronous, so it can't be cancelled half way.
    """
    try:
        await body()
    except* Exception as group:
        log.exception("failed name=%s", name, exc_info=group)
    finally:
        over()


def tell(hear: Callable[[*Ts], None], *what: *Ts) -> None:
    """Call `hear(*what)`; what it raises is logged, and the caller, who has others to tell, goes on."""
    try:
        hear(*what)
    except* Exception as group:
        log.exception("failed hearing=%r", hear, exc_info=group)
