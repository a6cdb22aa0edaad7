"""The broker's own methods for operators: restart an agent, reload the configuration, stop; make and revoke tokens."""

from __future__ import annotations

import attrs
import trio

from trio_broker.auth.grant import OWNER, Grant, Scope
from trio_broker.broker.authorization import check_end
from trio_broker.broker.broker import Broker
from trio_broker.broker.notify import NotifyHook
from trio_broker.config.config import Config
from trio_broker.errors import Forbidden, Misuse, SessionOver
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.codec import structure
from trio_broker.protocol.jsonrpc import Message
from trio_broker.server.connection import AsyncMethod, Connection, SyncMethod
from trio_broker.server.methods.params import (
    LaunchParams,
    NewTokenParams,
    RestartParams,
    RevokeTokenParams,
    SessionRef,
    ShutdownParams,
    find_session,
)

AT_START = ("listen", "journal")  # tables that hold as they were when the broker began


def apply_config(broker: Broker, read: Config) -> list[str]:
    """Have it hold; gives the tables that have changed and wait for the next start."""
    kept = {name: getattr(broker.config, name) for name in AT_START}
    config = attrs.evolve(read, **kept)
    broker.config = broker.registry.config = config
    broker.registry.starting.total_tokens = config.broker.max_starting
    broker.pool.limit = config.broker.max_sessions
    broker.notify_hook = NotifyHook(config.policy.notify)
    return [name for name, value in kept.items() if getattr(read, name) != value]


async def restart(connection: Connection, message: Message) -> bytes:
    """End a session's process by the ladder, or at once (`kill`), and start another that takes up the conversation.

    The turn that runs ends as failed; what is queued runs in the new process. Answered when that works. Raises why it
    does not.
    """
    asked = structure(message.params, RestartParams)
    session = find_session(connection, SessionRef(asked.session_id, asked.key))
    check_end(connection.grant, session)
    cause = SessionOver(f"the agent of session {session.key!r} was restarted by {connection.identity}")
    why = session.restart(cause)
    if asked.kill:
        session.kill_now()
    if why is not None:
        raise why
    await session.wait_ready()
    pid = (
        session.agent_run.agent.pid
        if session.agent_run is not None and session.agent_run.agent is not None
        else None
    )
    facts = {"key": session.key, "sessionId": session.session_id, "pid": pid}
    return jsonrpc.encode(facts | {"resumed": session.resumed, "phase": session.phase.value})


def launch(connection: Connection, message: Message) -> bytes:
    """How this broker starts an agent: command, directory and environment, for a login in its owner's terminal.

    The answer has keys in it, so an admin's token is not enough. Raises Forbidden, UnknownAgent, NoDefaultAgent.
    """
    if connection.grant != OWNER:
        raise Forbidden(
            "the environment of an agent has keys in it, and is given to the broker's owner only; run "
            "`trio-broker agents login` as that user on the broker's machine"
        )
    asked = structure(message.params, LaunchParams)
    registry = connection.broker.registry
    spec = registry.resolve(asked.agent, asked.command)
    return jsonrpc.encode(registry.launch(spec, asked.cwd))


async def reload(connection: Connection, message: Message) -> bytes:
    """Read the configuration anew, for what is started from now on; what is live keeps what it was opened with.

    A mistake in it changes nothing. Raises ConfigError. `later`: tables that have changed, and wait for a restart.
    """
    broker = connection.broker
    if broker.reload_config is None:
        raise Misuse("this broker was not started from a configuration file")
    read: Config = await trio.to_thread.run_sync(broker.reload_config)
    return jsonrpc.encode({"agents": sorted(read.agents), "later": apply_config(broker, read)})


def shutdown(connection: Connection, message: Message) -> bytes:
    """Stop the broker: every session is ended, then the daemon is gone, and with it this connection.

    `kept`: how many prompts that wait run after the next start. `drain`: nothing new is begun, and it stops when every
    session is at rest; meanwhile `status` says so.
    """
    return shut_down(connection.broker, message.params)


def shut_down(broker: Broker, params: bytes) -> bytes:
    """The same for whoever is no client (see `server/unix`). Raises BrokerError for parameters that do not fit."""
    if structure(params, ShutdownParams).drain:
        broker.drain()
        return b"{}"
    return jsonrpc.encode({"kept": broker.stop()})


async def token_new(connection: Connection, message: Message) -> bytes:
    """Make a token; the answer has its text, which is told this once."""
    asked, tokens = structure(message.params, NewTokenParams), connection.broker.tokens
    expires = None if asked.expires_in is None else tokens.now() + asked.expires_in
    scopes = frozenset(map(_scope, asked.scopes))
    grant = Grant(asked.name, scopes, tuple(asked.sessions), tuple(asked.roots), expires)
    secret = await tokens.create(grant)
    made = next(token for token in tokens.list_tokens() if token["name"] == asked.name)
    return jsonrpc.encode({"token": secret, **made})


def tokens(connection: Connection, message: Message) -> bytes:
    """Every token and what it may; no text of any."""
    return jsonrpc.encode({"tokens": connection.broker.tokens.list_tokens()})


async def token_revoke(connection: Connection, message: Message) -> bytes:
    """End a token, and with it the connections that came with it."""
    await connection.broker.tokens.revoke(structure(message.params, RevokeTokenParams).name)
    return b'{"revoked":true}'


def _scope(text: str) -> Scope:
    try:
        return Scope(text)
    except ValueError:
        choices = [scope.value for scope in Scope]
        raise Misuse(f"{text!r} is no scope; use some of {', '.join(choices)}", choices=choices) from None


SYNC_METHODS: dict[str, SyncMethod] = {"launch": launch, "shutdown": shutdown, "tokens": tokens}
ASYNC_METHODS: dict[str, AsyncMethod] = {
    "restart": restart,
    "reload": reload,
    "token_new": token_new,
    "token_revoke": token_revoke,
}
