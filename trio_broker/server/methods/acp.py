"""ACP as the broker speaks it to its clients: towards them it is one complete ACP v1 agent.

What it does not know itself goes through to the session's agent as it came, methods and fields alike.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import msgspec

from trio_broker import __version__
from trio_broker.auth.grant import Scope, require_scope
from trio_broker.broker.authorization import allowed_params, check_servers, may_end
from trio_broker.broker.broker import CREATED
from trio_broker.broker.open_request import OpenRequest, SessionDefaults
from trio_broker.errors import BrokerError, NoSession, RemoteError
from trio_broker.journal.log import read_range
from trio_broker.journal.replay import Replay
from trio_broker.model import Phase
from trio_broker.protocol import acp, jsonrpc
from trio_broker.protocol.capabilities import (
    ClientCapabilities,
    downgrade_replay,
    downgrade_settings,
    initialize_result,
    restore_boolean,
)
from trio_broker.protocol.codec import structure, unstructure
from trio_broker.protocol.extensions import METHOD_PREFIX
from trio_broker.protocol.jsonrpc import Message, id_key
from trio_broker.protocol.pending import Reply
from trio_broker.server.connection import AsyncMethod, Connection, SyncMethod
from trio_broker.server.methods.params import ResumePosition
from trio_broker.server.methods.prompt import broker_options, cancel, cancel_request, prompt
from trio_broker.session.session import Session

HOME = os.path.expanduser("~")  # where an agent is asked who it is, or told to log in
NOT_RUNNING = (Phase.STARTING, Phase.SUSPENDED, Phase.DEAD)
SETTINGS = ("session/set_mode", "session/set_config_option")


async def initialize(connection: Connection, message: Message) -> bytes:
    """The agent's own introduction, with what the broker adds and without what it can't honour."""
    asked = structure(message.params, acp.InitializeRequest)
    defaults = defaults_of(connection)
    raw = await connection.broker.registry.initialize_result(defaults.spec, defaults.cwd or HOME)
    connection.set_capabilities(asked.client_capabilities)
    connection.program = asked.client_info.name if asked.client_info is not None else ""
    connection.initialized = True
    return jsonrpc.encode(initialize_result(jsonrpc.decode(raw), asked.client_capabilities, __version__))


async def new_session(connection: Connection, message: Message) -> None:
    """Create the session, or get the one of the key that this connection is bound to; the agent's result, untouched."""
    connection.check_initialized()
    asked = structure(message.params, acp.NewSessionRequest)
    defaults = defaults_of(connection)
    request = OpenRequest(
        key=_key(connection, defaults, asked.cwd),
        spec=defaults.spec,
        cwd=asked.cwd,
        params=message.params,
        policy=defaults.policy,
        env=defaults.env,
        grant=connection.grant,
        opener=connection,
    )
    session, was = await connection.broker.open(request)
    with connection.opening(session):
        await session.wait_ready()
        connection.reply(
            message, session_result(session, connection.subscriptions.capabilities)
        )  # first, so that the client knows whose updates follow
        connection.subscriptions.attach(session, 1 if was == CREATED else None)
    if was != CREATED:
        send_commands(connection, session)


async def load_session(connection: Connection, message: Message) -> None:
    """Replay the log, merged, then answer, then go on live: nothing is missing and nothing comes twice (DESIGN D7)."""
    async with _woken(connection, message) as session, connection.full_read_lock:
        last, replay = session.log.last, Replay(session.session_id or "")
        await read_range(session.log, 1, last, replay.feed)
        for frame in replay.frames():
            connection.send(downgrade_replay(frame, connection.subscriptions.capabilities))
        connection.reply(
            message,
            jsonrpc.encode(
                downgrade_settings(session.state.settings(), connection.subscriptions.capabilities)
            ),
        )
        connection.subscriptions.attach(session, last + 1)


async def resume_session(connection: Connection, message: Message) -> None:
    """The same without what was said before; or from where a client was that was told `positions`.

    It says so with the `since` and the `began` of one in `_meta["trio-broker"]`.
    """
    async with _woken(connection, message) as session:
        position = structure(jsonrpc.encode(broker_options(message.params)), ResumePosition)
        since = (
            None if position.since is None else session.log.resume_position(position.since, position.began)
        )
        facts = downgrade_settings(session.state.settings(), connection.subscriptions.capabilities)
        connection.reply(message, jsonrpc.encode(facts))
        connection.subscriptions.attach(session, since)
        send_commands(connection, session)


@asynccontextmanager
async def _woken(connection: Connection, message: Message) -> AsyncGenerator[Session, None]:
    connection.check_initialized()
    session = connection.session(message)
    check_servers(connection.grant, message.params)
    connection.subscriptions.detach(session)
    with connection.opening(session):
        if connection.grant.may(Scope.PROMPT) and connection.grant.may_act_on(session.key):
            session.wake(connection)
            await session.wait_ready()
        yield session


def send_commands(connection: Connection, session: Session) -> None:
    """What a client that comes late would not know: the slash commands."""
    if session.state.commands is not None:
        update = {"sessionUpdate": "available_commands_update", "availableCommands": session.state.commands}
        params = jsonrpc.encode({"sessionId": session.session_id, "update": update})
        connection.send(jsonrpc.notification("session/update", params))


def session_result(session: Session, can: ClientCapabilities) -> bytes:
    """The raw result of the session's `session/new`, with its id as clients know it, and the modes of now."""
    facts = downgrade_settings(session.state.settings(), can)
    return jsonrpc.replace_members(session.state.session_new_result, sessionId=session.session_id, **facts)


def defaults_of(connection: Connection) -> SessionDefaults:
    """What the connection is bound to: what it said, else the default agent."""
    if connection.defaults is None:
        connection.defaults = SessionDefaults(connection.broker.registry.resolve(None))
    return connection.defaults


def _key(connection: Connection, defaults: SessionDefaults, cwd: str) -> str:
    taken = defaults.key is not None and any(
        session.key == defaults.key for session in connection.subscriptions.attached
    )
    if defaults.key is not None and not taken:
        return defaults.key
    return f"{defaults.key or f'{defaults.spec.name}:{cwd}'}#{uuid.uuid4().hex[:8]}"


async def close_session(connection: Connection, message: Message) -> bytes:
    """Detach while others listen, or if it is another's (D8); else end it, and answer when its processes are gone."""
    connection.check_initialized()
    session = connection.session(message)
    others = [listener for listener in session.router.listeners if listener is not connection]
    if others or not may_end(connection.grant, session):
        connection.subscriptions.detach(session)
    else:
        _cancel_all(session)
        await connection.broker.close(session)
    return b"{}"


def _cancel_all(session: Session) -> None:
    """Whoever waits for a prompt of it is told of a cancel, not of a failure: so ACP has the end of a session."""
    running = session.turns.running
    for turn in (*session.turns.queued(), *([running] if running is not None else [])):
        session.cancel(turn)


def list_sessions(connection: Connection, message: Message) -> bytes:
    """The sessions that live in this broker; all on one page."""
    connection.check_initialized()
    asked = structure(message.params, acp.ListSessionsRequest)
    found = [
        acp.SessionInfo(session.session_id, session.settings.cwd, session.state.title)
        for session in connection.sessions()
        if session.session_id is not None and not session.ending and asked.cwd in (None, session.settings.cwd)
    ]
    return jsonrpc.encode(unstructure(acp.ListSessionsResponse(found)))


async def delete_session(connection: Connection, message: Message) -> bytes:
    """End the session, and forget it with its log, closed or not. One that is forgotten already is no error."""
    connection.check_initialized()
    archive = connection.broker.archive
    try:
        session = connection.session(message)
        _cancel_all(session)
        await connection.broker.delete(session)
    except NoSession:
        try:
            await archive.forget(
                (await archive.find_saved(message.session_id, None, connection.grant)).number
            )
        except NoSession:
            pass  # ACP: deleting what is not there succeeds
    return b"{}"


def not_offered(connection: Connection, message: Message) -> None:
    raise RemoteError(
        jsonrpc.METHOD_NOT_FOUND,
        f"Method not found: {message.method}; the broker does not offer it",
        {"method": message.method},
    )


def forward(connection: Connection, message: Message) -> None:
    """A method the broker has no part in goes to the session's agent; without a session, to the bound agent."""
    method = message.method or ""
    if method.startswith(METHOD_PREFIX):
        raise RemoteError(jsonrpc.METHOD_NOT_FOUND, f"Method not found: {method}", {"method": method})
    connection.check_initialized()
    if message.session_id is None:
        require_scope(connection.grant, Scope.ADMIN, f"{method} without params.sessionId")
        connection.nursery.start_soon(_forward_to_control, connection, message)
    elif (session := connection.session(message)).phase in NOT_RUNNING:
        connection.nursery.start_soon(_forward_later, connection, message, session)
    else:
        _forward(connection, message, session)


async def _forward_to_control(connection: Connection, message: Message) -> None:
    defaults = defaults_of(connection)
    try:
        control = await connection.broker.registry.get_control_agent(defaults.spec, defaults.cwd or HOME)
        on_reply = partial(connection.forward_reply, message, None)
        number = control.request(message.method or "", message.params, on_reply)
    except BrokerError as error:
        connection.fail(message, error)
    else:
        connection.forwarded[id_key(message.id or b"null")] = control, number


async def _forward_later(connection: Connection, message: Message, session: Session) -> None:
    """To a session that has no process now, or not yet."""
    try:
        session.wake()
        await session.wait_ready()
        _forward(connection, message, session)
    except BrokerError as error:
        connection.fail(message, error)


def _forward(connection: Connection, message: Message, session: Session) -> None:
    connection.subscriptions.check_controls(session)
    method, updates_before = message.method or "", session.state.agent_updates
    params = allowed_params(connection.grant, method, message.params)
    if method == "session/set_config_option":
        params = restore_boolean(params, session.state.config_options)

    def on_reply(reply: Reply) -> None:
        if method in SETTINGS and not isinstance(reply, BrokerError) and reply.result is not None:
            session.state.apply_setting(method, params, reply.result)
            session.save(session)
            if (
                session.state.agent_updates == updates_before
            ):  # most agents answer the one who asked, and tell nobody
                session.router.publish_update(session.state.update_of(method))
            reply = _reply_for(connection, reply)
        session.log.when_shown(partial(connection.forward_reply, message, session.log, reply))

    number = session.request(method, params, on_reply)
    connection.forwarded[id_key(message.id or b"null")] = session, number


def _reply_for(connection: Connection, reply: Message) -> Message:
    """The answer to a changed setting, which has all options, for this client."""
    result = jsonrpc.decode(reply.result or b"null")
    if connection.subscriptions.capabilities.booleans or not isinstance(result, dict):
        return reply
    return msgspec.structs.replace(
        reply, result=jsonrpc.encode(downgrade_settings(result, connection.subscriptions.capabilities))
    )


SYNC_METHODS: dict[str, SyncMethod] = {
    "session/prompt": prompt,
    "session/list": list_sessions,
    "session/fork": not_offered,
}
ASYNC_METHODS: dict[str, AsyncMethod] = {
    "initialize": initialize,
    "session/new": new_session,
    "session/load": load_session,
    "session/resume": resume_session,
    "session/close": close_session,
    "session/delete": delete_session,
}
NOTIFICATIONS = {"session/cancel": cancel, "$/cancel_request": cancel_request}
