"""The broker's own methods for who operates it: restart an agent, read the configuration anew, stop."""

from __future__ import annotations

import attrs
import trio

from trio_broker.broker.authorization import check_end
from trio_broker.broker.broker import Broker
from trio_broker.config.config import Config
from trio_broker.errors import Misuse, SessionOver
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.codec import structure
from trio_broker.protocol.jsonrpc import Message
from trio_broker.server.connection import AtOnce, Connection, Waiting
from trio_broker.server.methods.log import Which, which
from trio_broker.server.methods.reloading import take_up


@attrs.frozen
class Restart:
    session_id: str | None = None
    key: str | None = None
    kill: bool = False


@attrs.frozen
class Shutdown:
    drain: bool = False


async def restart(connection: Connection, message: Message) -> bytes:
    """End a session's process by the ladder, or at once (`kill`), and start another that takes up the conversation.

    The turn that runs ends as failed; what is queued runs in the new process. Answered when that works. Raises why it
    does not.
    """
    asked = structure(message.params, Restart)
    session = which(connection, Which(asked.session_id, asked.key))
    check_end(connection.grant, session)
    cause = SessionOver(f"the agent of session {session.key!r} was restarted by {connection.who}")
    why = session.restart(cause)
    if asked.kill:
        session.hurry()
    if why is not None:
        raise why
    await session.wait_ready()
    pid = session.life.agent.pid if session.life is not None and session.life.agent is not None else None
    facts = {"key": session.key, "sessionId": session.session_id, "pid": pid}
    return jsonrpc.encode(facts | {"resumed": session.resumed, "phase": session.phase.value})


async def reload(connection: Connection, message: Message) -> bytes:
    """Read the configuration anew, for what is started from now on; what is live keeps what it was opened with.

    A mistake in it changes nothing. Raises ConfigError. `later`: tables that have changed, and wait for a restart.
    """
    broker = connection.broker
    if broker.reread is None:
        raise Misuse("this broker was not started from a configuration file")
    read: Config = await trio.to_thread.run_sync(broker.reread)
    return jsonrpc.encode({"agents": sorted(read.agents), "later": take_up(broker, read)})


def shutdown(connection: Connection, message: Message) -> bytes:
    """Stop the broker: every session is ended, then the daemon is gone, and with it this connection.

    `kept`: how many prompts that wait run after the next start. `drain`: nothing new is begun, and it stops when every
    session is at rest; meanwhile `status` says so.
    """
    return shut_down(connection.broker, message.params)


def shut_down(broker: Broker, params: bytes) -> bytes:
    """The same for whoever is no client (see `unixdoor`). Raises BrokerError for parameters that do not fit."""
    if structure(params, Shutdown).drain:
        broker.drain()
        return b"{}"
    return jsonrpc.encode({"kept": broker.stop()})


AT_ONCE: dict[str, AtOnce] = {"shutdown": shutdown}
WAITING: dict[str, Waiting] = {"restart": restart, "reload": reload}
