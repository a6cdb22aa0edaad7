"""The Unix socket's door: only its owner, and root, get in, and they may do everything."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import trio

from trio_broker.broker import Broker
from trio_broker.containment import contained
from trio_broker.link import Lines
from trio_broker.serve import serve
from trio_broker.wire import jsonrpc

log = logging.getLogger(__name__)

BACKLOG = 128
REFUSAL = 2.0  # seconds for a refused client to take the reason


@contextlib.contextmanager
def unix_socket(path: Path) -> Iterator[trio.SocketListener]:
    """A listening socket of mode 0600; one that a dead broker left is replaced, since we hold its lock."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        before = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
        sock.listen(BACKLOG)
        try:
            yield trio.SocketListener(trio.socket.from_stdlib_socket(sock))
        finally:
            path.unlink(missing_ok=True)


async def let_in(broker: Broker, door: trio.SocketListener, clients: trio.Nursery) -> None:
    """Serve whoever connects, in `clients`, until cancelled."""

    async def welcome(stream: trio.SocketStream) -> None:
        if refusal := _refusal(broker, stream):
            await _refuse(stream, refusal)
        else:
            link = Lines(stream, broker.config.broker.max_line)
            await contained("client", partial(serve, broker, link), lambda: None)

    await trio.serve_listeners(welcome, [door], handler_nursery=clients)


def _refusal(broker: Broker, stream: trio.SocketStream) -> str | None:
    limit = broker.config.broker.max_clients
    if len(broker.clients) >= limit:
        return f"{limit} clients are connected, the limit; raise max_clients in [broker]"
    if (uid := peer_uid(stream)) not in (None, 0, os.getuid()):
        return f"this broker belongs to user {os.getuid()}, and user {uid} may not use it"
    return None


async def _refuse(stream: trio.SocketStream, why: str) -> None:
    log.warning("client_refused why=%s", why)
    async with stream:
        with trio.move_on_after(REFUSAL):
            try:
                told = jsonrpc.error_object(jsonrpc.INTERNAL_ERROR, why, {"kind": "refused"})
                await stream.send_all(jsonrpc.error_response(b"null", told))
            except trio.BrokenResourceError:
                pass  # it did not wait for the answer


def peer_uid(stream: trio.SocketStream) -> int | None:
    """The user id of the process at the other end, where the system tells (Linux); the directory's mode guards all."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    credentials = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid
