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
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import trio

from trio_broker import kin, marks
from trio_broker.broker import Broker, contained
from trio_broker.config import Config, Durability
from trio_broker.errors import BrokerRuns, Misuse
from trio_broker.journal import Journal
from trio_broker.keeper import Keeper
from trio_broker.paths import Paths
from trio_broker.serve import serve
from trio_broker.spawning import spawn_agent
from trio_broker.tokens import Tokens
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
    with only_one(paths) as instance, unix_socket(paths.socket) as door:
        tokens = await trio.to_thread.run_sync(Tokens.open, paths.tokens)
        journal = await trio.to_thread.run_sync(_open_journal, paths, config)
        async with _kindred(paths, instance) as sweeper, trio.open_nursery() as nursery:
            broker = Broker(
                config,
                partial(spawn_agent, sweeper=sweeper),
                Keeper(journal, durable=config.journal.durability is not Durability.OFF),
                tokens,
                where={"home": str(paths.runtime), "socket": str(paths.socket)},
            )
            nursery.start_soon(kin.reap_adopted, broker.owns)
            await _serve_clients(broker, door, on_ready)
            nursery.cancel_scope.cancel()


def _open_journal(paths: Paths, config: Config) -> Journal:
    journal = Journal.open(paths.journal, full=config.journal.durability is Durability.FULL)
    if journal.moved_aside is not None:
        log.error("journal_damaged moved_to=%s sessions_begin_anew=True", journal.moved_aside)
    keep = config.journal
    if keep.keep_days:
        journal.prune(time.time() - keep.keep_days * 86400, keep.keep_bytes or None)
    return journal


@contextlib.asynccontextmanager
async def _kindred(paths: Paths, instance: str) -> AsyncIterator[kin.Sweeper]:
    """What a broker that is gone left behind is ended now, and what we leave, at our end, whatever way it comes."""
    home = marks.home_mark(str(paths.runtime))
    if left := await kin.sweep(lambda found: marks.home_of(found.instance) == home):
        log.warning("orphans_ended number=%s", left)
    kin.become_subreaper()
    sweeper = kin.Sweeper(instance)
    async with trio.open_nursery() as nursery:
        await nursery.start(kin.guard, sweeper.instance)
        nursery.start_soon(sweeper.run)
        try:
            yield sweeper
        finally:
            with trio.move_on_after(kin.SWEEP_PATIENCE, shield=True):
                await kin.sweep(lambda found: found.instance == sweeper.instance)
            nursery.cancel_scope.cancel()


async def _serve_clients(broker: Broker, door: trio.SocketListener, on_ready: Callable[[], None]) -> None:
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
def only_one(paths: Paths) -> Iterator[str]:
    """Hold the lock of this runtime directory; gives the mark of this broker. Raises BrokerRuns (RACES B17).

    The kernel gives the lock back however we end. Its file says who holds it: our pid, and our mark.
    """
    with open(paths.lock, "a+", encoding="ascii") as file:
        if not _lock(file.fileno()):
            file.seek(0)
            pid = file.read().partition("\n")[0].strip() or "?"
            raise BrokerRuns(
                f"a broker (pid {pid}) already serves {paths.socket}; use it, or end it with `trio-broker down`",
                pid=pid,
            )
        file.truncate(0)
        instance = marks.new_instance(str(paths.runtime))
        file.write(f"{os.getpid()}\n{instance}\n")
        file.flush()
        yield instance


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
