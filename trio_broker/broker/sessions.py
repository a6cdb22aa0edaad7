"""The map of sessions. Every method is synchronous: there is no checkpoint in it, so there is no lock around it.

The methods decide and return; whoever calls them does the I/O. A session stands in the map from the first instant
of its start, so nobody can start a second one for its key (RACES B1, B5), and leaves it only by identity (B2).
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

import attrs


class Pooled(Protocol):
    """What the pool asks of a session: whether there is a process of it, or will be."""

    @property
    def live(self) -> bool: ...


S = TypeVar("S", bound=Pooled)


@attrs.define
class Pool(Generic[S]):
    """Sessions by key; at most `limit` of them are to be live."""

    limit: int
    _sessions: dict[str, S] = attrs.field(factory=dict, init=False)

    def get(self, key: str) -> S | None:
        return self._sessions.get(key)

    def claim(self, key: str, session: S) -> S:
        """The session of `key`: who stands there already, else `session`, put there."""
        return self._sessions.setdefault(key, session)

    def release(self, key: str, session: S) -> bool:
        """Take `session` out, unless another already stands in its place; says whether it did."""
        if self._sessions.get(key) is not session:
            return False
        del self._sessions[key]
        return True

    def live(self) -> int:
        """How many have a process, or will have one."""
        return sum(session.live for session in self._sessions.values())

    def snapshot(self) -> tuple[S, ...]:
        """A copy: iterate and await freely."""
        return tuple(self._sessions.values())
