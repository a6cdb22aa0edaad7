"""The Unix socket's door: only its owner, and root, get in. They may do everything, unless they run inside an agent."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import attrs
import trio

from trio_broker.auth.grant import OWNER, Grant, require_scope
from trio_broker.broker.broker import Broker
from trio_broker.errors import BrokerError, Forbidden
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import Message
from trio_broker.server.methods import scopes
from trio_broker.server.methods.admin import shut_down
from trio_broker.server.serve import serve
from trio_broker.supervision import run_contained
from trio_broker.transport.base import NdjsonTransport

log = logging.getLogger(__name__)

BACKLOG = 128
REFUSAL_TIMEOUT = 2.0  # seconds for a refused client to take the reason, or before that to say what it wants
OPERATOR_MAX_LINE = 64 * 1024  # bytes of a line that is heard above the limit

FindGrant = Callable[[int], Awaitable[Grant]]


@attrs.frozen
class Peer:
    """The process at the other end, as it was when it connected."""

    pid: int
    uid: int


async def owner(pid: int) -> Grant:
    """The grant of every client where no process is told from another."""
    await trio.lowlevel.checkpoint()
    return OWNER


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


async def serve_unix(
    broker: Broker, listener: trio.SocketListener, clients: trio.Nursery, find_grant: FindGrant = owner
) -> None:
    """Serve whoever connects, in `clients`, until cancelled. `find_grant` says what the process of that number may do.

    Where the system does not tell the process, or it is outside of what this system's numbers name (another container,
    which holds no agent), the client is the owner.
    """

    async def welcome(stream: trio.SocketStream) -> None:
        await run_contained("client", partial(_welcome, broker, find_grant, stream), lambda: None)

    await trio.serve_listeners(welcome, [listener], handler_nursery=clients)


async def _welcome(broker: Broker, find_grant: FindGrant, stream: trio.SocketStream) -> None:
    peer = peer_of(stream)
    if peer is not None and peer.uid not in (0, os.getuid()):
        await _refuse(
            stream, f"this broker belongs to user {os.getuid()}, and user {peer.uid} may not use it"
        )
        return
    grant = await find_grant(peer.pid) if peer is not None and peer.pid else OWNER
    if full := _full(broker):
        await _answer_operator(broker, stream, grant, full)
    else:
        await serve(broker, NdjsonTransport(stream, broker.config.broker.max_line), grant)


def _full(broker: Broker) -> str | None:
    limit = broker.config.broker.max_clients
    if len(broker.clients) >= limit:
        return f"{limit} clients are connected, the limit; raise max_clients in [broker]"
    return None


async def _answer_operator(broker: Broker, stream: trio.SocketStream, grant: Grant, full: str) -> None:
    """One client too many: it may still look at the broker, and end it, and is refused for anything else.

    It is no client, and may not stay; only who waits for a drain to end does.
    """
    transport = NdjsonTransport(stream, OPERATOR_MAX_LINE)
    answered = False
    with trio.move_on_after(REFUSAL_TIMEOUT) as stay:
        try:
            while lines := await transport.receive():
                for line in lines:
                    if (answer := _answer(broker, grant, jsonrpc.parse_envelope(line))) is None:
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


def _answer(broker: Broker, grant: Grant, message: Message) -> bytes | None:
    """The answer to a request of who operates it; None to anything else."""
    if message.id is None or message.method not in ("_trio_broker/status", "_trio_broker/shutdown"):
        return None
    try:
        require_scope(grant, scopes.of_request(message.method), message.method)
    except Forbidden as error:
        return jsonrpc.exception_response(message.id, error)
    if message.method == "_trio_broker/status":
        result = jsonrpc.encode(broker.status(grant))
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


def peer_of(stream: trio.SocketStream) -> Peer | None:
    """Who is at the other end, where the system tells (Linux); the directory's mode guards all."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    credentials = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", credentials)
    return Peer(pid, uid)
