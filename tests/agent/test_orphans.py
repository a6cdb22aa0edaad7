"""What agents left behind is ended: sweeps by mark, and the guardian beside the broker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from trio_broker.agent import process_tags
from trio_broker.agent.orphans import OrphanReaper, end_processes, run_watchdog
from trio_broker.testing.processes.daemon import wait_until
from trio_broker.testing.processes.home import is_running

pytestmark = pytest.mark.process


@contextmanager
def marked(instance: str, session: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that carries these marks."""
    marks = {process_tags.INSTANCE: instance, process_tags.SESSION: session}
    with subprocess.Popen(["sleep", "600"], env={"PATH": os.environ["PATH"], **marks}) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def instance(tmp_path: Path) -> str:
    return process_tags.new_instance_tag(str(tmp_path))


async def test_a_sweep_ends_those_sessions_and_no_others(instance: str, tmp_path: Path) -> None:
    other = process_tags.new_instance_tag(str(tmp_path))
    with trio.fail_after(60), ExitStack() as stack:
        a, b, kept, foreign = (
            stack.enter_context(marked(*marks))
            for marks in ((instance, "a"), (instance, "b"), (instance, "kept"), (other, "a"))
        )
        reaper = OrphanReaper(instance)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reaper.run)
            async with trio.open_nursery() as sessions:
                sessions.start_soon(reaper.reap, "a")
                sessions.start_soon(reaper.reap, "b")
            nursery.cancel_scope.cancel()
        assert (a.wait(), b.wait()) == (-signal.SIGKILL, -signal.SIGKILL)
        assert kept.poll() is foreign.poll() is None


async def test_the_end_of_the_reaper_releases_who_waits(instance: str) -> None:
    reaper = OrphanReaper(instance)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reaper.run)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        await reaper.reap("a")


async def test_the_number_of_those_that_were_ended_is_told(instance: str) -> None:
    with trio.fail_after(60), marked(instance, "a"), marked(instance, "b"):
        assert await end_processes(lambda process: process.instance == instance) == 2
        assert await end_processes(lambda process: process.instance == instance) == 0


async def test_a_guardian_that_died_is_replaced_and_leaves_with_the_watchdog(instance: str) -> None:
    def guardians() -> set[int]:
        found = set()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if instance.encode() in words and os.fsencode(sys.executable) in words:
                found.add(int(entry.name))
        return found

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            first: int = await nursery.start(run_watchdog, instance)
            await wait_until(lambda: guardians() == {first})
            os.kill(first, signal.SIGKILL)
            await wait_until(lambda: guardians() - {first})
            (second,) = guardians()
            nursery.cancel_scope.cancel()
        assert not is_running(first) and not is_running(second)
