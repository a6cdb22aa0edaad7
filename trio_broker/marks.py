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
PAUSE = 0.02  # seconds between two looks at what is left

Match = Callable[["Kin"], bool]


class Kin(NamedTuple):
    """A marked process. `start_time` is in the kernel's ticks since boot; `instance` the mark of its broker."""

    pid: int
    start_time: int
    instance: str
    session: str
    command: str


def new_instance(runtime: str) -> str:
    """A mark for a new broker of this runtime directory."""
    return f"{home_mark(runtime)}-{secrets.token_hex(8)}"


def home_mark(runtime: str) -> str:
    """The part of the mark that all brokers of one runtime directory share."""
    return hashlib.sha256(os.path.realpath(runtime).encode()).hexdigest()[:16]


def home_of(instance: str) -> str:
    return instance.partition("-")[0]


def find(match: Match) -> list[Kin]:
    """The living marked processes of this user for which `match` says so."""
    return [kin for kin in _everyone() if match(kin)]


def end(kin: Kin) -> bool:
    """SIGKILL it, if it is still the same process; whether it was."""
    try:
        pidfd = os.pidfd_open(kin.pid)
    except OSError:
        return False
    try:
        if _look(kin.pid) != kin:  # looked at while the pidfd holds the number: it can't become another's now
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(pidfd)
    return True


def end_all(match: Match, patience: float) -> int:
    """End them, and those they fork meanwhile, until none is left or `patience` seconds have passed; how many."""
    ended: set[Kin] = set()
    deadline = time.monotonic() + patience
    while found := find(match):
        ended.update(kin for kin in found if end(kin))
        if time.monotonic() > deadline:
            break
        time.sleep(PAUSE)
    return len(ended)


def _everyone() -> Iterator[Kin]:
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    for name in names:
        if name.isdigit() and (kin := _look(int(name))) is not None:
            yield kin


def _look(pid: int) -> Kin | None:
    """The process as it is now; None if it is gone, a zombie, another user's, or carries no mark."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = file.read().split(b"\0")
        marks = [_value(variables, name) for name in (INSTANCE, SESSION)]
        if marks[0] is None:
            return None
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = file.read().replace(b"\0", b" ").strip().decode("utf-8", "replace")
    except OSError:
        return None
    if fields[0] in (b"Z", b"X"):
        return None
    return Kin(pid, int(fields[19]), marks[0], marks[1] or "", command)


def _value(variables: list[bytes], name: str) -> str | None:
    start = name.encode() + b"="
    found = next((variable for variable in variables if variable.startswith(start)), None)
    return None if found is None else found[len(start) :].decode("utf-8", "replace")
