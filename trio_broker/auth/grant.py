"""What a client may do: scopes, for some sessions, in some directories. Pure: values in, values out.

Scopes are a set, not a ladder: who may prompt may not answer asks. `admin` alone has all the others in it, and who has
any scope may observe.
"""

from __future__ import annotations

import enum
from fnmatch import fnmatchcase
from pathlib import PurePath

import attrs

from trio_broker.errors import Forbidden


class Scope(enum.Enum):
    OBSERVE = "observe"
    PROMPT = "prompt"
    ANSWER = "answer"
    ADMIN = "admin"


@attrs.frozen
class Grant:
    """`name` says whose it is, in logs and to others. `sessions`: globs of keys, none for all. `roots`: real paths.

    `expires` is a time of `time.time`, or None. `token` tells apart the tokens that grants come from (a digest, never
    the text); None for the owner, who needs none.
    """

    name: str
    scopes: frozenset[Scope]
    sessions: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    expires: float | None = None
    token: str | None = attrs.field(default=None, repr=False)

    @property
    def admin(self) -> bool:
        return Scope.ADMIN in self.scopes

    def may(self, scope: Scope) -> bool:
        return self.admin or scope in self.scopes or (scope is Scope.OBSERVE and bool(self.scopes))

    def may_name(self, key: str) -> bool:
        """Whether a session of that key is any business of this client."""
        return self.admin or not self.sessions or any(fnmatchcase(key, glob) for glob in self.sessions)

    def may_open_in(self, directory: str) -> bool:
        """Whether it may open sessions there; `directory` is a real path. Without roots, only an admin may anywhere."""
        return self.admin or self._within(directory)

    def can_see(self, key: str, directory: str) -> bool:
        """Whether it knows of the session of that key which works there; `directory` is a real path.

        Roots limit this too: who may open sessions below /srv/a alone must not prompt one that works in /home.
        """
        return self.may_name(key) and (self.admin or not self.roots or self._within(directory))

    def _within(self, directory: str) -> bool:
        path = PurePath(directory)
        return ".." not in path.parts and any(path.is_relative_to(root) for root in self.roots)


OWNER = Grant("owner", frozenset(Scope))


def require_scope(grant: Grant, scope: Scope, what: str) -> None:
    """Raises Forbidden unless the grant has this scope; `what` is what would need it."""
    if not grant.may(scope):
        raise Forbidden(
            f"{what} needs the scope {scope.value!r}, which the token {grant.name!r} does not have; "
            f"`trio-broker token new --scope {scope.value}` makes one that has it",
            scope=scope.value,
        )
