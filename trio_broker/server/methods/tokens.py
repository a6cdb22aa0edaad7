"""The broker's own methods about tokens, for admins: make one, list them, end one."""

from __future__ import annotations

import attrs

from trio_broker.auth.grant import Grant, Scope
from trio_broker.errors import Misuse
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.codec import structure
from trio_broker.protocol.jsonrpc import Message
from trio_broker.server.connection import AtOnce, Connection, Waiting


@attrs.frozen
class New:
    """`expires_in`: seconds from now; None: it does not expire. `roots`: directories on the broker's host."""

    name: str
    scopes: list[str]
    sessions: list[str] = attrs.field(factory=list)
    roots: list[str] = attrs.field(factory=list)
    expires_in: float | None = None


@attrs.frozen
class Named:
    name: str


async def token_new(connection: Connection, message: Message) -> bytes:
    """Make a token; the answer has its text, which is told this once."""
    asked, tokens = structure(message.params, New), connection.broker.tokens
    expires = None if asked.expires_in is None else tokens.now() + asked.expires_in
    scopes = frozenset(map(_scope, asked.scopes))
    grant = Grant(asked.name, scopes, tuple(asked.sessions), tuple(asked.roots), expires)
    secret = await tokens.new(grant)
    made = next(token for token in tokens.listed() if token["name"] == asked.name)
    return jsonrpc.encode({"token": secret, **made})


def tokens(connection: Connection, message: Message) -> bytes:
    """Every token and what it may; no text of any."""
    return jsonrpc.encode({"tokens": connection.broker.tokens.listed()})


async def token_revoke(connection: Connection, message: Message) -> bytes:
    """End a token, and with it the connections that came with it."""
    await connection.broker.tokens.revoke(structure(message.params, Named).name)
    return b'{"revoked":true}'


def _scope(text: str) -> Scope:
    try:
        return Scope(text)
    except ValueError:
        choices = [scope.value for scope in Scope]
        raise Misuse(f"{text!r} is no scope; use some of {', '.join(choices)}", choices=choices) from None


AT_ONCE: dict[str, AtOnce] = {"tokens": tokens}
WAITING: dict[str, Waiting] = {"token_new": token_new, "token_revoke": token_revoke}
