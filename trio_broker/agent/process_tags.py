"""Who belongs to which broker: every process of an agent carries a mark in its environment, and so do its descendants.

That finds also those which left the group (setsid, double fork) and outlived whoever started them. A process is known
by its mark and its start time, never by its number alone (RACES F5). Standard library only: `guardian` is run by its
path. Linux only, for it reads /proc; elsewhere nothing is found, and groups and ladders are all there is.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

INSTANCE = "TRIO_BROKER_INSTANCE"
SESSION = "TRIO_BROKER_SESSION"
HOOK = "TRIO_BROKER_HOOK"  # carried by what a `notify` hook starts: the pid of its broker
NAMES = (INSTANCE, SESSION)  # not for what shall outlive the agent that starts it, as a broker does
PAUSE = 0.02  # seconds between two looks at what is left
EXEC_LOOKS, EXEC_PAUSE = 500, 0.001  # an execve takes microseconds, and longer where the machine is busy
WALKS = 10  # tries to walk up to the root of all processes, while parents die on the way
MAX_ANCESTORS = 500

Match = Callable[["TaggedProcess"], bool]


class TaggedProcess(NamedTuple):
    """A marked process. `start_time` is in the kernel's ticks since boot; `instance` the mark of its broker."""

    pid: int
    start_time: int
    instance: str
    session: str
    command: str


class Ancestor(NamedTuple):
    """A process by its number. `start_time` is in the kernel's ticks since boot."""

    pid: int
    start_time: int


class Tags(NamedTuple):
    """The values of INSTANCE, SESSION and HOOK in an environment; "" for one that is not there."""

    instance: str
    session: str
    hook: str


def new_instance_tag(runtime: str) -> str:
    """A mark for a new broker of this runtime directory."""
    return f"{runtime_tag(runtime)}-{secrets.token_hex(8)}"


def runtime_tag(runtime: str) -> str:
    """The part of the mark that all brokers of one runtime directory share."""
    return hashlib.sha256(os.path.realpath(runtime).encode()).hexdigest()[:16]


def runtime_of(instance: str) -> str:
    return instance.partition("-")[0]


def find(match: Match) -> list[TaggedProcess]:
    """The living marked processes of this user for which `match` says so."""
    return [process for process in _tagged_processes() if match(process)]


def end(process: TaggedProcess) -> bool:
    """SIGKILL it, if it is still the same process, by start time and mark; whether it was."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        found = _inspect(
            process.pid
        )  # after the pidfd: should the number be another's by now, the signal reaches nobody
        if found is None or found[:4] != process[:4]:  # the command may have changed: exec, or a title
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(pidfd)
    return True


def end_all(match: Match, patience: float) -> int:
    """End them, and those they fork meanwhile, until none is left or `patience` seconds have passed; how many."""
    ended: set[tuple[int, int]] = set()
    deadline = time.monotonic() + patience
    while found := [
        (process, end(process)) for process in _tagged_processes() if match(process)
    ]:  # at sight: it may fork on at once
        ended.update((tagged.pid, tagged.start_time) for tagged, was_there in found if was_there)
        if time.monotonic() > deadline:
            break
        time.sleep(PAUSE)
    return len(ended)


def ticks_since_boot() -> int:
    """Now, on the clock of `start_time`."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def ancestors(pid: int) -> list[Ancestor] | None:
    """A process and those above it, the nearest first, as far up as this user may see.

    Empty where nothing can be seen at all: another user's process under `hidepid`, or no /proc. None if the process has
    ended, or if no walk gets to an end: too many parents, or parents that die one after the other.
    """
    for _ in range(WALKS):
        if (found := _walk_up(pid)) is not None:
            return found
    return None


def tags_of(pid: int) -> Tags:
    """The tags that a process carries now; none of a process that has ended, or whose environment is not readable."""
    try:
        variables = _environment(pid)
    except OSError:
        variables = []
    return Tags(*(_value(variables, name) or "" for name in (INSTANCE, SESSION, HOOK)))


def _walk_up(pid: int) -> list[Ancestor] | None:
    """None if one of them has ended meanwhile: its children have another parent by now. Or if there are too many."""
    found: list[Ancestor] = []
    while pid > 0:
        if len(found) == MAX_ANCESTORS:
            return None
        try:
            fields = _stat(pid)
        except OSError:
            return found if _exists(pid) else None
        found.append(Ancestor(pid, int(fields[19])))
        pid = int(fields[1])
    return found


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True


def _tagged_processes() -> Iterator[TaggedProcess]:
    us = os.getpid()  # a broker which an agent started carries a mark, perhaps of its own home
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    for name in names:
        if name.isdigit() and int(name) != us and (process := _inspect(int(name))) is not None:
            yield process


def _inspect(pid: int) -> TaggedProcess | None:
    """The process as it is now; None if it is gone, a zombie, another user's, or carries no mark."""
    try:
        if os.stat(f"/proc/{pid}").st_uid != os.getuid():
            return None
        variables = _environment(pid)
        marks = [_value(variables, name) for name in (INSTANCE, SESSION)]
        if marks[0] is None:
            return None
        fields = _stat(pid)
        command = _read(pid, "cmdline").replace(b"\0", b" ").strip().decode("utf-8", "replace")
    except OSError:
        return None
    if fields[0] in (b"Z", b"X"):
        return None
    return TaggedProcess(pid, int(fields[19]), marks[0], marks[1] or "", command)


def _environment(pid: int) -> list[bytes]:
    for _ in range(EXEC_LOOKS):
        if (environ := _read(pid, "environ")) or not _is_in_exec(pid):
            break
        time.sleep(EXEC_PAUSE)
    return environ.split(b"\0")


def _is_in_exec(pid: int) -> bool:
    """Whether one that was seen without an environment is in an execve, or was: for that moment it has none."""
    fields = _stat(pid)
    size, start, end = (int(fields[index]) for index in (20, 47, 48))
    return size != 0 and (end == 0 or start < end)  # kernel threads and the dead have no size


def _stat(pid: int) -> list[bytes]:
    """The fields of proc_pid_stat(5) from the third one, the state, on."""
    return _read(pid, "stat").rpartition(b")")[2].split()


def _read(pid: int, name: str) -> bytes:
    with open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read()


def _value(variables: list[bytes], name: str) -> str | None:
    start = name.encode() + b"="
    found = next((variable for variable in variables if variable.startswith(start)), None)
    return None if found is None else found[len(start) :].decode("utf-8", "replace")
