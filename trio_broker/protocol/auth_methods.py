"""The login methods that an agent offers, what a client gets of them, and which account an agent names. Pure.

A `terminal` method is a login in a terminal: the agent's own command with `args` appended and `env` on top (ACP,
"Authentication"). The capability for it is the client's promise that it can start that command again. Behind a broker
no client knows the agent's command: what it configured as its agent is `trio-broker acp …`. So it gets each method with
one variable, LOGIN_VARIABLE, in place of the agent's arguments: with it `trio-broker acp` runs the login instead of a
conversation. Other arguments in the client's command do not matter then, nor their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from trio_broker.errors import AUTH_REQUIRED, BadMessage
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import Message

LOGIN_VARIABLE = "TRIO_BROKER_LOGIN"  # the id of the method
ACCOUNT_MEMBERS = ("account", "accounts", "email", "user", "username")
ACCOUNT_PARTS = ("label", "name", "email", "organization")
MAX_DEPTH = 4  # objects within objects in which an account is looked for

Object = dict[str, Any]


@attrs.frozen
class TerminalMethod:
    """A login in a terminal: what is added to the agent's command line and to its environment."""

    id: str
    name: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = attrs.field(factory=dict)


def terminal_methods(methods: object) -> list[TerminalMethod]:
    """Those of an agent's `authMethods` that can be run. One with other arguments than texts cannot (ACP)."""
    found = []
    for method in _objects(methods):
        args, env, id = method.get("args") or [], method.get("env") or {}, method.get("id")
        texts = (
            isinstance(args, list) and isinstance(env, dict) and all(map(_is_word, [*args, *env.values()]))
        )
        if method.get("type") == "terminal" and isinstance(id, str) and texts:
            found.append(TerminalMethod(id, str(method.get("name") or id), tuple(args), env))
    return found


def offered_methods(methods: object, client: Mapping[str, Any]) -> list[Object]:
    """The methods for a client with these capabilities."""
    auth = client.get("auth")
    terminal = isinstance(auth, dict) and auth.get("terminal") is True
    return [
        _through_broker(method) if method.get("type") == "terminal" else method
        for method in _objects(methods)
        if terminal or method.get("type") != "terminal"
    ]


def _through_broker(method: Object) -> Object:
    return method | {"args": [], "env": {LOGIN_VARIABLE: str(method.get("id"))}}


def error_for_client(error: bytes, client: Mapping[str, Any]) -> bytes:
    """A raw error object for a client with these capabilities: one that demands a login can list methods."""
    found = _decode_object(error) if b'"authMethods"' in error else {}
    data = found.get("data") if found.get("code") == AUTH_REQUIRED else None
    if not isinstance(data, dict):
        return error
    data |= {"authMethods": offered_methods(data.get("authMethods"), client)}
    return jsonrpc.replace_members(error, data=data)


@attrs.frozen
class LoginHelp:
    """What an agent said of its logins at `initialize`; `command` runs the one in a terminal."""

    methods: tuple[Object, ...] = ()
    command: str = ""

    def explain(self, reply: Message) -> Message:
        """The reply, with how to log in where the agent demands a login: agents leave that out (ACP §7, 17)."""
        error = _decode_object(reply.error or b"null")
        if not self.methods or error.get("code") != AUTH_REQUIRED:
            return reply
        if not error.get("data"):
            error["data"] = {"authMethods": list(self.methods)}
        if terminal_methods(self.methods):
            text = error.get("message")
            error["message"] = f"{text if isinstance(text, str) else 'Authentication required'}{self.hint}"
        body = jsonrpc.error_response(reply.id or b"null", jsonrpc.encode(error))
        return jsonrpc.parse_envelope(body.rstrip(b"\n"))

    @property
    def hint(self) -> str:
        """How the login in a terminal is run, to be appended to an error."""
        return f" (to log in: `{self.command}`)"


def account_texts(*said: object) -> list[str]:
    """The accounts that these answers of an agent name; none where they name none. Active ones stand alone.

    An answer of `auth/status` has `accounts`. Elsewhere ACP has no place for an account, and agents use `_meta`.
    """
    found = [account for value in said for account in _accounts(value, MAX_DEPTH)]
    active = [account for account in found if isinstance(account, dict) and account.get("active") is True]
    return list(dict.fromkeys(filter(None, map(_account_text, active or found))))


def _accounts(value: object, depth: int) -> Iterator[object]:
    if not isinstance(value, dict) or not depth:
        return
    for name, member in value.items():
        if name in ACCOUNT_MEMBERS:
            yield from member if isinstance(member, list) else [member]
        else:
            yield from _accounts(member, depth - 1)


def _account_text(account: object) -> str:
    if not isinstance(account, dict):
        return account.strip() if isinstance(account, str) else ""
    parts = [account.get(name) for name in ACCOUNT_PARTS]
    return ", ".join(part.strip() for part in parts if isinstance(part, str) and part.strip())


def _decode_object(raw: bytes) -> Object:
    """The object; {} for other JSON, and for JSON that cannot be read, such as a number beyond all floats."""
    try:
        value = jsonrpc.decode(raw)
    except BadMessage:
        return {}
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> Iterable[Object]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list | tuple) else []


def _is_word(value: object) -> bool:
    """Whether it can be an argument or a value in an environment."""
    return isinstance(value, str) and "\0" not in value
