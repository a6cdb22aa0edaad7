"""One daemon: the only one of its home, with its doors open, until a signal or a client ends it."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import trio

from trio_broker.agent import orphans, process_tags
from trio_broker.agent.installed import InstalledAgents
from trio_broker.agent.spawn import spawn_agent
from trio_broker.auth.tokens import Tokens
from trio_broker.broker.broker import Broker
from trio_broker.broker.peer_grant import PeerGrants
from trio_broker.config.config import Config, Durability, load
from trio_broker.config.paths import Paths
from trio_broker.errors import BrokerRuns, Misuse
from trio_broker.journal.keeper import Keeper
from trio_broker.journal.store import Journal
from trio_broker.model import CloseReason
from trio_broker.server.unix import open_unix_listener, serve_unix
from trio_broker.server.websocket import WebSocketServer
from trio_broker.transport.listeners import open_listeners, url_of

log = logging.getLogger(__name__)

LOCK_TRIES, LOCK_PAUSE = 5, 0.02  # a command that looks whether a broker lives holds the lock for a moment
Addresses = dict[str, str]  # of each door, by its name
Server = Callable[[trio.Nursery], Awaitable[None]]  # lets clients in, each of whom is served in that nursery
FLUSH = 2.0  # seconds in which clients are sent what is still due to them when the broker has ended


async def run_daemon(
    paths: Paths, config: Config, on_ready: Callable[[Addresses], None] = lambda _: None
) -> None:
    """Be the broker of `paths` until it is told to stop; `on_ready` is called when clients can connect, and where.

    SIGINT, SIGTERM, SIGHUP or `_trio_broker/shutdown` end every session by the ladder; a second signal, and
    cancelling this, kills what is left. Raises BrokerRuns, and Misuse when the runtime directory can't be trusted.
    """
    make_private_directory(paths.runtime)
    with instance_lock(paths) as instance:
        listeners = await open_listeners(config.listen)
        where = {"socket": str(paths.socket)} | ({"websocket": url_of(listeners)} if listeners else {})
        tokens = await trio.to_thread.run_sync(Tokens.open, paths.tokens)
        journal = await trio.to_thread.run_sync(_open_journal, paths, config)
        # The socket comes after what may fail: whoever gets through to it takes the broker for one that has started.
        # The journal is closed by Keeper.run; here, too, in case that never starts. A second close does nothing.
        with contextlib.closing(journal), open_unix_listener(paths.socket) as listener:
            async with _orphan_cleanup(paths, instance) as sweeper, trio.open_nursery() as nursery:
                broker = Broker(
                    config,
                    partial(spawn_agent, sweeper=sweeper),
                    Keeper(journal, durable=config.journal.durability is not Durability.OFF),
                    tokens,
                    location={"home": str(paths.runtime), **where},
                    installed=InstalledAgents(paths.agents),
                    reload_config=partial(load, paths.config, must_exist=paths.config_named),
                )
                nursery.start_soon(orphans.reap_adopted, broker.agent_processes)
                peers = PeerGrants(broker, process_tags.runtime_of(instance))
                servers: list[Server] = [
                    partial(serve_unix, broker, listener, find_grant=peers.find),
                    *([partial(WebSocketServer(broker).run, listeners)] if listeners else []),
                ]
                await _serve_clients(broker, servers, partial(on_ready, where))
                nursery.cancel_scope.cancel()


def _open_journal(paths: Paths, config: Config) -> Journal:
    journal = Journal.open(paths.journal, full=config.journal.durability is Durability.FULL)
    with contextlib.ExitStack() as on_error:
        on_error.callback(journal.close)
        if journal.moved_aside is not None:
            log.error("journal_damaged moved_to=%s sessions_begin_anew=True", journal.moved_aside)
        journal.delete_orphaned_records()
        keep = config.journal
        if keep.keep_days:
            journal.prune(time.time() - keep.keep_days * 86400, keep.keep_bytes or None)
        on_error.pop_all()
    return journal


@contextlib.asynccontextmanager
async def _orphan_cleanup(paths: Paths, instance: str) -> AsyncIterator[orphans.OrphanReaper]:
    """What a broker that is gone left behind is ended now, and what we leave, at our end, whatever way it comes."""
    home = process_tags.runtime_tag(str(paths.runtime))
    if leftovers := await orphans.end_processes(
        lambda found: process_tags.runtime_of(found.instance) == home
    ):
        log.warning("orphans_ended number=%s", leftovers)
    orphans.become_subreaper()
    sweeper = orphans.OrphanReaper(instance)
    async with trio.open_nursery() as nursery:
        await nursery.start(orphans.run_watchdog, sweeper.instance)
        nursery.start_soon(sweeper.run)
        try:
            yield sweeper
        finally:
            with trio.move_on_after(orphans.REAP_TIMEOUT, shield=True):
                await orphans.end_processes(lambda found: found.instance == sweeper.instance)
            nursery.cancel_scope.cancel()


async def _serve_clients(broker: Broker, servers: list[Server], on_ready: Callable[[], None]) -> None:
    async with trio.open_nursery() as clients:
        await _supervise(broker, [partial(listener, clients) for listener in servers], on_ready)
        for client in tuple(broker.clients):
            client.finish(CloseReason.STOPPING)
        clients.cancel_scope.deadline = trio.current_time() + FLUSH


async def _supervise(
    broker: Broker, servers: list[Callable[[], Awaitable[None]]], on_ready: Callable[[], None]
) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(_watch_signals, broker, nursery.cancel_scope)
        await nursery.start(_broker, broker, nursery.cancel_scope)
        for listener in servers:
            nursery.start_soon(listener)
        on_ready()


async def _broker(  # noqa: ASYNC128  # the broker calls it
    broker: Broker,
    everything: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    await broker.run(task_status=task_status)
    everything.cancel()


async def _watch_signals(
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


def make_private_directory(directory: Path) -> None:
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
def instance_lock(paths: Paths) -> Iterator[str]:
    """Hold the locks of this runtime directory and this journal; gives the mark of this broker.

    One alone will not do: a runtime directory is removed while its broker lives, at a logout, or with what is old in
    /tmp. The kernel gives the locks back however we end. Their files say who holds them: our pid, and our mark. Raises
    BrokerRuns (RACES B17), and Misuse where nothing can be locked.
    """
    instance = process_tags.new_instance_tag(str(paths.runtime))
    with _hold_lock(paths.lock, paths, instance), _hold_lock(paths.journal_lock, paths, instance):
        yield instance


@contextlib.contextmanager
def _hold_lock(lock: Path, paths: Paths, instance: str) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = stack.enter_context(open(lock, "a+", encoding="ascii"))
            is_ours = _lock(file.fileno())
        except OSError as error:
            raise Misuse(
                f"{lock} can't be locked: {error}; set TRIO_BROKER_HOME to another directory"
            ) from error
        if not is_ours:
            file.seek(0)
            pid = file.read().partition("\n")[0].strip() or "?"
            raise BrokerRuns(
                f"a broker (pid {pid}) already serves {paths.socket}; use it, or end it with `trio-broker down`",
                pid=pid,
            )
        file.truncate(0)
        file.write(f"{os.getpid()}\n{instance}\n")
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
