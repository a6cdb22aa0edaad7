"""A broker in the background: whether one lives, starting one, and waiting for its end."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from trio_broker.errors import BrokerError, NoBroker

if TYPE_CHECKING:
    from trio_broker.config.paths import Paths

START_TIMEOUT = 15.0  # seconds for a daemon to listen
POLL_INTERVAL = 0.02  # seconds between two looks


def is_listening(paths: Paths) -> bool:
    """Whether clients get through to a broker of these paths."""
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(paths.socket)) == 0


def lock_is_held(paths: Paths) -> bool:
    """Whether a broker of these paths lives, listening or not."""
    return any(map(_is_held, (paths.lock, paths.journal_lock)))


def lock_holder(paths: Paths) -> list[str]:
    """Return pid and process tag of the running broker, listening or not; an empty list if there is none."""
    held = next(filter(_is_held, (paths.lock, paths.journal_lock)), None)
    return [] if held is None else held.read_text(encoding="ascii").split()


def start_daemon(paths: Paths) -> None:
    """Start a daemon of its own session, unless a broker listens, and wait until it does. Raises NoBroker.

    One at a time: the daemon holds the start lock until it serves, even when whoever started it is gone. So none comes
    late, when the one that was faster has been used and ended. One that is about to end is waited for.
    """
    import subprocess  # late: few commands start one

    with _open_append(paths.log) as log, _open_append(paths.start_lock) as start_lock:
        if not _may_start(start_lock, paths):
            return
        size = log.tell()
        daemon = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "trio_broker",
                *_config_option(paths),
                "serve",
                "--start-lock",
                str(start_lock.fileno()),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(paths),
            cwd="/",
            start_new_session=True,
            pass_fds=[start_lock.fileno()],
        )
    if not _poll(START_TIMEOUT, lambda: is_listening(paths) or daemon.poll() is not None):
        raise NoBroker(f"the broker did not listen within {START_TIMEOUT:g} s; look at {paths.log}")
    if daemon.poll() is not None and not is_listening(paths):
        words = paths.log.read_bytes()[size:].decode("utf-8", "replace").strip()
        raise NoBroker(f"the broker did not start (its log: {paths.log}): {words}")
    daemon.returncode = 0  # it is not ours to wait for: no ResourceWarning when we end first


def _may_start(start_lock: BinaryIO, paths: Paths) -> bool:
    """Whether none listens, when there is none that starts or ends any more. Raises NoBroker."""
    if not _poll(
        START_TIMEOUT, lambda: is_listening(paths) or (_lock(start_lock) and not lock_is_held(paths))
    ):
        raise NoBroker(_why_not_startable(paths))
    return not is_listening(paths)


def _why_not_startable(paths: Paths) -> str:
    """Why no broker can be started."""
    if held := lock_holder(paths):
        return f"a broker (pid {held[0]}) lives and does not listen at {paths.socket}; end it with `trio-broker down`"
    return f"a broker that starts did not listen within {START_TIMEOUT:g} s; look at {paths.log}"


def wait_start_finished(paths: Paths) -> None:
    """Wait until no daemon is about to begin, a while at most."""
    _poll(START_TIMEOUT, lambda: is_listening(paths) or not _is_held(paths.start_lock))


def wait_ended(paths: Paths, held: list[str], timeout: float) -> None:
    """Wait until the broker that `lock_holder` returned as `held` has ended. Raises BrokerError at the timeout."""
    if not _poll(timeout, lambda: not lock_is_held(paths) or lock_holder(paths) != held):
        raise BrokerError(f"the broker has not ended within {timeout:g} s; look at {paths.log}")


def _poll(timeout: float, holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + timeout
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL)
    return held


def _open_append(path: Path) -> BinaryIO:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path.open("ab")
    except OSError as error:
        raise NoBroker(
            f"the broker can't write {path}: {error}; set TRIO_BROKER_HOME to a directory of yours"
        ) from error


def _environment(paths: Paths) -> dict[str, str]:
    """For the daemon, whose directory is another: a home that is relative would be another, too."""
    from trio_broker.agent import process_tags

    found = {name: value for name, value in os.environ.items() if name not in process_tags.NAMES}
    return found | ({"TRIO_BROKER_HOME": str(paths.runtime.parent)} if found.get("TRIO_BROKER_HOME") else {})


def _config_option(paths: Paths) -> list[str]:
    return ["--config", str(paths.config)] if paths.config_named else []


def _is_held(lock: Path) -> bool:
    try:
        with lock.open("rb") as file:
            return not _lock(file, fcntl.LOCK_SH)
    except OSError:  # no such file: nobody ever held it
        return False


def _lock(file: BinaryIO, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
