"""What a grant allows in the parameters of a method: programs, directories, environments, policies, prompts of others.

Who opens a session chooses a program, its directory and what it is told: without limits a `prompt` token would be a
shell. So commands, environments and MCP servers that are programs are an admin's; directories have to lie within the
grant's roots; and agents are told only the parameters known to be harmless, because they have extensions of their own
(one takes its permission mode and more commands from `_meta`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from trio_broker.agent.catalog import AgentSpec
from trio_broker.auth import policy
from trio_broker.auth.grant import Grant, Scope, check_not_own, require_scope
from trio_broker.auth.policy import Policy
from trio_broker.errors import Forbidden, Misuse
from trio_broker.protocol import jsonrpc
from trio_broker.session.session import Session
from trio_broker.session.turn_queue import Turn

Env = tuple[tuple[str, str], ...]

TRACE_META = ("traceparent", "tracestate", "baggage")  # what ACP itself has in `_meta`
ALLOWED_PARAMS = {
    "session/prompt": ("sessionId", "prompt", "messageId"),
    "session/set_mode": ("sessionId", "modeId"),
    "session/set_model": ("sessionId", "modelId"),
    "session/set_config_option": ("sessionId", "configId", "type", "value"),
}
REMOTE_SERVER = {"type", "name", "url", "headers"}


def can_see(grant: Grant, session: Session) -> bool:
    """Whether this client knows of the session."""
    return grant.can_see(session.key, session.settings.real_cwd)


def may_end(grant: Grant, session: Session) -> bool:
    """Whether it may close the session: an admin, and whose token has opened it."""
    opened = grant.may(Scope.PROMPT) and session.settings.opened_by == grant.name
    return grant.may_act_on(session.key) and (grant.admin or opened)


def check_end(grant: Grant, session: Session) -> None:
    """Raises Forbidden unless it may close the session."""
    check_not_own(grant, session.key)
    if not may_end(grant, session):
        require_scope(grant, Scope.ADMIN, "to close a session that another has opened")


def may_cancel(grant: Grant, session: Session, turn: Turn) -> bool:
    """Whether it may cancel the turn: the running one, and of those that wait its own."""
    return may_edit(grant, turn) or (grant.may(Scope.PROMPT) and turn is session.turns.running)


def may_edit(grant: Grant, turn: Turn) -> bool:
    """Whether it may say what becomes of a prompt that waits: an admin, and whose token has sent it."""
    own = (turn.author_name or "").rpartition("/")[0] == grant.name
    return grant.admin or (grant.may(Scope.PROMPT) and own)


def check_program(grant: Grant, spec: AgentSpec | None, env: Env) -> None:
    """Raises Forbidden for a command, or an environment, of the client's own. The configured agents are for all."""
    if spec is not None and spec.source == "command":
        require_scope(grant, Scope.ADMIN, "params.command")
    if env:  # PATH, LD_PRELOAD, NODE_OPTIONS: as good as a command
        require_scope(grant, Scope.ADMIN, "params.env")


def fits_environment(text: str) -> bool:
    """Whether a process can get this in its environment."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can carry
        return False


def allowed_policy(grant: Grant, name: str | None) -> Policy | None:
    """The policy that a client asks for. Raises Misuse, and Forbidden where it may not answer itself.

    To deny is free: even "ask" may be more than the configuration allows.
    """
    chosen = None if name is None else policy.parse_policy(name)
    if chosen not in (None, Policy.DENY_ALL):
        require_scope(grant, Scope.ANSWER, f"the policy {name!r}")
    return chosen


def check_servers(grant: Grant, params: bytes) -> None:
    """Raises Forbidden for MCP servers that are programs, or that have anything beyond an address."""
    for server in [] if grant.admin else jsonrpc.decode(params).get("mcpServers") or ():
        kind = server.get("type") if isinstance(server, dict) else None
        if kind not in ("http", "sse") or not set(server) <= REMOTE_SERVER:
            require_scope(
                grant, Scope.ADMIN, "an MCP server that is not plain http or sse (params.mcpServers)"
            )


def resolve_in_roots(grant: Grant, path: object, what: str) -> str:
    """The real path of a directory. Raises Forbidden outside the grant's roots."""
    real = (
        os.path.realpath(path) if isinstance(path, str) and os.path.isabs(path) and "\0" not in path else ""
    )
    if not grant.may_open_in(real):
        has = f"only within {', '.join(grant.roots)}" if grant.roots else "nowhere"
        who, remedy = (
            f"the token {grant.name!r}",
            "`trio-broker token new --root DIR` makes one for another directory",
        )
        if grant.inside is not None:
            who, remedy = f"{grant.inside.why}, so it", grant.inside.remedy
        raise Forbidden(f"{what}: {who} may open sessions {has}, not in {path!r}; {remedy}", path=path)
    return real


def check_directory(cwd: str) -> str:
    """Raises Misuse unless `cwd` is an absolute path of a directory on this host: a client may live on another."""
    if not os.path.isabs(cwd):
        raise Misuse(f"params.cwd: {cwd!r} is no absolute path", cwd=cwd)
    if not os.path.isdir(cwd):
        raise Misuse(f"params.cwd: there is no directory {cwd} on the broker's host", cwd=cwd)
    return cwd


def allowed_params(grant: Grant, method: str, params: bytes) -> bytes:
    """A method's parameters as the agent gets them: as they came from an admin, else what is known to be harmless."""
    return (
        params
        if grant.admin
        else jsonrpc.encode(keep_members(jsonrpc.decode(params), ALLOWED_PARAMS[method]))
    )


def keep_members(asked: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """These members, and of `_meta` what ACP itself has there."""
    kept = {name: asked[name] for name in names if name in asked}
    meta = asked.get("_meta")
    trace = {name: meta[name] for name in TRACE_META if name in meta} if isinstance(meta, dict) else {}
    return kept | ({"_meta": trace} if trace else {})
