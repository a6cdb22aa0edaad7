"""What the dashboard costs, itself and the broker: python -m tests.bench.dashboard [--sessions N] [--seconds S]

A real daemon with N sessions of the scripted agent, each of which says something twice a second; `trio-broker top` in
a pseudo-terminal that somebody reads. CPU seconds are those of the processes, so that a busy machine does not count;
each number is percent of one core. Promised: under 3 for the dashboard, with a hundred busy sessions.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import pty
import selectors
import struct
import subprocess
import termios
import time
from collections.abc import Iterator

import psutil
import trio

from trio_broker.client import open_client
from trio_broker.testing.processes.home import TRIO_BROKER, Home, eventually

SETTLE = 4.0  # seconds after the dashboard has started: its imports and its first pages are not what is asked
FRAME = b"\x1b[?2026h"
SPEECH = "say word by word, this is said; wait 0.5; "


def cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


async def busy(home: Home, sessions: int, seconds: float) -> None:
    """So many sessions that talk for so long."""
    blocks = [{"type": "text", "text": SPEECH * int(2 * seconds)}]
    async with open_client(home.socket) as client:
        for number in range(sessions):
            which = {"key": f"bench/{number:03}"}
            await client.call("_trio_broker/open", {**which, "cwd": str(home.path), "agent": "fake"})
            await client.call("_trio_broker/submit", {**which, "prompt": blocks})


class Watched:
    """`top` in a window that is read."""

    def __init__(self, home: Home, columns: int, lines: int) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        env = {**home.env, "TERM": "xterm-256color"}
        self.process = subprocess.Popen(
            [*TRIO_BROKER, "top"], stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True
        )
        os.close(slave)
        self.frames = self.bytes = 0

    def read(self, seconds: float) -> None:
        """Read what it draws, for so long."""
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self.master, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0:
                if selector.select(left):
                    data = os.read(self.master, 65536)
                    self.frames += data.count(FRAME)
                    self.bytes += len(data)

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())


@contextlib.contextmanager
def watched(home: Home, columns: int, lines: int) -> Iterator[Watched]:
    window = Watched(home, columns, lines)
    try:
        yield window
    finally:
        window.process.terminate()
        with contextlib.suppress(OSError):  # the window is empty and nobody has it open any more
            window.read(0.5)
        window.process.wait(10)
        os.close(window.master)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--size", default="140x40", help="of the window")
    parser.add_argument(
        "--keys", default="", help="typed before the measurement, such as \\r for the details"
    )
    asked = parser.parse_args()
    columns, lines = (int(part) for part in asked.size.split("x"))
    with Home() as home:
        assert home.run("up").returncode == 0
        trio.run(busy, home, asked.sessions, 4 * asked.seconds + 120)
        eventually(lambda: home.status()["counts"]["working"] == asked.sessions)
        daemon = home.status()["pid"]
        before = cpu(daemon)
        time.sleep(asked.seconds)
        alone = cpu(daemon) - before
        with watched(home, columns, lines) as window:
            window.read(SETTLE)
            window.type(asked.keys.encode().decode("unicode_escape"))
            window.read(1)
            window.frames = window.bytes = 0
            at, mine, its = time.monotonic(), cpu(window.process.pid), cpu(daemon)
            window.read(asked.seconds)
            took = time.monotonic() - at
            mine, its = cpu(window.process.pid) - mine, cpu(daemon) - its
            memory = psutil.Process(window.process.pid).memory_info().rss
        working = home.status()["counts"]["working"]
        assert working == asked.sessions, f"only {working} worked to the end"
    print(
        json.dumps(
            {
                "sessions": asked.sessions,
                "size": asked.size,
                "dashboard": round(100 * mine / took, 2),
                "broker_alone": round(100 * alone / asked.seconds, 2),
                "broker_watched": round(100 * its / took, 2),
                "frames_per_second": round(window.frames / took, 1),
                "bytes_per_second": round(window.bytes / took),
                "dashboard_mebibytes": round(memory / 2**20),
            }
        )
    )


if __name__ == "__main__":
    main()
