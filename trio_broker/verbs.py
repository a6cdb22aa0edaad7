"""The broker's own methods, `_trio_broker/…`: extension methods of ACP, so that plain clients need none of them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import attrs
import trio

from trio_broker import catalog, policy
from trio_broker.broker import Opening
from trio_broker.catalog import AgentSpec
from trio_broker.connection import AtOnce, Bound, Connection, Waiting
from trio_broker.errors import Misuse
from trio_broker.policy import Policy
from trio_broker.session import Session
from trio_broker.turns import Turn
from trio_broker.upward import directory, new_turn, opened
from trio_broker.view import session_view
from trio_broker.wire import jsonrpc
from trio_broker.wire.acp import Object
from trio_broker.wire.convert import structure
from trio_broker.wire.jsonrpc import Message

PREFIX = "_trio_broker/"
TELL_EVERY = 1.0  # seconds between two words to who waits for a start


@attrs.frozen
class Bind:
    agent: str | None = None
    command: list[str] | None = None
    key: str | None = None
    cwd: str | None = None
    env: dict[str, str] = attrs.field(factory=dict)
    policy: str | None = None


@attrs.frozen
class Open:
    key: str
    cwd: str
    agent: str | None = None
    command: list[str] | None = None
    env: dict[str, str] = attrs.field(factory=dict)
    policy: str | None = None
    mcp_servers: list[Object] = attrs.field(factory=list)
    create: bool = True
    fresh: bool = False


@attrs.frozen
class Which:
    """A session by its id or its key, and where it matters one of its prompts."""

    session_id: str | None = None
    key: str | None = None
    prompt_id: str | None = None
    policy: str | None = None


@attrs.frozen
class Filter:
    cwd: str | None = None
    agent: str | None = None


def bind(connection: Connection, message: Message) -> bytes:
    """Say what `session/new` on this connection is to use: agent or command, key, environment, policy."""
    asked = structure(message.params, Bind)
    spec = _spec(connection, asked.agent, asked.command)
    chosen = _policy(asked.policy)
    connection.bound = Bound(spec, asked.key, asked.cwd, _env(asked.env), chosen)
    return b"{}"


def status(connection: Connection, message: Message) -> bytes:
    """The whole picture, from memory."""
    return jsonrpc.encode(connection.broker.status())


def sessions(connection: Connection, message: Message) -> bytes:
    """The sessions, those that died included; of one directory or agent if so asked."""
    asked = structure(message.params, Filter)
    views = [session_view(session) for session in connection.broker.pool.snapshot()]
    fitting = [
        view for view in views if asked.cwd in (None, view["cwd"]) and asked.agent in (None, view["agent"])
    ]
    return jsonrpc.encode({"sessions": fitting})


def agents(connection: Connection, message: Message) -> bytes:
    return jsonrpc.encode({"agents": connection.broker.agents()})


async def open_session(connection: Connection, message: Message) -> None:
    """Get or create a session by key, attached; while it starts, the client is told how it goes."""
    asked = structure(message.params, Open)
    _speaks_ours(connection)
    spec = _spec(connection, asked.agent, asked.command)
    params = jsonrpc.encode({"cwd": directory(asked.cwd), "mcpServers": asked.mcp_servers})
    named = asked.agent is not None or asked.command is not None
    opening = Opening(asked.key, spec, asked.cwd, params, _policy(asked.policy), _env(asked.env), named)
    session, created = await connection.broker.open(opening, create=asked.create, fresh=asked.fresh)
    await _wait_telling(connection, session)
    connection.reply(message, jsonrpc.encode(_opened(session, created)))
    connection.attach(session)


async def _wait_telling(connection: Connection, session: Session) -> None:
    begun = trio.current_time()
    while not session.started.is_set():
        with trio.move_on_after(TELL_EVERY):
            await session.wait_ready()
        if not session.started.is_set():
            words = (session.line.stderr_tail().split("\n") if session.line else []) or [""]
            last = next((word for word in reversed(words) if word.strip()), "")
            elapsed = trio.current_time() - begun
            name = session.settings.spec.name
            connection.event("starting", key=session.key, agent=name, elapsed=elapsed, stderr=last)
    await session.wait_ready()


def _opened(session: Session, created: bool) -> dict[str, Any]:
    result = jsonrpc.decode(opened(session))
    return {
        "sessionId": session.session_id,
        "key": session.key,
        "created": created,
        "phase": session.phase.value,
        "agent": session.settings.spec.name,
        "cwd": session.settings.cwd,
        "modes": result.get("modes"),
        "configOptions": result.get("configOptions"),
    }


def submit(connection: Connection, message: Message) -> bytes:
    """Queue a prompt and answer at once with its id and position; its outcome is not waited for."""
    asked = structure(message.params, Which)
    session = _which(connection, asked)
    blocks = jsonrpc.members(message.params).get("prompt", b"null")
    sent = b'{"sessionId":%b,"prompt":%b}' % (jsonrpc.encode(session.session_id), blocks)
    turn = new_turn(connection, sent)
    turn.policy, turn.prompt_id = _policy(asked.policy), asked.prompt_id or turn.prompt_id
    position = connection.submit(session, turn)
    return jsonrpc.encode({"promptId": turn.prompt_id, "position": position})


def cancel(connection: Connection, message: Message) -> bytes:
    """Cancel one prompt, or the running turn: says which it was. Takes no lock and waits for nothing (DESIGN D10)."""
    asked = structure(message.params, Which)
    session = _which(connection, asked)
    turn = _turn(session, asked.prompt_id)
    what = "nothing" if turn is None or session.ending else session.cancel(turn)
    return jsonrpc.encode(
        {"cancelled": what, "promptId": turn.prompt_id if turn and what != "nothing" else None}
    )


def _turn(session: Session, prompt_id: str | None) -> Turn | None:
    if session.turns is None:
        return None
    if prompt_id is None:
        return session.turns.running
    return session.turns.find(lambda turn: turn.prompt_id == prompt_id)


async def close(connection: Connection, message: Message, *, kill: bool = False) -> bytes:
    """End a session by the ladder, or at once (`kill`); answered when the last process of its group is gone."""
    session = _which(connection, structure(message.params, Which))
    await connection.broker.close(session, kill=kill)
    exit = session.agent.exit if session.agent is not None else None
    return jsonrpc.encode({"closed": True, "key": session.key, "exit": exit.details() if exit else None})


def logs(connection: Connection, message: Message) -> bytes:
    """The agent's last words on stderr, and the lines it wrote that were no messages."""
    line = _which(connection, structure(message.params, Which)).line
    stderr = line.stderr_tail(line.stderr_ring) if line else ""
    rejected = [raw.decode("utf-8", "replace") for raw in line.rejected] if line else []
    return jsonrpc.encode({"stderr": stderr, "rejected": rejected})


def shutdown(connection: Connection, message: Message) -> bytes:
    """Stop the broker: every session is ended, then the daemon is gone, and with it this connection."""
    connection.broker.stop()
    return b"{}"


def _speaks_ours(connection: Connection) -> None:
    """Who uses our own verbs knows our events, and what comes of a prompt without an `initialize`."""
    connection.events = connection.introduced = True


def _which(connection: Connection, which: Which) -> Session:
    if which.session_id is None and which.key is None:
        raise Misuse("say which session: params.sessionId or params.key")
    _speaks_ours(connection)
    return connection.broker.find(session_id=which.session_id, key=which.key)


def _spec(connection: Connection, agent: str | None, command: list[str] | None) -> AgentSpec:
    if command is not None:
        return catalog.from_command(command, agent)
    return connection.broker.resolve(agent)


def _policy(name: str | None) -> Policy | None:
    return None if name is None else policy.parse(name)


def _env(env: dict[str, str]) -> tuple[tuple[str, str], ...]:
    if not all(isinstance(value, str) for value in env.values()):
        raise Misuse("params.env: every value must be a string")
    return tuple(env.items())


_AT_ONCE: dict[str, Callable[[Connection, Message], bytes]] = {
    "bind": bind,
    "status": status,
    "sessions": sessions,
    "agents": agents,
    "submit": submit,
    "cancel": cancel,
    "logs": logs,
    "shutdown": shutdown,
}
_WAITING: dict[str, Waiting] = {
    "open": open_session,
    "close": close,
    "kill": functools.partial(close, kill=True),
}
AT_ONCE: dict[str, AtOnce] = {PREFIX + name: verb for name, verb in _AT_ONCE.items()}
WAITING: dict[str, Waiting] = {PREFIX + name: verb for name, verb in _WAITING.items()}
