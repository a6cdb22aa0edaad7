"""The Unix socket's door: only its owner, and root, get in, and they may do everything."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import trio

from trio_broker.broker.broker import Broker
from trio_broker.errors import BrokerError
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import Message
from trio_broker.server.methods.admin import shut_down
from trio_broker.server.serve import serve
from trio_broker.supervision import run_contained
from trio_broker.transport.base import NdjsonTransport

log = logging.getLogger(__name__)

BACKLOG = 128
REFUSAL_TIMEOUT = 2.0  # seconds for a refused client to take the reason, or before that to say what it wants
OPERATOR_MAX_LINE = 64 * 1024  # bytes of a line that is heard above the limit


@contextlib.contextmanager
def open_unix_listener(path: Path) -> Iterator[trio.SocketListener]:
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


async def serve_unix(broker: Broker, listener: trio.SocketListener, clients: trio.Nursery) -> None:
    """Serve whoever connects, in `clients`, until cancelled."""

    async def welcome(stream: trio.SocketStream) -> None:
        if stranger := _check_peer(stream):
            await _refuse(stream, stranger)
        elif full := _full(broker):
            await run_contained("client", partial(_answer_operator, broker, stream, full), lambda: None)
        else:
            transport = NdjsonTransport(stream, broker.config.broker.max_line)
            await run_contained("client", partial(serve, broker, transport), lambda: None)

    await trio.serve_listeners(welcome, [listener], handler_nursery=clients)


def _full(broker: Broker) -> str | None:
    limit = broker.config.broker.max_clients
    if len(broker.clients) >= limit:
        return f"{limit} clients are connected, the limit; raise max_clients in [broker]"
    return None


def _check_peer(stream: trio.SocketStream) -> str | None:
    if (uid := peer_uid(stream)) not in (None, 0, os.getuid()):
        return f"this broker belongs to user {os.getuid()}, and user {uid} may not use it"
    return None


async def _answer_operator(broker: Broker, stream: trio.SocketStream, full: str) -> None:
    """One client too many: it may still look at the broker, and end it, and is refused for anything else.

    It is no client, and may not stay; only who waits for a drain to end does.
    """
    transport = NdjsonTransport(stream, OPERATOR_MAX_LINE)
    answered = False
    with trio.move_on_after(REFUSAL_TIMEOUT) as stay:
        try:
            while lines := await transport.receive():
                for line in lines:
                    if (answer := _answer(broker, jsonrpc.parse_envelope(line))) is None:
                        await _refuse(stream, full)
                        return
                    await transport.send(answer)
                    answered = True
                if broker.draining and not broker.stopping.is_set():
                    stay.deadline = math.inf
        except (BrokerError, trio.BrokenResourceError):
            answered = False
    if answered:
        await stream.aclose()
    else:
        await _refuse(stream, full)


def _answer(broker: Broker, message: Message) -> bytes | None:
    """The answer to a request of who operates it; None to anything else."""
    if message.id is None or message.method not in ("_trio_broker/status", "_trio_broker/shutdown"):
        return None
    if message.method == "_trio_broker/status":
        result = jsonrpc.encode(broker.status())
    else:
        result = shut_down(broker, message.params)
    return jsonrpc.response(message.id, result)


async def _refuse(stream: trio.SocketStream, why: str) -> None:
    log.warning("client_refused why=%s", why)
    async with stream:
        with trio.move_on_after(REFUSAL_TIMEOUT):
            try:
                body = jsonrpc.error_object(jsonrpc.INTERNAL_ERROR, why, {"kind": "refused"})
                await stream.send_all(jsonrpc.error_response(b"null", body))
            except trio.BrokenResourceError:
                pass  # it did not wait for the answer


def peer_uid(stream: trio.SocketStream) -> int | None:
    """The user id of the process at the other end, where the system tells (Linux); the directory's mode guards all."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    credentials = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid
