"""One agent's OS process: spawned in a session of its own, watched, and ended with everything in its group.

Exit and end of stdout are two events (TRIO.md, fact 3). The exit is watched through a pidfd, which becomes readable
while the process is still a zombie: its number can't be reused before we have signalled the rest of its group, and
only then is it reaped (RACES F5). Where there is no pidfd (macOS), `wait()` reaps first and the group is signalled in
the same scheduling step.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import attrs
import trio

from trio_broker.agent import process_tags
from trio_broker.ioutil import write_nowait
from trio_broker.model import Exit

T = TypeVar("T")

PIPE_CAPACITY = 65536  # bytes of a pipe


@attrs.frozen
class Ladder:
    """How an agent is ended: close stdin, wait `close_grace` s, SIGTERM, wait `term_grace` s, SIGKILL."""

    close_grace: float = 5.0
    term_grace: float = 5.0


class Command(Protocol):
    """A command that runs for an agent. `exit` is set once it has been reaped.

    `stdout` has its stderr, too, in the order in which both were written.
    """

    exit: Exit | None

    @property
    def pid(self) -> int: ...
    @property
    def stdout(self) -> trio.abc.ReceiveStream: ...
    def read_nowait(self) -> bytes: ...
    async def wait_exit(self) -> Exit: ...
    async def end(self, ladder: Ladder, close_stdin: Callable[[], None]) -> None: ...


class Agent(Protocol):
    """What a session needs of an agent's process; `AgentProcess` for real, `testing.MemoryAgent` in virtual time."""

    exit: Exit | None
    exited: trio.Event

    @property
    def pid(self) -> int: ...
    @property
    def env(self) -> Mapping[str, str]: ...
    @property
    def stdin(self) -> trio.abc.SendStream: ...
    @property
    def stdout(self) -> trio.abc.ReceiveStream: ...
    @property
    def stderr(self) -> trio.abc.ReceiveStream: ...
    def alive(self) -> bool: ...
    def unreaped_pids(self) -> set[int]: ...
    async def start_command(self, argv: Sequence[str], cwd: str, env: Mapping[str, str]) -> Command: ...
    async def watch(self) -> None: ...
    async def end(self, ladder: Ladder, close_stdin: Callable[[], None]) -> None: ...


class StdoutStream(trio.abc.ReceiveStream):
    """What a process says. It waits, then reads, once each: trio's own stream yields, tries in vain, waits and reads.

    An agent mostly says a little now and then, so the first try is wasted, and costs as much as all the rest.
    """

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        assert isinstance(stream, trio.lowlevel.FdStream)
        self._stream = stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._stream)
            try:
                return os.read(self._stream.fileno(), max_bytes or PIPE_CAPACITY)
            except BlockingIOError:  # somebody else's read, or the system's mistake
                continue
            except OSError as error:
                raise trio.BrokenResourceError from error

    async def aclose(self) -> None:
        await self._stream.aclose()


class StdinStream(trio.abc.SendStream):
    """What a process is told. It writes, and waits if there is no room: trio's own stream yields before it tries."""

    def __init__(self, stream: trio.abc.SendStream) -> None:
        assert isinstance(stream, trio.lowlevel.FdStream)
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        sent = write_nowait(self._stream.fileno(), view)
        if sent < len(view):
            await self._stream.send_all(view[sent:])

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


@attrs.define(eq=False)
class AgentProcess:
    """A running agent and its group; `exited` is set, with `exit`, once it has been reaped.

    `env` is its environment. `commands`: those that run for it, each in a group of its own.
    """

    process: trio.Process
    env: Mapping[str, str] = attrs.field(factory=dict, repr=False)  # it has secrets
    exit: Exit | None = None
    exited: trio.Event = attrs.field(factory=trio.Event)
    end_descendants: Callable[[], Awaitable[None]] | None = (
        None  # ends what has left the group; part of `end`
    )
    commands: list[AgentProcess] = attrs.field(factory=list)
    _starting: trio.Lock = attrs.field(factory=trio.Lock)  # one command at a time
    _ended: bool = False  # it has no commands any more
    _reaping: trio.Lock = attrs.field(factory=trio.Lock)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stdin(self) -> trio.abc.SendStream:
        return StdinStream(_pipe(self.process.stdin))

    @property
    def stdout(self) -> trio.abc.ReceiveStream:
        return StdoutStream(_pipe(self.process.stdout))

    @property
    def stderr(self) -> trio.abc.ReceiveStream:
        return _pipe(self.process.stderr)

    def alive(self) -> bool:
        """Look whether the process runs, without reaping it."""
        return self.exit is None and not _is_zombie(self.pid)

    def unreaped_pids(self) -> set[int]:
        """Its own pid and those of its commands, as far as somebody here waits for their exit."""
        return {one.pid for one in (self, *self.commands) if one.exit is None}

    def read_nowait(self) -> bytes:
        """What it has written to stdout and nobody has read yet, at most a pipe full; waits for nothing."""
        try:
            return os.read(_fileno(self.process.stdout), PIPE_CAPACITY)
        except BlockingIOError:
            return b""

    async def start_command(self, argv: Sequence[str], cwd: str, env: Mapping[str, str]) -> AgentProcess:
        """Start a command in a session and group of its own; whoever calls ends it, in any case.

        It has the environment of the agent and `env`, but for the tags, which are the agent's. Its stdin is empty.
        Raises OSError, and ValueError for words that no command line can have.
        """
        tags = {name: self.env[name] for name in process_tags.NAMES if name in self.env}
        async with self._starting:
            if self._ended:
                raise ValueError("its agent has ended")
            self.commands = [command for command in self.commands if command.exit is None]
            process = await trio.lowlevel.open_process(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**self.env, **env, **tags},
                cwd=cwd,
                start_new_session=True,
            )
            command = AgentProcess(process)
            self.commands.append(command)
        return command  # no await since it was started: it has an owner from here on

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to every process of the group; does nothing once the leader was reaped or none is left."""
        if self.exit is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    async def watch(self) -> None:
        """Wait for the exit, end what the leader left in its group, reap, and set `exited`."""
        async with self._reaping:
            if self.exit is None:
                await _wait_zombie(self.process)
                self.signal_group(signal.SIGKILL)
                self.exit = Exit.from_returncode(await self.process.wait())
                self.exited.set()

    async def wait_exit(self) -> Exit:
        """Wait until it has exited, and say how. It is not reaped: what it left in its group can still be ended.

        Where the system has no pidfd, its group is ended at once.
        """
        if not hasattr(os, "pidfd_open"):
            await self.watch()
        elif self.exit is None:
            await _wait_zombie(self.process)
        return self.exit or _zombie_exit(self.process)

    async def end(self, ladder: Ladder, close_stdin: Callable[[], None]) -> None:
        """Climb down the ladder until the process is gone; takes at most the two graces and a moment.

        `close_stdin` closes stdin. Cancelling it leaves the process where the ladder stood: call it again, shielded.
        """
        close_stdin()
        await self._wait_exit(ladder.close_grace)
        if self.alive():
            self.signal_group(signal.SIGTERM)
            await self._wait_exit(ladder.term_grace)
        self.signal_group(signal.SIGKILL)
        await self.watch()
        self._ended = True
        async with self._starting:  # what is just being started carries its tags, and is to be found
            pass
        with trio.move_on_after(ladder.term_grace):  # they go by a ladder of their own
            for command in self.commands:
                await command.exited.wait()
        if self.end_descendants is not None:
            await self.end_descendants()
            self.end_descendants = None

    async def _wait_exit(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            if self.exit is None:
                await _wait_zombie(self.process)


def _pipe(stream: T | None) -> T:
    assert stream is not None, "spawned with three pipes"
    return stream


def _fileno(stream: trio.abc.ReceiveStream | None) -> int:
    assert isinstance(stream, trio.lowlevel.FdStream)
    return stream.fileno()


def _zombie_exit(process: trio.Process) -> Exit:
    """How a process has ended that is a zombie, or was reaped just now."""
    try:
        found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        found = None
    if found is None:
        return Exit.from_returncode(process.returncode or 0)
    return Exit(code=found.si_status) if found.si_code == os.CLD_EXITED else Exit(signal=found.si_status)


def _is_zombie(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


async def _wait_zombie(process: trio.Process) -> None:
    """Return once the process has exited, reaping it only where the system has no pidfd."""
    if not hasattr(os, "pidfd_open"):
        await process.wait()
        return
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        trio.lowlevel.notify_closing(pidfd)
        os.close(pidfd)
