"""The map of sessions. Every method is synchronous: there is no checkpoint in it, so there is no lock around it.

The methods decide and return; whoever calls them does the I/O. A session stands in the map from the first instant
of its start, so nobody can start a second one for its key (RACES B1, B5), and leaves it only by identity (B2).
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

import attrs

IDS_KEPT = 100_000  # of sessions, closed ones included: by then an agent that still uses an older one is gone


class Pooled(Protocol):
    """What the pool asks of a session: its public id, and whether it has a process or will have one."""

    @property
    def session_id(self) -> str | None: ...
    @property
    def live(self) -> bool: ...


S = TypeVar("S", bound=Pooled)


@attrs.define
class SessionPool(Generic[S]):
    """Sessions by key and by public id; at most `limit` of them are to be live."""

    limit: int
    _sessions: dict[str, S] = attrs.field(factory=dict, init=False)
    _by_id: dict[str, S] = attrs.field(factory=dict, init=False)
    _known_ids: dict[str, None] = attrs.field(factory=dict, init=False)

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

    def get_by_id(self, session_id: str) -> S | None:
        """The session of a public id: one that was named here, else any in the map that has it."""
        named = self._by_id.get(session_id)
        return named or next((one for one in self._sessions.values() if one.session_id == session_id), None)

    def assign_id(self, session: S, agent_session_id: str) -> str:
        """The public id of a session that its agent calls so.

        It is the one that the session has; for a new session the agent's own, unless another session has it already
        (DESIGN D3).
        """
        self._remember_id(agent_session_id)
        if session.session_id is not None:
            return session.session_id
        found, number = agent_session_id, 1
        while found in self._by_id:
            number += 1
            found = f"{agent_session_id}~{number}"
        self._by_id[found] = session
        self._remember_id(found)
        return found

    def add_id(self, session: S, agent_session_id: str | None = None) -> None:
        """Find a restored session under the public id that it has already; its agent may call it otherwise."""
        if session.session_id is not None:
            self._by_id[session.session_id] = session
            self._remember_id(session.session_id)
        if agent_session_id is not None:
            self._remember_id(agent_session_id)

    def knows_id(self, session_id: str) -> bool:
        """Whether any session of this broker has, or had, this id: its public one, or the one of its agent."""
        return session_id in self._known_ids

    def _remember_id(self, id: str) -> None:
        self._known_ids.pop(id, None)
        self._known_ids[id] = None
        if len(self._known_ids) > IDS_KEPT:
            del self._known_ids[next(iter(self._known_ids))]

    def release_id(self, session: S) -> None:
        """Take its public id out, unless another session has it by now."""
        if session.session_id is not None and self._by_id.get(session.session_id) is session:
            del self._by_id[session.session_id]

    def live(self) -> int:
        """How many have a process, or will have one."""
        return sum(session.live for session in self._sessions.values())

    def snapshot(self) -> tuple[S, ...]:
        """A copy: iterate and await freely."""
        return tuple(self._sessions.values())
