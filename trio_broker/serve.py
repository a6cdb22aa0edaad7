"""Serve one client over a byte stream: lines in, lines out, until it leaves or the broker is done with it."""

from __future__ import annotations

import select

import trio

from trio_broker import upward, verbs
from trio_broker.broker import Broker
from trio_broker.connection import Connection, Handlers
from trio_broker.errors import BadMessage
from trio_broker.outbox import WRITE, Outbox
from trio_broker.wire import jsonrpc
from trio_broker.wire.jsonrpc import LineSplitter

READ = 65536
WRITE_PATIENCE = 60.0  # seconds for one write of at most 256 KiB to a client that reads at all
STILL_THERE = 5.0  # seconds between two looks whether a client that said its last still listens

HANDLERS = Handlers(
    at_once=upward.AT_ONCE | verbs.AT_ONCE,
    waiting=upward.WAITING | verbs.WAITING,
    notifications=upward.NOTIFICATIONS,
    other=upward.pass_on,
)


async def serve(broker: Broker, stream: trio.SocketStream) -> None:
    """Serve until the client has left, lags too far behind, or the broker finished its outbox. Closes the stream.

    A client that closes its sending side only (`printf … | nc -U`) still gets the replies it waits for. Leaving, and
    cancelling this, ends the connection's own tasks; the turns go on (DESIGN D8).
    """
    async with stream, trio.open_nursery() as nursery:
        connection = Connection(broker, HANDLERS, nursery, broker.client_name())
        connection.outbox.on_lag = nursery.cancel_scope.cancel  # its write under way may be stuck for long
        broker.clients.add(connection)
        try:
            nursery.start_soon(_write, stream, connection.outbox, nursery.cancel_scope)
            await _read(stream, connection)
            await _until_answered(stream, connection)
            connection.finish()
            await trio.sleep_forever()  # the writer ends it, when all is out
        finally:
            broker.clients.discard(connection)
            connection.leave()


async def _read(stream: trio.SocketStream, connection: Connection) -> None:
    splitter = LineSplitter(connection.broker.config.broker.max_line)
    while data := await _receive(stream):
        try:
            lines = splitter.feed(data)
        except jsonrpc.LineTooLong as error:
            _say_too_long(connection, error)
            return
        for line in lines:
            connection.hear(line)


async def _receive(stream: trio.SocketStream) -> bytes:
    try:
        return bytes(await stream.receive_some(READ))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return b""


def _say_too_long(connection: Connection, error: BadMessage) -> None:
    told = jsonrpc.error_object(error.rpc_code, f"{error.message}; raise max_line in [broker]", error.data())
    connection.send(jsonrpc.error_response(b"null", told))


async def _until_answered(stream: trio.SocketStream, connection: Connection) -> None:
    """The client has said its last: wait for its open requests, unless it is gone altogether."""
    while not _hung_up(stream):
        with trio.move_on_after(STILL_THERE):
            await connection.owing.wait_value(0)
            return


def _hung_up(stream: trio.SocketStream) -> bool:
    """Whether both directions are closed, which a read that gives nothing does not tell."""
    poll = select.poll()
    poll.register(stream.socket.fileno(), 0)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))


async def _write(stream: trio.SocketStream, outbox: Outbox, connection: trio.CancelScope) -> None:
    """The only writer of this stream; when it can't go on, the connection is over (TRIO.md, fact 4)."""
    try:
        while data := memoryview(await outbox.take()):
            for start in range(0, len(data), WRITE):
                with trio.fail_after(WRITE_PATIENCE):
                    await stream.send_all(data[start : start + WRITE])
    except (trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # it left, or does not read: the same to us
    connection.cancel()
