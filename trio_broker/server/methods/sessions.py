"""The broker's own methods, `_trio_broker/…`: extension methods of ACP, so that plain clients need none of them."""

from __future__ import annotations

import functools
from typing import Any

import trio

from trio_broker.auth.grant import Scope, require_scope
from trio_broker.broker.authorization import (
    allowed_policy,
    check_end,
    check_program,
    fits_environment,
    may_cancel,
    resolve_in_roots,
)
from trio_broker.broker.broker import CREATED, WOKEN
from trio_broker.broker.open_request import OpenRequest, SessionDefaults
from trio_broker.broker.status import session_view
from trio_broker.errors import Misuse, SessionOver
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.codec import structure
from trio_broker.protocol.extensions import METHOD_PREFIX
from trio_broker.protocol.jsonrpc import Message
from trio_broker.server.connection import AsyncMethod, Connection, SyncMethod
from trio_broker.server.methods import admin, log, permissions, queue
from trio_broker.server.methods.params import (
    BindParams,
    ListParams,
    OpenParams,
    ReadParams,
    SessionRef,
    WatchParams,
    enable_extensions,
    find_session,
)
from trio_broker.server.methods.prompt import new_turn, submit_if
from trio_broker.session.session import Session
from trio_broker.session.turn_queue import Turn

REPORT_INTERVAL = 1.0  # seconds between two words to who waits for a start


def bind(connection: Connection, message: Message) -> bytes:
    """Say what `session/new` on this connection is to use: agent or command, key, environment, policy."""
    asked = structure(message.params, BindParams)
    spec, env = connection.broker.registry.resolve(asked.agent, asked.command), _env(asked.env)
    check_program(connection.grant, spec, env)
    if asked.cwd is not None:
        resolve_in_roots(connection.grant, asked.cwd, "params.cwd")
    chosen = allowed_policy(connection.grant, asked.policy)
    connection.defaults = SessionDefaults(spec, asked.key, asked.cwd, env, chosen)
    return b"{}"


def status(connection: Connection, message: Message) -> bytes:
    """The whole picture, from memory."""
    return jsonrpc.encode(connection.broker.status(connection.grant))


def sessions(connection: Connection, message: Message) -> bytes:
    """The sessions, those that died included; of one directory or agent if so asked."""
    asked = structure(message.params, ListParams)
    views = [session_view(session) for session in connection.sessions()]
    fitting = [
        view for view in views if asked.cwd in (None, view["cwd"]) and asked.agent in (None, view["agent"])
    ]
    return jsonrpc.encode({"sessions": fitting})


def agents(connection: Connection, message: Message) -> bytes:
    """Every agent there is. Its command line, which may have keys in it, is for admins."""
    listed = connection.broker.registry.list_agents()
    hidden = {} if connection.grant.admin else {"command": None}
    return jsonrpc.encode({"agents": [agent | hidden for agent in listed]})


async def open_session(connection: Connection, message: Message) -> None:
    """Get or create a session by key, attached; while it starts, the client is told how it goes."""
    asked = structure(message.params, OpenParams)
    enable_extensions(connection)
    if asked.client_capabilities is not None:
        connection.set_capabilities(asked.client_capabilities)
    named = asked.agent is not None or asked.command is not None
    spec = connection.broker.registry.resolve(asked.agent, asked.command) if named else None
    params = jsonrpc.encode({"cwd": asked.cwd, "mcpServers": asked.mcp_servers})
    chosen = allowed_policy(connection.grant, asked.policy)
    env = _env(asked.env)
    request = OpenRequest(asked.key, spec, asked.cwd, params, chosen, env, connection.grant, connection)
    session, was = await connection.broker.open(request, create=asked.create, fresh=asked.fresh)
    with connection.opening(session):
        await _wait_reporting(connection, session)
        connection.reply(message, jsonrpc.encode(_opened(session, was)))
        connection.subscriptions.attach(session, 1 if was == CREATED else None)


async def _wait_reporting(connection: Connection, session: Session) -> None:
    begun = trio.current_time()
    while True:
        with trio.move_on_after(REPORT_INTERVAL):
            await session.wait_ready()
            return
        agent_connection = session.agent_run.connection if session.agent_run is not None else None
        stderr_lines = agent_connection.stderr_tail().split("\n") if agent_connection is not None else []
        last = next((word for word in reversed(stderr_lines) if word.strip()), "")
        elapsed, name = trio.current_time() - begun, session.settings.spec.name
        connection.send_event("starting", key=session.key, agent=name, elapsed=elapsed, stderr=last)


def _opened(session: Session, was: str) -> dict[str, Any]:
    facts = session.state.settings()
    return {
        "sessionId": session.session_id,
        "key": session.key,
        "created": was == CREATED,
        "woken": was == WOKEN,
        "resumed": session.resumed,
        "last": session.log.last,
        "lastTurn": session.turns.last_outcome,
        "phase": session.phase.value,
        "agent": session.settings.spec.name,
        "cwd": session.settings.cwd,
        "policy": session.settings.policy.value,
        "modes": facts.get("modes"),
        "configOptions": facts.get("configOptions"),
    }


async def _reply_when_durable(
    connection: Connection, message: Message, session: Session, result: bytes
) -> None:
    await session.log.wait_kept()
    connection.reply(message, result)


def submit(connection: Connection, message: Message) -> None:
    """Queue a prompt; answered with its id and position when it is on disk: it then runs, once, whatever happens.

    Its outcome is not waited for. A prompt id that is known already is answered with what became of it.
    """
    asked = structure(message.params, SessionRef)
    session = find_session(connection, asked)
    if (known := _known(session, asked.prompt_id)) is not None:
        session.turns.make_durable(asked.prompt_id)
        connection.nursery.start_soon(
            _reply_when_durable, connection, message, session, jsonrpc.encode(known)
        )
        return
    if asked.prompt_id is not None and (there := _turn(session, asked.prompt_id)) is not None:
        there.on_end(lambda _: connection.reply(message, jsonrpc.encode(_known(session, there.prompt_id))))
        return
    blocks = jsonrpc.members(message.params).get("prompt", b"null")
    sent = b'{"sessionId":%b,"prompt":%b}' % (jsonrpc.encode(session.session_id), blocks)
    turn = new_turn(connection, sent)
    turn.policy, turn.prompt_id = (
        allowed_policy(connection.grant, asked.policy),
        asked.prompt_id or turn.prompt_id,
    )
    turn.durable = True
    position = submit_if(connection, session, turn, asked.if_busy)
    result = jsonrpc.encode({"promptId": turn.prompt_id, "position": position})
    connection.nursery.start_soon(_reply_when_durable, connection, message, session, result)


def _known(session: Session, prompt_id: str | None) -> dict[str, Any] | None:
    if prompt_id is None:
        return None
    if (ended := session.turns.outcomes.get(prompt_id)) is not None:
        return {"promptId": prompt_id, "position": None, "ended": ended}
    running = session.turns.running
    turns = ((running,) if running is not None else ()) + session.turns.queued()
    places = {turn.prompt_id: place for place, turn in enumerate(turns, 0 if running is not None else 1)}
    return {"promptId": prompt_id, "position": places[prompt_id]} if prompt_id in places else None


def cancel(connection: Connection, message: Message) -> bytes | None:
    """Cancel one prompt, or the running turn: says which it was. Takes no lock and waits for no agent (DESIGN D10).

    That a prompt which waited is cancelled is said when it is on disk: it does not run after a crash then.
    """
    asked = structure(message.params, SessionRef)
    session = find_session(connection, asked)
    connection.subscriptions.check_controls(session)
    turn = _turn(session, asked.prompt_id)
    if turn is not None and not may_cancel(connection.grant, session, turn):
        require_scope(connection.grant, Scope.ADMIN, "to cancel a waiting prompt of another")
    what = "nothing" if turn is None or session.ending else session.cancel(turn)
    id = turn.prompt_id if turn and what != "nothing" else None
    result = jsonrpc.encode({"cancelled": what, "promptId": id})
    if turn is None or what != "queued":
        return result
    turn.on_end(lambda _: connection.reply(message, result))
    return None


def _turn(session: Session, prompt_id: str | None) -> Turn | None:
    if prompt_id is None:
        return session.turns.running
    return session.turns.find(prompt_id)


async def close(connection: Connection, message: Message, *, kill: bool = False) -> bytes:
    """End a session by the ladder, or at once (`kill`); answered when the last process of its group is gone."""
    session = find_session(connection, structure(message.params, SessionRef))
    check_end(connection.grant, session)
    await connection.broker.close(session, kill=kill)
    if not session.closed:
        raise SessionOver(
            f"session {session.key!r} was ending already, and is kept: it can be resumed", key=session.key
        )
    agent = session.agent_run.agent if session.agent_run is not None else None
    exit = agent.exit if agent is not None else None
    return jsonrpc.encode({"closed": True, "key": session.key, "exit": exit.details() if exit else None})


def logs(connection: Connection, message: Message) -> bytes:
    """The agent's last words on stderr, from position `since` on, and the lines it wrote that were no messages.

    `end` is the position for the next call; it begins anew with each process, which `pid` tells.
    """
    asked = structure(message.params, ReadParams)
    session = find_session(connection, SessionRef(asked.session_id, asked.key))
    agent_connection = session.agent_run.connection if session.agent_run is not None else None
    if agent_connection is None:
        return b'{"stderr":"","rejected":[],"rejectedCount":0,"end":0,"pid":null}'
    rejected = [raw.decode("utf-8", "replace") for raw in agent_connection.rejected]
    facts = {
        "stderr": agent_connection.stderr_since(asked.since or 0),
        "rejected": rejected,
        "pid": agent_connection.agent.pid,
    }
    return jsonrpc.encode(
        facts | {"rejectedCount": agent_connection.rejected_count, "end": agent_connection.stderr_end}
    )


async def watch(connection: Connection, message: Message) -> bytes:
    """The newest snapshot of the whole broker, when it is another one than number `after` (see broker/status)."""
    feed = connection.broker.snapshots
    asked = structure(message.params, WatchParams)
    connection.nursery.start_soon(feed.measure)
    snapshot = await feed.next(asked.after)
    facts = None if connection.grant.admin else jsonrpc.encode(connection.broker.facts(connection.grant))
    return snapshot.render_for(connection.grant, feed.clock(), facts)


def _env(env: dict[str, str]) -> tuple[tuple[str, str], ...]:
    if not all(isinstance(value, str) for value in env.values()):
        raise Misuse("params.env: every value must be a string")
    if wrong := [
        name for name, value in env.items() if not fits_environment(name + value) or "=" in (name or "=")
    ]:
        raise Misuse(f"params.env: no process can get {wrong[0]!r}, for what is in its name or value")
    return tuple(env.items())


_SYNC: dict[str, SyncMethod] = {
    **log.SYNC_METHODS,
    **permissions.SYNC_METHODS,
    **queue.SYNC_METHODS,
    **admin.SYNC_METHODS,
    "bind": bind,
    "status": status,
    "sessions": sessions,
    "agents": agents,
    "submit": submit,
    "cancel": cancel,
    "logs": logs,
}
_ASYNC: dict[str, AsyncMethod] = {
    **log.ASYNC_METHODS,
    **queue.ASYNC_METHODS,
    **admin.ASYNC_METHODS,
    "open": open_session,
    "watch": watch,
    "close": close,
    "kill": functools.partial(close, kill=True),
}
SYNC_METHODS: dict[str, SyncMethod] = {METHOD_PREFIX + name: verb for name, verb in _SYNC.items()}
ASYNC_METHODS: dict[str, AsyncMethod] = {METHOD_PREFIX + name: verb for name, verb in _ASYNC.items()}
