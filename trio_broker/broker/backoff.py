"""Agents that fail to start again and again are given a rest, so that nobody's retries become a storm of processes."""

from __future__ import annotations

from typing import Any

import attrs

from trio_broker.errors import SpawnFailed

PATIENCE = 3  # failures in a row before the first rest
FIRST_REST = 1.0  # seconds, doubled by each further failure
LONGEST_REST = 60.0


@attrs.define
class Circuit:
    """One agent's failures in a row, and until when it rests. Times are the caller's clock, in seconds."""

    failures: int = 0
    rests_until: float = 0.0
    reason: str = ""

    def failed(self, now: float, reason: str) -> None:
        self.failures += 1
        self.reason = reason
        if self.failures >= PATIENCE:
            self.rests_until = now + min(FIRST_REST * 2 ** (self.failures - PATIENCE), LONGEST_REST)

    def worked(self) -> None:
        self.failures, self.rests_until, self.reason = 0, 0.0, ""

    def check(self, now: float, name: str) -> None:
        """Raises SpawnFailed, saying when to try again, while the agent rests."""
        if now < self.rests_until:
            wait = self.rests_until - now
            raise SpawnFailed(
                f"agent {name!r} failed to start {self.failures} times in a row and is not tried again for "
                f"{wait:.1f} s; the last time: {self.reason}",
                failures=self.failures,
                retryIn=wait,
            )

    def view(self, now: float) -> dict[str, Any]:
        return {
            "failures": self.failures,
            "retry_in": max(0.0, self.rests_until - now),
            "reason": self.reason,
        }
