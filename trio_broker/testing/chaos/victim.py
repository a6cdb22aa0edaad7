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

PAUSE = 0.02  # seconds between two tries of a broker that comes back
BACK = 30.0  # seconds for a broker to come back, or to end
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


class Lost(Exception):
    """The broker is in a state in which nothing more can be asked of it; the words say which."""


@attrs.define(eq=False)
class Victim:
    """`plant`: Python that the daemon runs at its start. `last`: what status said last."""

    home: Home
    plant: str
    process: subprocess.Popen[bytes] = attrs.field(init=False)
    last: Json = attrs.field(factory=dict)

    async def start(self) -> None:
        """Start it, and wait until it answers. Raises Lost."""
        state = self.home.path / "state"
        state.mkdir(exist_ok=True)
        paths = [str(self._site()), self.home.env.get("PYTHONPATH", "")]
        env = {**self.home.env, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        with (state / "broker.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220  # it is started, not waited for
                [*TRIO_BROKER, "serve"], stdout=log, stderr=log, env=env, stdin=subprocess.DEVNULL
            )
        await self.until_it_answers()

    def _site(self) -> Path:
        """What the daemon's interpreter runs before the daemon."""
        folder = self.home.path / "site"
        folder.mkdir(exist_ok=True)
        code = CLOCK.format(file=str(self._clock)) + self.plant
        (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
        return folder

    @property
    def _clock(self) -> Path:
        return self.home.path / "clock"

    def turn_clock(self, seconds: float) -> None:
        self._clock.write_text(f"{seconds:.3f}", encoding="ascii")

    def kill(self) -> None:
        """The end of it, whatever state it is in."""
        self.process.kill()
        self.process.wait()

    @property
    def gone(self) -> bool:
        return self.process.poll() is not None

    async def answers(self) -> bool:
        answered = True
        try:
            async with open_client(self.home.socket) as client:
                self.last = await client.call("_trio_broker/status")
        except* BrokerError:
            answered = False
        return answered

    async def until_it_answers(self) -> None:
        """... and its journal works. Raises Lost."""
        with self._within("answer, with a journal that works"):
            while not await self.answers() or self.last["journal"]["failing"]:
                if self.gone:
                    raise Lost(self.how_it_ended())
                await trio.sleep(PAUSE)

    async def until_all_is_kept(self) -> None:
        """What was told while the disk was full is on it, too: the broker answers from the journal when it is."""
        with self._within("write down what it had told"):
            async with open_client(self.home.socket) as client:
                with suppress(NoSession):
                    await client.call("_trio_broker/events", {"sessionId": "none"})

    async def until_it_ended(self) -> None:
        """Raises Lost."""
        with self._within("end"):
            await wait_until(lambda: self.gone)

    @contextmanager
    def _within(self, what: str) -> Iterator[None]:
        try:
            with trio.fail_after(BACK):
                yield
        except trio.TooSlowError:
            raise Lost(f"the broker did not {what} within {BACK:g} s{self._last_words()}") from None

    def how_it_ended(self) -> str:
        """For one that ended though nobody had ended it."""
        return f"the broker ended by itself, with exit code {self.process.poll()}{self._last_words()}"

    def _last_words(self) -> str:
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
