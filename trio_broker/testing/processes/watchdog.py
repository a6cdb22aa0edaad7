"""The watchdog of one `Home`: when the test run vanishes, whatever way, it ends the home's daemon and removes the home.

    python -S -E watchdog.py HOME        (stdin: a pipe that only the test run holds open)

The end of the pipe is the run's end, be it by SIGKILL. One byte before it says that all is in order and there is
nothing to do. A signal at a parent's death would not do: a daemon that `up` or a prompt has started is nobody's child,
and is to outlive who started it. Agents are the business of the daemon's own guardian.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import time

PATIENCE = 5.0  # seconds: a command that was just starting a daemon may be done with it late
PAUSE = 0.1


def main(home: str) -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # meant for the test run
        signal.signal(number, signal.SIG_IGN)
    if os.read(0, 1):
        return 0
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if pid := _daemon(os.path.join(home, "run", "broker.lock")):
            _kill(pid)
        time.sleep(PAUSE)
    shutil.rmtree(home, ignore_errors=True)
    return 0


def _daemon(lock: str) -> int | None:
    """The pid of who holds the lock."""
    try:
        with open(lock, encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        with open(lock, encoding="ascii") as file:
            pid = file.readline().strip()
        return int(pid) if pid.isdigit() else None  # it may not have written it yet
    except OSError:
        pass  # no such file: there never was a daemon
    return None


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has just ended


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
