"""Serve one client over a link: lines in, lines out, until it leaves or the broker is done with it."""

from __future__ import annotations

from collections.abc import Callable

import trio

from trio_broker.auth.grant import OWNER, Grant
from trio_broker.broker.broker import Broker
from trio_broker.errors import BadMessage
from trio_broker.model import CloseReason
from trio_broker.protocol import jsonrpc
from trio_broker.server.connection import Connection, Handlers
from trio_broker.server.methods import acp, sessions
from trio_broker.transport.base import CLOSE_TIMEOUT, Transport

CLIENT_CHECK_INTERVAL = 5.0  # seconds between two looks whether a client that said its last still listens

HANDLERS = Handlers(
    sync_methods=acp.SYNC_METHODS | sessions.SYNC_METHODS,
    async_methods=acp.ASYNC_METHODS | sessions.ASYNC_METHODS,
    notifications=acp.NOTIFICATIONS,
    fallback=acp.forward,
)


async def serve(
    broker: Broker,
    transport: Transport,
    grant: Grant = OWNER,
    on_connect: Callable[[Connection], None] = lambda _: None,
) -> None:
    """Serve until the client has left, lags too far behind, or the broker finished its outbox. Closes the link.

    `on_connect` is called with the connection before anything is read. A client that closes its sending side only
    (`printf … | nc -U`) still gets the replies it waits for. Leaving, and cancelling this, ends the connection's own
    tasks; the turns go on (DESIGN D8).
    """
    ending: CloseReason | None = None
    try:
        async with trio.open_nursery() as nursery:
            connection = Connection(broker, HANDLERS, nursery, broker.client_name(grant), grant)
            connection.outbox.encode = transport.encode
            connection.outbox.on_lag = lambda: connection.abort(CloseReason.TOO_SLOW)
            broker.clients.add(connection)
            try:
                on_connect(connection)
                nursery.start_soon(_write, transport, connection)
                await _read(transport, connection)
                await _until_answered(transport, connection)
                connection.finish(CloseReason.LEFT)
                await trio.sleep_forever()  # the writer ends it, when all is out
            finally:
                broker.clients.discard(connection)
                connection.detach_all()
        ending = connection.close_reason or CloseReason.LEFT
    finally:
        if ending is None:
            ending = CloseReason.STOPPING if broker.stopping.is_set() else CloseReason.FAILED
        with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
            await transport.close(ending)


async def _read(transport: Transport, connection: Connection) -> None:
    try:
        while (lines := await transport.receive()) is not None:
            for line in lines:
                if connection.aborted:
                    return
                connection.receive_line(line)
    except jsonrpc.LineTooLong as error:
        _send_too_long(connection, error)
        connection.close_reason = connection.close_reason or CloseReason.TOO_LONG


def _send_too_long(connection: Connection, error: BadMessage) -> None:
    body = jsonrpc.error_object(error.rpc_code, f"{error.message}; raise max_line in [broker]", error.data())
    connection.send(jsonrpc.error_response(b"null", body))


async def _until_answered(transport: Transport, connection: Connection) -> None:
    """The client has said its last: wait for its open requests, unless it is gone altogether."""
    while not (connection.aborted or transport.is_disconnected()):
        with trio.move_on_after(CLIENT_CHECK_INTERVAL):
            await connection.unanswered.wait_value(0)
            return


async def _write(transport: Transport, connection: Connection) -> None:
    """The only writer of this link; when it can't go on, the connection is over (TRIO.md, fact 4)."""
    try:
        while data := await connection.outbox.take():
            await transport.send(data)
    except trio.TooSlowError:
        connection.abort(CloseReason.TOO_SLOW)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # it left
    connection.nursery.cancel_scope.cancel()
