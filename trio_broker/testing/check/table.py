"""Every check there is, in the order of a report."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence

from trio_broker.testing.check import endings, framing, sessions, standing, starting, turns
from trio_broker.testing.check.verdict import Check

CHECKS: Sequence[Check] = (
    *starting.CHECKS,
    *framing.CHECKS,
    *sessions.CHECKS,
    *turns.CHECKS,
    *endings.CHECKS,
    *standing.CHECKS,
)


def chosen(patterns: Iterable[str]) -> list[Check]:
    """The checks whose id one of the patterns fits: a whole id, its part before the dot, or a shell pattern."""
    wanted = [*patterns] or ["*"]
    return [check for check in CHECKS if any(_fits(check.id, pattern) for pattern in wanted)]


def _fits(id: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(id, pattern) or id.startswith(f"{pattern}.")
