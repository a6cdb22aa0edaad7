"""Which fault comes when, drawn from a seed so that a run can be repeated, and how each of them is done."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress

import attrs
import trio

from trio_broker.client import open_client
from trio_broker.errors import BrokerError
from trio_broker.testing.chaos.clients import ChaosClient, SharedState
from trio_broker.testing.chaos.daemon import ChaosDaemon
from trio_broker.testing.chaos.garbage import garbage
from trio_broker.testing.processes.home import is_running

DISK_FULL = 1.5
OVERFULL = 24  # prompts, of which a queue takes 16
FLOOD, PIECE = 400, 60_000  # pieces on average, and characters of one: 24 MB, and from 32 MiB on floods wait
STOPPING = 0.4  # seconds at most from a first signal to a second one: a stop takes about that long
# What is done, and how often in comparison.
WEIGHTS = {
    "kill_agent": 6,
    "stop_agent": 3,
    "cut_client": 6,
    "stall_client": 3,
    "rude_client": 4,
    "rude_agent": 6,
    "full_queue": 2,
    "flood": 1,
    "full_disk": 1,
    "clock_jump": 2,
    "restart_broker": 1,
    "second_signal": 1,
    "kill_broker": 2,
}


@attrs.frozen
class Fault:
    """`at`: seconds from the beginning. `draw`: a number from 0 to 1 that says whom it hits, and how hard."""

    at: float
    name: str
    draw: float


def schedule(seed: int, seconds: float, every: float, only: Sequence[str] = ()) -> Iterator[Fault]:
    """Faults for so many seconds, one every so many on average; the same for the same seed. `only`: none but these."""
    rng, at = random.Random(seed), 0.0
    names = list(only or WEIGHTS)
    while (at := at + rng.expovariate(1 / every)) < seconds:
        name = rng.choices(names, [WEIGHTS[name] for name in names])[0]
        yield Fault(at, name, rng.random())


@attrs.define(eq=False)
class FaultInjector:
    """Does the faults of a schedule: each is a method of its name. `restarting`: the broker is being killed or started.

    A fault that takes a while goes on in the `nursery`, so that the next one comes when it is due.
    """

    daemon: ChaosDaemon
    shared: SharedState
    clients: Sequence[ChaosClient]
    restarting: bool = False

    async def inject(self, fault: Fault, nursery: trio.Nursery) -> None:
        await getattr(self, f"_{fault.name}")(fault, nursery)

    def _agent(self, draw: float) -> tuple[str, int] | None:
        """The session and process of an agent that lives."""
        found = [
            (view["sessionId"], view["pid"])
            for view in self.daemon.last_status.get("sessions", ())
            if view["pid"]
        ]
        return found[int(draw * len(found))] if found else None

    async def _kill_agent(self, fault: Fault, nursery: trio.Nursery) -> None:
        self._signal(fault, signal.SIGKILL)

    async def _stop_agent(self, fault: Fault, nursery: trio.Nursery) -> None:
        pid = self._signal(fault, signal.SIGSTOP)
        nursery.start_soon(self._continue_later, pid, 0.5 + 2 * fault.draw)

    async def _continue_later(self, pid: int | None, after: float) -> None:
        await trio.sleep(after)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _signal(self, fault: Fault, number: signal.Signals) -> int | None:
        if (agent := self._agent(fault.draw)) is None:
            return None
        session, pid = agent
        self.shared.evidence.harmed[session] += 1
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        return pid

    async def _cut_client(self, fault: Fault, nursery: trio.Nursery) -> None:
        self.clients[int(fault.draw * len(self.clients))].connection.cancel()

    async def _stall_client(self, fault: Fault, nursery: trio.Nursery) -> None:
        nursery.start_soon(self._stall, 1 + 4 * fault.draw)

    async def _stall(self, seconds: float) -> None:
        """A client that attaches to everything from the beginning, and reads nothing for long."""
        with suppress(OSError, trio.BrokenResourceError):
            async with await trio.open_unix_socket(str(self.daemon.home.socket)) as stream:
                for number, key in enumerate(self.shared.keys):
                    await stream.send_all(
                        b'{"jsonrpc":"2.0","id":%d,"method":"_trio_broker/attach","params":{"key":"%s","since":1}}\n'
                        % (number, key.encode())
                    )
                await trio.sleep(seconds)

    async def _rude_client(self, fault: Fault, nursery: trio.Nursery) -> None:
        rng = random.Random(fault.draw)
        rubbish = [
            b"\x00\xff\xfe\n",
            b"[]\n",
            b"[" * 5000 + b"\n",
            b'{"jsonrpc":"2.0","id":1',
            b"\n\n\n",
            rng.randbytes(3000),
        ]
        with suppress(OSError, trio.BrokenResourceError):
            async with await trio.open_unix_socket(str(self.daemon.home.socket)) as stream:
                await stream.send_all(rng.choice(rubbish))

    async def _rude_agent(self, fault: Fault, nursery: trio.Nursery) -> None:
        """An agent that writes garbage between its words, and goes on after its turn; then another turn of it."""
        chaos_client = self.clients[int(fault.draw * len(self.clients))]
        nursery.start_soon(self._write_garbage, chaos_client, self._key(fault), random.Random(fault.draw))

    async def _write_garbage(self, chaos_client: ChaosClient, key: str, rng: random.Random) -> None:
        try:
            async with open_client(self.daemon.home.socket) as client:
                asked = [{"key": one, "cwd": "/tmp"} for one in (key, rng.choice(self.shared.keys))]
                session, other = [(await client.call("_trio_broker/open", one))["sessionId"] for one in asked]
                await chaos_client.submit(client, session, garbage(session, other, rng))
                await chaos_client.submit(client, session)
        except* BrokerError:
            pass

    def _key(self, fault: Fault) -> str:
        return self.shared.keys[int(fault.draw * len(self.shared.keys))]

    async def _full_queue(self, fault: Fault, nursery: trio.Nursery) -> None:
        """More prompts than a queue takes; each is refused, or done."""
        chaos_client = self.clients[int(fault.draw * len(self.clients))]
        nursery.start_soon(self._submit_many, chaos_client, self._key(fault), OVERFULL)

    async def _flood(self, fault: Fault, nursery: trio.Nursery) -> None:
        """An agent that says so much at once that the journal is folded while it writes, and floods wait for that."""
        chaos_client = self.clients[int(fault.draw * len(self.clients))]
        words = f"flood {int(FLOOD * (0.5 + fault.draw))} {PIECE}"
        nursery.start_soon(self._submit_many, chaos_client, self._key(fault), 1, [words])

    async def _submit_many(
        self, chaos_client: ChaosClient, key: str, number: int, more: Sequence[str] = ()
    ) -> None:
        """So many prompts at once for one session, with these acts beside their words."""
        try:
            async with open_client(self.daemon.home.socket) as client:
                opened = await client.call("_trio_broker/open", {"key": key, "cwd": "/tmp"})
                for _ in range(number):
                    await chaos_client.submit(client, opened["sessionId"], more)
        except* BrokerError:
            pass

    async def _full_disk(self, fault: Fault, nursery: trio.Nursery) -> None:
        """No file of the daemon's can grow for a while, which is how a full disk looks to it."""
        pid = self.daemon.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
        await trio.sleep(DISK_FULL)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        await self.daemon.wait_ready()
        await self.daemon.wait_durable()

    async def _clock_jump(self, fault: Fault, nursery: trio.Nursery) -> None:
        self.daemon.set_clock_offset((fault.draw - 0.5) * 2 * 86400)

    async def _restart_broker(self, fault: Fault, nursery: trio.Nursery) -> None:
        self.shared.evidence.restarts += 1
        await self._restart(signal.SIGTERM)

    async def _second_signal(self, fault: Fault, nursery: trio.Nursery) -> None:
        """It is told to stop once more while it stops: the axe, which has to keep all promises, too."""
        self.shared.evidence.restarts += 1
        nursery.start_soon(self._terminate_later, self.daemon.process, STOPPING * fault.draw)
        await self._restart(signal.SIGTERM)

    async def _terminate_later(self, process: subprocess.Popen[bytes], after: float) -> None:
        await trio.sleep(after)
        process.terminate()

    async def _kill_broker(self, fault: Fault, nursery: trio.Nursery) -> None:
        self.shared.evidence.restarts += 1
        self.shared.evidence.killed_lives.add(self.shared.life)
        await self._restart(signal.SIGKILL)

    async def _restart(self, number: signal.Signals) -> None:
        pids = [view["pid"] for view in self.daemon.last_status.get("sessions", ()) if view["pid"]]
        self.restarting = True
        self.daemon.process.send_signal(number)
        await self.daemon.wait_exit()
        self.shared.life += 1
        await self.daemon.start()
        self.restarting = False
        self.shared.evidence.leftovers += [
            f"{pid}, an agent of life {self.shared.life - 1}" for pid in pids if is_running(pid)
        ]
