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
from trio_broker.transport.base import FAREWELL, Link

STILL_THERE = 5.0  # seconds between two looks whether a client that said its last still listens

HANDLERS = Handlers(
    at_once=acp.AT_ONCE | sessions.AT_ONCE,
    waiting=acp.WAITING | sessions.WAITING,
    notifications=acp.NOTIFICATIONS,
    other=acp.pass_on,
)


async def serve(
    broker: Broker,
    link: Link,
    grant: Grant = OWNER,
    greet: Callable[[Connection], None] = lambda _: None,
) -> None:
    """Serve until the client has left, lags too far behind, or the broker finished its outbox. Closes the link.

    `greet` is called with the connection before anything is read. A client that closes its sending side only
    (`printf … | nc -U`) still gets the replies it waits for. Leaving, and cancelling this, ends the connection's own
    tasks; the turns go on (DESIGN D8).
    """
    ending: CloseReason | None = None
    try:
        async with trio.open_nursery() as nursery:
            connection = Connection(broker, HANDLERS, nursery, broker.client_name(grant), grant)
            connection.outbox.dress = link.dress
            connection.outbox.on_lag = lambda: connection.cut(CloseReason.TOO_SLOW)
            broker.clients.add(connection)
            try:
                greet(connection)
                nursery.start_soon(_write, link, connection)
                await _read(link, connection)
                await _until_answered(link, connection)
                connection.finish(CloseReason.LEFT)
                await trio.sleep_forever()  # the writer ends it, when all is out
            finally:
                broker.clients.discard(connection)
                connection.leave()
        ending = connection.ending or CloseReason.LEFT
    finally:
        if ending is None:
            ending = CloseReason.STOPPING if broker.stopping.is_set() else CloseReason.FAILED
        with trio.move_on_after(FAREWELL, shield=True):
            await link.close(ending)


async def _read(link: Link, connection: Connection) -> None:
    try:
        while (lines := await link.receive()) is not None:
            for line in lines:
                if connection.cut_off:
                    return
                connection.hear(line)
    except jsonrpc.LineTooLong as error:
        _say_too_long(connection, error)
        connection.ending = connection.ending or CloseReason.TOO_LONG


def _say_too_long(connection: Connection, error: BadMessage) -> None:
    told = jsonrpc.error_object(error.rpc_code, f"{error.message}; raise max_line in [broker]", error.data())
    connection.send(jsonrpc.error_response(b"null", told))


async def _until_answered(link: Link, connection: Connection) -> None:
    """The client has said its last: wait for its open requests, unless it is gone altogether."""
    while not (connection.cut_off or link.hung_up()):
        with trio.move_on_after(STILL_THERE):
            await connection.owing.wait_value(0)
            return


async def _write(link: Link, connection: Connection) -> None:
    """The only writer of this link; when it can't go on, the connection is over (TRIO.md, fact 4)."""
    try:
        while data := await connection.outbox.take():
            await link.send(data)
    except trio.TooSlowError:
        connection.cut(CloseReason.TOO_SLOW)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # it left
    connection.nursery.cancel_scope.cancel()
