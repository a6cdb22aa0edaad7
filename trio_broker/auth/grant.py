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
class InsideAgent:
    """A client that is started by an agent, and so may not do what its owner may.

    `why` says so, and `remedy` how to get what is refused; both stand in errors. `session`: the key of the agent's own
    session. None: nobody knows which it is, so it may be any of them.
    """

    why: str
    remedy: str
    session: str | None


@attrs.frozen
class Grant:
    """`name` says whose it is, in logs and to others. `sessions`: globs of keys, none for all. `roots`: real paths.

    `expires` is a time of `time.time`, or None. `token` tells apart the tokens that grants come from (a digest, never
    the text); None for the owner, who needs none. `inside`: the client has no token, and runs inside an agent. It knows
    of every session, and acts on every one but that agent's; its `roots` limit only where it opens sessions.
    """

    name: str
    scopes: frozenset[Scope]
    sessions: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    expires: float | None = None
    token: str | None = attrs.field(default=None, repr=False)
    inside: InsideAgent | None = None

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
        everywhere = self.admin or self.inside is not None or not self.roots
        return self.may_name(key) and (everywhere or self._within(directory))

    def may_act_on(self, key: str) -> bool:
        """Whether it may do more than look at the session of that key, as far as its scopes go."""
        return self.inside is None or self.inside.session not in (None, key)

    def _within(self, directory: str) -> bool:
        path = PurePath(directory)
        return ".." not in path.parts and any(path.is_relative_to(root) for root in self.roots)


OWNER = Grant("owner", frozenset(Scope))
REFUSED = {  # what a client inside an agent hears that it may not do
    Scope.PROMPT: "do more than look",
    Scope.ANSWER: "answer questions, nor choose modes, options, models or policies",
    Scope.ADMIN: "do what is the owner's",
}


def require_scope(grant: Grant, scope: Scope, what: str) -> None:
    """Raises Forbidden unless the grant has this scope; `what` is what would need it."""
    if grant.may(scope):
        return
    if (inside := grant.inside) is not None:
        text = f"{inside.why}, so it may not {REFUSED[scope]} ({what}); {inside.remedy}"
        raise Forbidden(text, scope=scope.value)
    raise Forbidden(
        f"{what} needs the scope {scope.value!r}, which the token {grant.name!r} does not have; "
        f"`trio-broker token new --scope {scope.value}` makes one that has it",
        scope=scope.value,
    )


def check_not_own(grant: Grant, key: str) -> None:
    """Raises Forbidden for the session of the agent inside which the client runs: an agent does not drive itself."""
    if (inside := grant.inside) is not None and not grant.may_act_on(key):
        text = f"{inside.why}, so it may look at session {key!r} but not act on it; {inside.remedy}"
        raise Forbidden(text, key=key)
