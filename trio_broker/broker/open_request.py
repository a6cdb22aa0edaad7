"""What a client wants opened: an agent, a directory, a key, and the settings of a new session made of these."""

from __future__ import annotations

import os

import attrs

from trio_broker.agent.catalog import AgentSpec
from trio_broker.agent.lifecycle import SessionSettings
from trio_broker.auth.grant import OWNER, Grant, check_not_own
from trio_broker.auth.policy import Policy
from trio_broker.broker.authorization import (
    Env,
    can_see,
    check_directory,
    check_end,
    check_program,
    check_servers,
    fits_environment,
    keep_members,
    resolve_in_roots,
)
from trio_broker.config.config import Config
from trio_broker.errors import Forbidden, Misuse
from trio_broker.protocol import jsonrpc
from trio_broker.session.client_services import OpeningClient
from trio_broker.session.session import Session

NEW_SESSION_PARAMS = ("cwd", "mcpServers", "additionalDirectories")
MAX_KEY_BYTES = (
    8192  # bytes: a whole path and more; it stands in every picture, and in the environment of the agent
)


@attrs.frozen
class SessionDefaults:
    """What `session/new` on a connection uses unless it says otherwise."""

    spec: AgentSpec
    key: str | None = None
    cwd: str | None = None
    env: Env = ()
    policy: Policy | None = None


@attrs.frozen
class OpenRequest:
    """`params`: the raw `session/new` parameters. The broker asks it what its grant allows where that matters.

    `spec`: the agent that the client named, so another one's session will not do. None: the agent of the session that
    is there, or the default one for a new session. `opener`: the client, which serves the agent where it is to.
    """

    key: str
    spec: AgentSpec | None
    cwd: str
    params: bytes = b"{}"
    policy: Policy | None = None
    env: Env = ()
    grant: Grant = OWNER
    opener: OpeningClient | None = None

    def settings(self, config: Config, spec: AgentSpec) -> SessionSettings:
        """Those of a new session of this agent. Raises Forbidden outside the roots, Misuse where there is no directory.

        Raises Misuse for a key that no agent could carry: as a failed start it would count against the agent, for all.
        """
        cwd, params = self._directories()
        if not fits_environment(self.key) or len(os.fsencode(self.key)) > MAX_KEY_BYTES:
            raise Misuse(
                f"{self.key[:100]!r} can't be a session's key: up to {MAX_KEY_BYTES} bytes of UTF-8 without NUL",
                key=self.key[:100],
            )
        chosen = self.policy or config.policy.default
        found = SessionSettings.of(config, self.key, spec, cwd, params, chosen)
        return attrs.evolve(found, env=self.env, opened_by=self.grant.name)

    def _directories(self) -> tuple[str, bytes]:
        if self.grant.admin:
            return check_directory(self.cwd), self.params
        # The real path is what was checked, so it is what the agent gets: a link may point elsewhere by then. It is
        # checked before anything else, or the errors would tell which directories this host has.
        real = resolve_in_roots(self.grant, self.cwd, "params.cwd")
        asked = jsonrpc.decode(self.params)
        more = [
            resolve_in_roots(self.grant, one, "params.additionalDirectories")
            for one in asked.get("additionalDirectories") or ()
        ]
        known = (
            keep_members(asked, NEW_SESSION_PARAMS)
            | {"cwd": real}
            | ({"additionalDirectories": more} if more else {})
        )
        return check_directory(real), jsonrpc.encode(known)

    def check_allowed(self) -> None:
        """That the client may ask for these things at all. Raises Forbidden."""
        check_program(self.grant, self.spec, self.env)
        check_servers(self.grant, self.params)

    def check_key(self) -> None:
        """Raises Forbidden for a key that is none of this client's business, whether there is such a session or not."""
        if not self.grant.may_name(self.key):
            raise Forbidden(
                f"the token {self.grant.name!r} is for sessions {' '.join(self.grant.sessions)}, not {self.key!r}; "
                "choose a key that fits, or make a token with another --session",
                key=self.key,
            )

    def check_can_replace(self, session: Session) -> None:
        """Raises Forbidden for one that may not be ended for its key: what failed to start is anybody's who sees it."""
        self._check_can_see(session)
        check_not_own(self.grant, session.key)
        if not session.never_started:
            check_end(self.grant, session)

    def _check_can_see(self, session: Session) -> None:
        if not can_see(self.grant, session):
            raise Forbidden(
                f"the session {self.key!r} works outside the directories of the token {self.grant.name!r}; "
                "choose another key",
                key=self.key,
            )

    def check_compatible(self, session: Session) -> None:
        """That the session of this key will do. Raises Misuse (another agent's), Forbidden (outside the roots, or that
        of the agent inside which the client runs).
        """
        has, wants = session.settings.spec, self.spec
        check_not_own(self.grant, session.key)
        self._check_can_see(session)
        if wants is not None and has.argv != wants.argv:
            raise Misuse(
                f"session {session.key!r} belongs to agent {has.name!r}, not {wants.name!r}; "
                "choose another key, or close it first",
                key=session.key,
                agent=has.name,
            )
