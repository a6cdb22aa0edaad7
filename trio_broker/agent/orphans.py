"""Nothing is left behind (DESIGN D12): the guardian beside the broker, sweeps by mark, and orphans that fell to us."""

from __future__ import annotations

import ctypes
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import attrs
import trio

from trio_broker.agent import guardian, process_tags
from trio_broker.agent.process_tags import Match

log = logging.getLogger(__name__)

PR_SET_CHILD_SUBREAPER = 36
REAP_TIMEOUT = 5.0
FIRST_REST, LONGEST_REST = 0.1, 10.0  # seconds between two guardians, when one has died
DISMISSAL = 2.0  # seconds for a guardian to read one byte and go
REAP_EVERY = 1.0


def become_subreaper() -> None:
    """Orphans among our descendants become our children, whom we can see and reap. Linux; elsewhere nothing happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


async def end_processes(match: Match, patience: float = REAP_TIMEOUT) -> int:
    """End all marked processes that match; how many there were."""
    return await trio.to_thread.run_sync(partial(process_tags.end_all, match, patience))


@attrs.define(eq=False)
class OrphanReaper:
    """Ends what single sessions left behind; those that end together share one look at all processes."""

    instance: str
    _wanted: set[str] = attrs.field(factory=set)
    _something: trio.Event = attrs.field(factory=trio.Event)
    _done: trio.Event = attrs.field(factory=trio.Event)

    async def reap(self, session: str) -> None:
        """Return when no process with this session's mark is left, or `run` does not run any more."""
        self._wanted.add(session)
        self._something.set()
        await self._done.wait()

    async def run(self) -> None:
        """Sweep until cancelled."""
        try:
            while True:
                await self._something.wait()
                await self._sweep()
        finally:
            self._done.set()

    async def _sweep(self) -> None:
        wanted, done = self._wanted, self._done
        self._wanted, self._something, self._done = set(), trio.Event(), trio.Event()
        number = await end_processes(
            lambda process: process.instance == self.instance and process.session in wanted
        )
        if number:
            log.info("left_behind ended=%s sessions=%s", number, len(wanted))
        done.set()


async def run_watchdog(
    instance: str, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
) -> None:
    """Keep a guardian beside us until cancelled; a new one if it dies. Starts with its pid, or raises OSError.

    Cancelled in good order it tells the guardian that there is nothing to do: sweep before that.
    """
    rest = FIRST_REST
    process = await _start(instance)
    task_status.started(process.pid)
    while True:
        try:
            await process.wait()
        finally:
            await _dismiss(process)  # noqa: ASYNC102  # shielded there, and bounded
        log.warning("guardian_died returncode=%s", process.returncode)
        await trio.sleep(rest)
        rest = min(rest * 2, LONGEST_REST)
        try:
            process = await _start(instance)
        except OSError as error:  # out of files or processes, for a while: tried again after the next rest
            log.warning("guardian_not_started error=%s", error)


async def _start(instance: str) -> trio.Process:
    return await trio.lowlevel.open_process(
        [sys.executable, "-P", "-S", "-E", str(Path(guardian.__file__)), instance],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )


async def _dismiss(process: trio.Process) -> None:
    """Tell it that there is nothing to do, and reap it; one that does not heed it, as it is stopped, is killed."""
    assert process.stdin is not None
    with trio.move_on_after(DISMISSAL, shield=True):
        try:
            await process.stdin.send_all(b"q")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it has died
        await process.stdin.aclose()
        await process.wait()
    if process.returncode is None:
        process.kill()
        with trio.CancelScope(shield=True):  # bounded: SIGKILL can't be refused
            await process.wait()


async def reap_adopted(owned_pids: Callable[[], Iterable[int]]) -> None:
    """Reap the orphans that fell to us, for ever, without taking an exit status that somebody here waits for.

    Only what was our child a look ago already: a process that is just being spawned is not among `owned_pids` yet.
    """
    before: set[int] = set()
    while True:
        await trio.sleep(REAP_EVERY)
        known, before = before, set(_children())
        for pid in (known & before).difference(owned_pids()):
            _reap(pid)


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass  # somebody was faster


def _children() -> list[int]:
    found: list[int] = []
    try:
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
    except OSError:
        pass  # no /proc, or a thread that has just ended: the next look is near
    return found
