"""The guardian: when its broker has vanished, whatever way, it ends all that carries the broker's mark (DESIGN D12)."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio

from trio_broker.agent import guardian, orphans, process_tags
from trio_broker.testing.processes.daemon import wait_exit, wait_until
from trio_broker.testing.processes.home import LIMIT, eventually, is_running

pytestmark = pytest.mark.process

STAND_IN = Path(__file__).with_name("guarded.py")
GUARDIAN = (sys.executable, "-P", "-S", "-E", str(Path(guardian.__file__)))
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGENTS = 3
SOURCE = Path(process_tags.__file__).parents[2]
ENV = {**os.environ, "PYTHONPATH": str(SOURCE)}


class Guarded:
    """A broker's mark, and who carries it or guards it."""

    def __init__(self, runtime: str) -> None:
        self.instance = process_tags.new_instance_tag(runtime)

    def mine(self, found: process_tags.TaggedProcess) -> bool:
        return found.instance == self.instance

    def pids(self) -> list[int]:
        return [found.pid for found in process_tags.find(self.mine)]

    def settled(self) -> bool:
        """Whether every agent lives, and its grandchild, and nobody in between."""
        pids = self.pids()
        strays = [pid for pid in pids if is_running(pid) and os.getsid(pid) not in pids]
        return len(pids) == 2 * AGENTS and len(strays) == AGENTS

    def guardians(self) -> list[int]:
        """Those that guard this broker, or are being started to."""
        wanted = [word.encode() for word in (*GUARDIAN[1:], self.instance)]
        return [pid for pid in numbers() if command_of(pid)[1:] == wanted]

    def another_than(self, guardian: int) -> bool:
        return any(pid != guardian for pid in self.guardians())

    @contextmanager
    def broker(self, log: Path) -> Iterator[subprocess.Popen[str]]:
        """A stand-in for the broker, guarded and with its agents; what it logs is in `log`."""
        argv = [sys.executable, str(STAND_IN), self.instance, str(AGENTS)]
        pipe = subprocess.PIPE
        with (
            log.open("w") as stderr,
            subprocess.Popen(
                argv, stdin=pipe, stdout=pipe, stderr=stderr, cwd=SOURCE, env=ENV, text=True
            ) as broker,
        ):
            try:
                assert broker.stdout is not None and broker.stdout.readline() == "ready\n", log.read_text()
                eventually(self.settled)
                yield broker
            finally:
                broker.kill()

    @contextmanager
    def sleeper(self) -> Iterator[subprocess.Popen[bytes]]:
        """A marked process."""
        env = {"PATH": os.environ["PATH"], process_tags.INSTANCE: self.instance}
        with subprocess.Popen(["sleep", "600"], env=env) as sleeper:
            try:
                yield sleeper
            finally:
                sleeper.kill()

    @contextmanager
    def guardian(self, program: Sequence[str] = GUARDIAN) -> Iterator[subprocess.Popen[bytes]]:
        """A guardian of ours, past its start, and one marked process."""
        with self.sleeper(), subprocess.Popen([*program, self.instance], stdin=subprocess.PIPE) as guard:
            try:
                eventually(lambda: ignored_by(guard.pid) >= {*IGNORED} and sleeps(guard.pid))
                yield guard
            finally:
                guard.kill()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    guarded = Guarded(str(tmp_path))
    yield guarded
    process_tags.end_all(guarded.mine, LIMIT)
    for pid in guarded.guardians():  # of a broker that has gone: they would look for seconds more
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
async def test_f4_nothing_is_left_of_a_broker_that_was_killed(guarded: Guarded, tmp_path: Path) -> None:
    with trio.fail_after(60), guarded.broker(tmp_path / "log") as broker:
        (guard,) = guarded.guardians()
        broker.kill()
        await wait_exit(broker)
        await wait_until(lambda: not is_running(guard))
        assert guarded.pids() == []


async def test_f4_the_end_in_good_order_takes_the_guardian_along_and_nobody_else(
    guarded: Guarded, tmp_path: Path
) -> None:
    with trio.fail_after(60), guarded.broker(tmp_path / "log") as broker:
        assert len(guarded.guardians()) == 1 and broker.stdin is not None
        broker.stdin.close()
        assert await wait_exit(broker) == 0
        assert guarded.guardians() == [] and guarded.settled()


async def test_f4_a_guardian_that_died_has_a_successor(guarded: Guarded, tmp_path: Path) -> None:
    with trio.fail_after(60), guarded.broker(tmp_path / "log") as broker:
        for _ in range(2):
            (guard,) = guarded.guardians()
            os.kill(guard, signal.SIGKILL)
            await wait_until(partial(guarded.another_than, guard))
        assert guarded.settled()
        broker.kill()
        await wait_until(lambda: guarded.pids() == [])


async def test_f4_a_broker_that_can_start_no_guardian_goes_on_and_tries_again(
    guarded: Guarded, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with trio.fail_after(60), guarded.broker(log) as broker:
        soft, hard = resource.prlimit(broker.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(broker.pid, resource.RLIMIT_NOFILE, (3, hard))
        os.kill(guarded.guardians()[0], signal.SIGKILL)
        await wait_until(lambda: log.read_text().count("guardian_not_started") >= 2)
        resource.prlimit(broker.pid, resource.RLIMIT_NOFILE, (soft, hard))
        await wait_until(guarded.guardians)
        assert broker.poll() is None and guarded.settled() and broker.stdin is not None
        broker.stdin.close()
        assert await wait_exit(broker) == 0 and guarded.guardians() == []


async def test_f4_a_stopped_guardian_does_not_hold_up_the_end(guarded: Guarded, tmp_path: Path) -> None:
    with trio.fail_after(60), guarded.broker(tmp_path / "log") as broker:
        (guard,) = guarded.guardians()
        os.kill(guard, signal.SIGSTOP)
        assert broker.stdin is not None
        broker.stdin.close()
        assert await wait_exit(broker) == 0
        assert guarded.guardians() == []


def test_f4_only_broker_and_guardian_hold_the_pipe(guarded: Guarded, tmp_path: Path) -> None:
    """An agent that had inherited it would keep the guardian waiting for ever."""
    with guarded.broker(tmp_path / "log") as broker:
        (guard,) = guarded.guardians()
        pipe = os.readlink(f"/proc/{guard}/fd/0")
        assert pipe.startswith("pipe:")
        holders = {pid for pid in numbers() if pipe in files_of(pid)}
        assert holders == {broker.pid, guard}


@pytest.mark.slow
async def test_f4_a_guardian_heeds_no_signal(guarded: Guarded) -> None:
    with trio.fail_after(60), guarded.guardian() as guard:
        for number in IGNORED:
            guard.send_signal(number)
        assert guarded.pids() != [] and guard.stdin is not None
        guard.stdin.close()
        await wait_until(lambda: guard.poll() is not None)
        assert guard.returncode == 0 and guarded.pids() == []


async def test_f4_a_guardian_outlives_the_files_it_came_from(guarded: Guarded, tmp_path: Path) -> None:
    """An upgrade replaces them while the old broker runs."""
    for module in (guardian, process_tags):
        shutil.copy(str(module.__file__), tmp_path)
    program = (*GUARDIAN[:-1], str(tmp_path / "guardian.py"))
    with trio.fail_after(60), guarded.guardian(program) as guard:
        (tmp_path / "process_tags.py").unlink()
        assert guard.stdin is not None
        guard.stdin.close()
        await wait_until(lambda: guarded.pids() == [])


async def test_f4_a_guardian_that_is_told_so_ends_nobody(guarded: Guarded) -> None:
    with trio.fail_after(60), guarded.guardian() as guard:
        assert guard.stdin is not None
        guard.stdin.write(b"q")
        guard.stdin.close()
        await wait_until(lambda: guard.poll() is not None)
        assert guard.returncode == 0 and len(guarded.pids()) == 1


@contextmanager
def stdin_from(said: bytes) -> Iterator[None]:
    """This process's stdin is a pipe with these bytes and its end; its signals are as before when the block is left."""
    before = {number: signal.getsignal(number) for number in IGNORED}
    reader, writer = os.pipe()
    os.write(writer, said)
    os.close(writer)
    own = os.dup(0)
    os.dup2(reader, 0)
    try:
        yield
    finally:
        os.dup2(own, 0)
        os.close(own)
        os.close(reader)
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize(("said", "left"), [(b"", 0), (b"q", 1)])
def test_f4_what_a_guardian_does_here_as_well(
    said: bytes, left: int, guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, with a real pipe and a real child, and less patience: its own start measures nothing."""
    monkeypatch.setattr(guardian, "PATIENCE", 0.3)
    monkeypatch.setattr(guardian, "PAUSE", 0.1)
    with guarded.sleeper() as sleeper, stdin_from(said):
        assert guardian.main(guarded.instance) == 0
        assert {signal.getsignal(number) for number in IGNORED} == {signal.SIG_IGN}
        assert len(guarded.pids()) == left and (sleeper.poll() is None or left == 0)


async def test_a_guardian_lives_in_a_session_of_its_own(guarded: Guarded) -> None:
    """Else Ctrl-C, or a shell that ends its jobs, would take it before the broker."""
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            pid = await nursery.start(orphans.run_watchdog, guarded.instance)
            assert os.getsid(pid) == pid
            nursery.cancel_scope.cancel()
        assert not is_running(pid)


async def test_f6_an_adopted_orphan_is_reaped_and_the_exit_code_of_ours_is_not_lost() -> None:
    with trio.fail_after(60):
        argv = [sys.executable, str(STAND_IN), "--adopt"]
        done = await trio.run_process(argv, capture_stdout=True, cwd=SOURCE, env=ENV)
        assert done.stdout == b"orphan reaped ours 7\n"


async def test_a_sweep_tells_how_many_it_ended(guarded: Guarded) -> None:
    with trio.fail_after(60), guarded.sleeper() as sleeper:
        assert await orphans.end_processes(guarded.mine) == 1
        assert sleeper.wait() == -signal.SIGKILL
        assert await orphans.end_processes(guarded.mine) == 0


def numbers() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def command_of(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return []


def files_of(pid: int) -> list[str]:
    """What a process has open."""
    try:
        return [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return []


def ignored_by(pid: int) -> set[int]:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (mask,) = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn")]
    return {number for number in range(1, 32) if mask >> (number - 1) & 1}


def sleeps(pid: int) -> bool:
    """Whether it waits for something; a guardian waits for its pipe only."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "S"
