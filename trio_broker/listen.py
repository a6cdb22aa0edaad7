"""The doors of one daemon: a Unix socket that only its owner can reach, and the signals that end it."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import socket
import stat
import struct
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import trio

from trio_broker.broker import Broker, contained
from trio_broker.config import Config, Paths
from trio_broker.errors import BrokerRuns, Misuse
from trio_broker.serve import serve
from trio_broker.wire import jsonrpc

log = logging.getLogger(__name__)

BACKLOG = 128
LOCK_TRIES, LOCK_PAUSE = 5, 0.02  # a command that looks whether a broker lives holds the lock for a moment
FLUSH = 2.0  # seconds in which clients are sent what is still due to them when the broker has ended


async def listen(paths: Paths, config: Config, on_ready: Callable[[], None] = lambda: None) -> None:
    """Be the broker of `paths` until it is told to stop; `on_ready` is called when clients can connect.

    SIGINT, SIGTERM, SIGHUP or `_trio_broker/shutdown` end every session by the ladder; a second signal, and
    cancelling this, kills what is left. Raises BrokerRuns, and Misuse when the runtime directory can't be trusted.
    """
    make_private(paths.runtime)
    with only_one(paths), unix_socket(paths.socket) as door:
        broker = Broker(config, where={"home": str(paths.runtime), "socket": str(paths.socket)})
        async with trio.open_nursery() as clients:
            await _supervise(broker, door, clients, on_ready)
            for client in tuple(broker.clients):
                client.finish()
            clients.cancel_scope.deadline = trio.current_time() + FLUSH


async def _supervise(
    broker: Broker, door: trio.SocketListener, clients: trio.Nursery, on_ready: Callable[[], None]
) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(_heed_signals, broker, nursery.cancel_scope)
        await nursery.start(_broker, broker, nursery.cancel_scope)
        nursery.start_soon(_accept, broker, door, clients)
        on_ready()


async def _broker(  # noqa: ASYNC128  # the broker calls it
    broker: Broker,
    everything: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    await broker.run(task_status=task_status)
    everything.cancel()


async def _heed_signals(
    broker: Broker,
    everything: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        task_status.started()
        async for number in signals:
            log.info("signal number=%s stopping=%s", number, broker.stopping.is_set())
            if broker.stopping.is_set():
                everything.cancel()  # the axe (RACES G7)
            broker.stop()


async def _accept(broker: Broker, door: trio.SocketListener, clients: trio.Nursery) -> None:
    async def welcome(stream: trio.SocketStream) -> None:
        if refusal := _refusal(broker, stream):
            await _refuse(stream, refusal)
        else:
            await contained("client", partial(serve, broker, stream), lambda: None)

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
        with trio.move_on_after(FLUSH):
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


def make_private(directory: Path) -> None:
    """Make the directory, or make sure of it: ours, of mode 0700. Raises Misuse when it can't be trusted."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Misuse(
            f"{directory} can't be made: {error}; set TRIO_BROKER_HOME to a directory of yours"
        ) from error
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise Misuse(
            f"{directory} is no directory of yours; set TRIO_BROKER_HOME to one", path=str(directory)
        )
    directory.chmod(0o700)


@contextlib.contextmanager
def only_one(paths: Paths) -> Iterator[None]:
    """Hold the lock of this runtime directory; the kernel gives it back however we end. BrokerRuns (RACES B17)."""
    with open(paths.lock, "a+", encoding="ascii") as file:
        if not _lock(file.fileno()):
            file.seek(0)
            pid = file.read().strip() or "?"
            raise BrokerRuns(
                f"a broker (pid {pid}) already serves {paths.socket}; use it, or end it with `trio-broker down`",
                pid=pid,
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _lock(file: int) -> bool:
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_PAUSE)
        else:
            return True
    return False


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
