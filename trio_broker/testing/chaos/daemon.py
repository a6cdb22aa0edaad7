"""The broker that suffers: a daemon in a home of its own, which is started again as often as it takes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
import psutil
import trio

from trio_broker.client import open_client
from trio_broker.errors import BrokerError, NoSession
from trio_broker.testing.chaos.evidence import Json
from trio_broker.testing.processes.daemon import wait_until
from trio_broker.testing.processes.home import TRIO_BROKER, Home

RETRY_PAUSE = 0.02  # seconds between two tries of a broker that comes back
RESTART_TIMEOUT = 30.0  # seconds for a broker to come back, or to end
# The daemon's wall clock is the real one and what this file says: jumps, without touching the machine's clock.
CLOCK = """
import os, time
_real, _file = time.time, {file!r}
def _jumped():
    try:
        return _real() + float(open(_file).read() or 0)
    except (OSError, ValueError):
        return _real()
time.time = _jumped
"""


class DaemonLost(Exception):
    """The broker is in a state in which nothing more can be asked of it; the words say which."""


@attrs.define(eq=False)
class ChaosDaemon:
    """`plant`: Python that the daemon runs at its start. `last_status`: the last answer of status."""

    home: Home
    plant: str
    process: subprocess.Popen[bytes] = attrs.field(init=False)
    last_status: Json = attrs.field(factory=dict)

    async def start(self) -> None:
        """Start it, and wait until it answers. Raises DaemonLost."""
        state = self.home.path / "state"
        state.mkdir(exist_ok=True)
        paths = [str(self._write_sitecustomize()), self.home.env.get("PYTHONPATH", "")]
        env = {**self.home.env, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        with (state / "broker.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220  # it is started, not waited for
                [*TRIO_BROKER, "serve"], stdout=log, stderr=log, env=env, stdin=subprocess.DEVNULL
            )
        await self.wait_ready()

    def _write_sitecustomize(self) -> Path:
        """What the daemon's interpreter runs before the daemon."""
        folder = self.home.path / "site"
        folder.mkdir(exist_ok=True)
        code = CLOCK.format(file=str(self._clock)) + self.plant
        (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
        return folder

    @property
    def _clock(self) -> Path:
        return self.home.path / "clock"

    def set_clock_offset(self, seconds: float) -> None:
        self._clock.write_text(f"{seconds:.3f}", encoding="ascii")

    def kill(self) -> None:
        """The end of it, whatever state it is in."""
        self.process.kill()
        self.process.wait()

    @property
    def exited(self) -> bool:
        return self.process.poll() is not None

    async def is_answering(self) -> bool:
        answered = True
        try:
            async with open_client(self.home.socket) as client:
                self.last_status = await client.call("_trio_broker/status")
        except* BrokerError:
            answered = False
        return answered

    async def wait_ready(self) -> None:
        """... and its journal works. Raises DaemonLost."""
        with self._within("answer, with a journal that works"):
            while not await self.is_answering() or self.last_status["journal"]["failing"]:
                if self.exited:
                    raise DaemonLost(self.exit_text())
                await trio.sleep(RETRY_PAUSE)

    async def wait_durable(self) -> None:
        """What was told while the disk was full is on it, too: the broker answers from the journal when it is."""
        with self._within("write down what it had told"):
            async with open_client(self.home.socket) as client:
                with suppress(NoSession):
                    await client.call("_trio_broker/events", {"sessionId": "none"})

    async def wait_exit(self) -> None:
        """Raises DaemonLost."""
        with self._within("end"):
            await wait_until(lambda: self.exited)

    @contextmanager
    def _within(self, what: str) -> Iterator[None]:
        try:
            with trio.fail_after(RESTART_TIMEOUT):
                yield
        except trio.TooSlowError:
            raise DaemonLost(
                f"the broker did not {what} within {RESTART_TIMEOUT:g} s{self._log_tail()}"
            ) from None

    def exit_text(self) -> str:
        """For one that ended though nobody had ended it."""
        return f"the broker ended by itself, with exit code {self.process.poll()}{self._log_tail()}"

    def _log_tail(self) -> str:
        lines = self.home.log.strip().splitlines()
        return f"; its log ends with {lines[-1]!r}" if lines else ""

    async def measure(self) -> dict[str, float]:
        """What it has open and in memory, with one client there."""
        async with open_client(self.home.socket) as client:
            status: Json = await client.call("_trio_broker/status")
        process = psutil.Process(self.process.pid)
        return {
            "file descriptors": process.num_fds(),
            "tasks": status["tasks"],
            "bytes of memory": process.memory_info().rss,
        }
