"""What a client wants opened, and how much of it its grant allows.

Who opens a session chooses a program, its directory and what it is told: without limits a `prompt` token would be a
shell. So commands, environments and MCP servers that are programs are an admin's; directories have to lie within the
grant's roots; and agents are told only the parameters known to be harmless, because they have extensions of their own
(one takes its permission mode and more commands from `_meta`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import attrs

from trio_broker.agent.catalog import AgentSpec
from trio_broker.agent.lifecycle import Settings
from trio_broker.auth import policy
from trio_broker.auth.grant import OWNER, Grant, Scope, demand
from trio_broker.auth.policy import Policy
from trio_broker.config.config import Config
from trio_broker.errors import Forbidden, Misuse
from trio_broker.protocol import jsonrpc
from trio_broker.session.session import Session
from trio_broker.session.turn_queue import Turn

Env = tuple[tuple[str, str], ...]

TRACE = ("traceparent", "tracestate", "baggage")  # what ACP itself has in `_meta`
NEW = ("cwd", "mcpServers", "additionalDirectories")
KNOWN = {
    "session/prompt": ("sessionId", "prompt", "messageId"),
    "session/set_mode": ("sessionId", "modeId"),
    "session/set_model": ("sessionId", "modelId"),
    "session/set_config_option": ("sessionId", "configId", "type", "value"),
}
REMOTE_SERVER = {"type", "name", "url", "headers"}
LONGEST_KEY = (
    8192  # bytes: a whole path and more; it stands in every picture, and in the environment of the agent
)


@attrs.frozen
class Bound:
    """What `session/new` on a connection uses unless it says otherwise."""

    spec: AgentSpec
    key: str | None = None
    cwd: str | None = None
    env: Env = ()
    policy: Policy | None = None


@attrs.frozen
class Opening:
    """`params`: the raw `session/new` parameters. The broker asks it what its grant allows where that matters."""

    key: str
    spec: AgentSpec
    cwd: str
    params: bytes = b"{}"
    policy: Policy | None = None
    env: Env = ()
    named: bool = True  # the client said which agent it wants, so another one's session will not do
    grant: Grant = OWNER

    def settings(self, config: Config) -> Settings:
        """Those of a new session. Raises Forbidden outside the grant's roots, Misuse where there is no directory.

        Raises Misuse for a key that no agent could carry: as a failed start it would count against the agent, for all.
        """
        cwd, params = self._place()
        if not is_passable(self.key) or len(os.fsencode(self.key)) > LONGEST_KEY:
            raise Misuse(
                f"{self.key[:100]!r} can't be a session's key: up to {LONGEST_KEY} bytes of UTF-8 without NUL",
                key=self.key[:100],
            )
        chosen = self.policy or config.policy.default
        found = Settings.of(config, self.key, self.spec, cwd, params, chosen)
        return attrs.evolve(found, env=self.env, opened_by=self.grant.name)

    def _place(self) -> tuple[str, bytes]:
        if self.grant.admin:
            return directory(self.cwd), self.params
        # The real path is what was checked, so it is what the agent gets: a link may point elsewhere by then. It is
        # checked before anything else, or the errors would tell which directories this host has.
        real = within(self.grant, self.cwd, "params.cwd")
        asked = jsonrpc.decode(self.params)
        more = [
            within(self.grant, one, "params.additionalDirectories")
            for one in asked.get("additionalDirectories") or ()
        ]
        known = only(asked, NEW) | {"cwd": real} | ({"additionalDirectories": more} if more else {})
        return directory(real), jsonrpc.encode(known)

    def check_asked(self) -> None:
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

    def check_replaces(self, session: Session) -> None:
        """Raises Forbidden for one that may not be ended for its key: what failed to start is anybody's who sees it."""
        self._check_sees(session)
        if not session.stillborn:
            check_end(self.grant, session)

    def _check_sees(self, session: Session) -> None:
        if not sees(self.grant, session):
            raise Forbidden(
                f"the session {self.key!r} works outside the directories of the token {self.grant.name!r}; "
                "choose another key",
                key=self.key,
            )

    def check_fits(self, session: Session) -> None:
        """That the session of this key will do. Raises Misuse (another agent's), Forbidden (outside the roots)."""
        has, wants = session.settings.spec, self.spec
        self._check_sees(session)
        if self.named and has.argv != wants.argv:
            raise Misuse(
                f"session {session.key!r} belongs to agent {has.name!r}, not {wants.name!r}; "
                "choose another key, or close it first",
                key=session.key,
                agent=has.name,
            )


def sees(grant: Grant, session: Session) -> bool:
    """Whether this client knows of the session."""
    return grant.sees(session.key, session.settings.real_cwd)


def may_end(grant: Grant, session: Session) -> bool:
    """Whether it may close the session: an admin, and whose token has opened it."""
    return grant.admin or (grant.may(Scope.PROMPT) and session.settings.opened_by == grant.name)


def check_end(grant: Grant, session: Session) -> None:
    """Raises Forbidden unless it may close the session."""
    if not may_end(grant, session):
        demand(grant, Scope.ADMIN, "to close a session that another has opened")


def may_cancel(grant: Grant, session: Session, turn: Turn) -> bool:
    """Whether it may cancel the turn: the running one, and of those that wait its own."""
    return may_edit(grant, turn) or (grant.may(Scope.PROMPT) and turn is session.turns.running)


def may_edit(grant: Grant, turn: Turn) -> bool:
    """Whether it may say what becomes of a prompt that waits: an admin, and whose token has sent it."""
    own = (turn.author_name or "").rpartition("/")[0] == grant.name
    return grant.admin or (grant.may(Scope.PROMPT) and own)


def check_program(grant: Grant, spec: AgentSpec, env: Env) -> None:
    """Raises Forbidden for a command, or an environment, of the client's own. The configured agents are for all."""
    if spec.source == "command":
        demand(grant, Scope.ADMIN, "params.command")
    if env:  # PATH, LD_PRELOAD, NODE_OPTIONS: as good as a command
        demand(grant, Scope.ADMIN, "params.env")


def is_passable(text: str) -> bool:
    """Whether a process can get this in its environment."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can carry
        return False


def chosen_policy(grant: Grant, name: str | None) -> Policy | None:
    """The policy that a client asks for. Raises Misuse, and Forbidden where it may not answer itself.

    To deny is free: even "ask" may be more than the configuration allows.
    """
    chosen = None if name is None else policy.parse(name)
    if chosen not in (None, Policy.DENY_ALL):
        demand(grant, Scope.ANSWER, f"the policy {name!r}")
    return chosen


def check_servers(grant: Grant, params: bytes) -> None:
    """Raises Forbidden for MCP servers that are programs, or that have anything beyond an address."""
    for server in [] if grant.admin else jsonrpc.decode(params).get("mcpServers") or ():
        kind = server.get("type") if isinstance(server, dict) else None
        if kind not in ("http", "sse") or not set(server) <= REMOTE_SERVER:
            demand(grant, Scope.ADMIN, "an MCP server that is not plain http or sse (params.mcpServers)")


def within(grant: Grant, path: object, what: str) -> str:
    """The real path of a directory. Raises Forbidden outside the grant's roots."""
    real = (
        os.path.realpath(path) if isinstance(path, str) and os.path.isabs(path) and "\0" not in path else ""
    )
    if not grant.may_open_in(real):
        has = f"only within {', '.join(grant.roots)}" if grant.roots else "nowhere"
        raise Forbidden(
            f"{what}: the token {grant.name!r} may open sessions {has}, not in {path!r}; "
            "`trio-broker token new --root DIR` makes one for another directory",
            path=path,
        )
    return real


def directory(cwd: str) -> str:
    """Raises Misuse unless `cwd` is an absolute path of a directory on this host: a client may live on another."""
    if not os.path.isabs(cwd):
        raise Misuse(f"params.cwd: {cwd!r} is no absolute path", cwd=cwd)
    if not os.path.isdir(cwd):
        raise Misuse(f"params.cwd: there is no directory {cwd} on the broker's host", cwd=cwd)
    return cwd


def known_params(grant: Grant, method: str, params: bytes) -> bytes:
    """A method's parameters as the agent gets them: as they came from an admin, else what is known to be harmless."""
    return params if grant.admin else jsonrpc.encode(only(jsonrpc.decode(params), KNOWN[method]))


def only(asked: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """These members, and of `_meta` what ACP itself has there."""
    kept = {name: asked[name] for name in names if name in asked}
    meta = asked.get("_meta")
    trace = {name: meta[name] for name in TRACE if name in meta} if isinstance(meta, dict) else {}
    return kept | ({"_meta": trace} if trace else {})
