"""The map of sessions. Every method is synchronous: there is no checkpoint in it, so there is no lock around it.

The methods decide and return; whoever calls them does the I/O. A session stands in the map from the first instant
of its start, so nobody can start a second one for its key (RACES B1, B5), and leaves it only by identity (B2).
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

import attrs

from trio_broker.errors import PoolFull


class Pooled(Protocol):
    """What the pool asks of a session: whether it is over, that is, has no process any more."""

    @property
    def over(self) -> bool: ...


S = TypeVar("S", bound=Pooled)


@attrs.define
class Pool(Generic[S]):
    """Sessions by key: at most `limit` that are not over; of those that are, the `keep` newest stay to be looked at."""

    limit: int
    keep: int = 100
    _sessions: dict[str, S] = attrs.field(factory=dict, init=False)

    def get(self, key: str) -> S | None:
        return self._sessions.get(key)

    def claim(self, key: str, fresh: S) -> tuple[S, bool]:
        """The session of `key`, and whether it is `fresh`, put there because there was none or it was over.

        Raises PoolFull, and changes nothing, when `fresh` would be one too many.
        """
        there = self._sessions.get(key)
        if there is not None and not there.over:
            return there, False
        if self.live() >= self.limit:
            raise PoolFull(
                f"{self.limit} sessions are live, the limit; close one or raise max_sessions in [broker]",
                limit=self.limit,
            )
        self._sessions.pop(key, None)  # so that the newest stands last
        self._sessions[key] = fresh
        self._forget_old()
        return fresh, True

    def release(self, key: str, session: S) -> bool:
        """Take `session` out, unless another already stands in its place; says whether it did."""
        if self._sessions.get(key) is not session:
            return False
        del self._sessions[key]
        return True

    def live(self) -> int:
        """How many sessions are not over."""
        return sum(not session.over for session in self._sessions.values())

    def snapshot(self) -> tuple[S, ...]:
        """A copy: iterate and await freely."""
        return tuple(self._sessions.values())

    def _forget_old(self) -> None:
        over = [key for key, session in self._sessions.items() if session.over]
        for key in over[: -self.keep or len(over)]:
            del self._sessions[key]
