"""What a client may do: scopes, for some sessions, in some directories. Pure: values in, values out.

Scopes are a set, not a ladder: who may prompt may not answer asks. `admin` alone has all the others in it, and who has
any scope may observe.
"""

from __future__ import annotations

import enum
from fnmatch import fnmatchcase
from pathlib import PurePath

import attrs


class Scope(enum.Enum):
    OBSERVE = "observe"
    PROMPT = "prompt"
    ANSWER = "answer"
    ADMIN = "admin"


@attrs.frozen
class Grant:
    """`name` says whose it is, in logs and to others. `sessions`: globs of keys, none for all. `roots`: real paths.

    `expires` is a time of `time.time`, or None.
    """

    name: str
    scopes: frozenset[Scope]
    sessions: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    expires: float | None = None

    @property
    def admin(self) -> bool:
        return Scope.ADMIN in self.scopes

    def may(self, scope: Scope) -> bool:
        return self.admin or scope in self.scopes or (scope is Scope.OBSERVE and bool(self.scopes))

    def sees(self, key: str) -> bool:
        """Whether the session of that key is any business of this client."""
        return not self.sessions or any(fnmatchcase(key, glob) for glob in self.sessions)

    def may_open_in(self, directory: str) -> bool:
        """Whether it may open sessions there; `directory` is a real path. Without roots, only an admin may anywhere."""
        if not self.roots:
            return self.admin
        return any(PurePath(directory).is_relative_to(root) for root in self.roots)


OWNER = Grant("owner", frozenset(Scope))
