"""The run: a daemon of its own, a crowd, one fault after the other, and the reckoning when all is quiet again."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import attrs
import psutil
import trio

from trio_broker.client import Client, open_client
from trio_broker.errors import BrokerError, NoSession
from trio_broker.testing.chaos.evidence import Evidence, Json, outcome_of, violations
from trio_broker.testing.chaos.faults import Fault, schedule
from trio_broker.testing.chaos.garbage import garbage
from trio_broker.testing.chaos.people import Person, World, crowd
from trio_broker.testing.home import CONFIG, TRIO_BROKER, Home, lives
from trio_broker.testing.real import come_true

EVERY = 0.5  # seconds between two faults, on average
LOOK = 0.1  # seconds between two status calls
PAUSE = 0.02  # seconds between two tries of a broker that comes back
ANSWER = 10.0  # seconds in which status has to answer, on whatever machine
BACK = 30.0  # seconds for a broker to come back
QUIET = 120.0  # seconds for all that was queued to be done with, when no more faults come
MEMORY = 400 * 1024 * 1024
SPARE = {"file descriptors": 12, "tasks": 4}  # over what there was in the beginning: the journal's readers
DISK_FULL = 1.5
SETTINGS = (
    "[broker]\nrestart = 'lazy'\nterm_grace = 1.0\nclose_grace = 1.0\ncancel_grace = 2.0\nliveness = 1.0\n"
)
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


@attrs.frozen
class Plan:
    """`seconds` of faults, one every `every` seconds, for so many sessions and clients.

    `patience`: seconds in which whatever a client asked is to be answered. `plant`: Python that the daemon runs at its
    start, for who wants to see that a broken broker is found out. `only`: the names of the faults, if not all of them.
    """

    seed: int
    seconds: float = 60.0
    sessions: int = 20
    clients: int = 20
    every: float = EVERY
    patience: float = 60.0
    plant: str = ""
    only: tuple[str, ...] = ()


@attrs.frozen
class Report:
    plan: Plan
    faults: Counter[str]
    outcomes: Counter[str]
    events: int
    lives: int
    slowest_status: float  # seconds
    violations: list[str]

    def as_json(self) -> Json:
        return attrs.asdict(self)


async def run(plan: Plan, tell: Callable[[str], None] = lambda _: None) -> Report:
    """Carry out a plan on a daemon of its own, in a directory of its own; `tell` hears what is done.

    Leaving, and cancelling it, ends that daemon. The report's `violations` are the promises it broke.
    """
    with Home(CONFIG + SETTINGS) as home:
        chaos = Chaos(plan, home, tell)
        try:
            return await chaos.run()
        finally:
            chaos.daemon.kill()
            chaos.daemon.wait()


@attrs.define(eq=False)
class Chaos:
    plan: Plan
    home: Home
    tell: Callable[[str], None]
    daemon: subprocess.Popen[bytes] = attrs.field(init=False)
    world: World = attrs.field(init=False)
    people: list[Person] = attrs.field(factory=list)
    faults: Counter[str] = attrs.field(factory=Counter)
    evidence: Evidence = attrs.field(factory=Evidence)
    slowest: float = 0.0
    baseline: dict[str, float] = attrs.field(factory=dict)
    away: bool = False  # the broker is being killed or started
    last: Json = attrs.field(factory=dict)  # the newest status

    async def run(self) -> Report:
        self._make_site()
        keys = [f"k{number}" for number in range(self.plan.sessions)]
        self.world = World(self.home.socket, keys, self.evidence, self.plan.patience)
        self.people = list(crowd(self.world, self.plan.clients, self.plan.seed))
        await self._start()
        self.baseline = await self._measure()
        async with trio.open_nursery() as watching:
            watching.start_soon(self._keep_looking)
            async with trio.open_nursery() as nursery:
                for person in self.people:
                    nursery.start_soon(person.run)
                await self._suffer(nursery)
                self.world.over.set()
            watching.cancel_scope.cancel()
        await self._reckon()
        return self._report()

    # The daemon

    def _make_site(self) -> None:
        """What the daemon's interpreter runs before the daemon."""
        folder = self.home.path / "site"
        folder.mkdir()
        code = CLOCK.format(file=str(self.home.path / "clock")) + self.plan.plant
        (folder / "sitecustomize.py").write_text(code, encoding="utf-8")

    async def _start(self) -> None:
        state = self.home.path / "state"
        state.mkdir(exist_ok=True)
        paths = [str(self.home.path / "site"), self.home.env.get("PYTHONPATH", "")]
        env = {**self.home.env, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        with (state / "broker.log").open("ab") as log:
            self.daemon = subprocess.Popen(  # noqa: ASYNC220  # it is started, not waited for
                [*TRIO_BROKER, "serve"], stdout=log, stderr=log, env=env, stdin=subprocess.DEVNULL
            )
        await self._until_it_answers()

    async def _answers(self) -> bool:
        answered = True
        try:
            async with open_client(self.home.socket) as client:
                self.last = await client.call("_trio_broker/status")
        except* BrokerError:
            answered = False
        return answered

    async def _until_it_answers(self) -> None:
        """... and its journal works."""
        with trio.fail_after(BACK):
            while not await self._answers() or self.last["journal"]["failing"]:  # noqa: ASYNC110
                await trio.sleep(PAUSE)

    async def _until_all_is_kept(self) -> None:
        """What was told while the disk was full is on it, too: the broker answers from the journal when it is."""
        with trio.fail_after(BACK):
            async with open_client(self.home.socket) as client:
                with suppress(NoSession):
                    await client.call("_trio_broker/events", {"sessionId": "none"})

    async def _until_it_ended(self) -> None:
        with trio.fail_after(BACK):
            await come_true(lambda: self.daemon.poll() is not None)

    async def _keep_looking(self) -> None:
        """Status is answered whatever happens: all the time, by a client that comes anew each time."""
        while True:
            began, life = time.monotonic(), self.world.life
            answered = False
            with trio.move_on_after(ANSWER):
                answered = await self._answers()
            if self.away or life != self.world.life:
                pass  # it was killed meanwhile
            elif not answered:
                self.evidence.unanswered.append(
                    f"status was not answered within {ANSWER:g} s, in life {life}"
                )
            else:
                self.slowest = max(self.slowest, time.monotonic() - began)
            await trio.sleep(LOOK)

    # Faults

    async def _suffer(self, nursery: trio.Nursery) -> None:
        began = trio.current_time()
        for fault in schedule(self.plan.seed, self.plan.seconds, self.plan.every, self.plan.only):
            await trio.sleep_until(began + fault.at)
            self.faults[fault.name] += 1
            self.tell(f"{fault.at:7.2f} s  {fault.name}")
            await getattr(self, f"_{fault.name}")(fault, nursery)
        await trio.sleep_until(began + self.plan.seconds)

    def _agent(self, draw: float) -> tuple[str, int] | None:
        """The session and process of an agent that lives."""
        found = [(view["sessionId"], view["pid"]) for view in self.last.get("sessions", ()) if view["pid"]]
        return found[int(draw * len(found))] if found else None

    async def _kill_agent(self, fault: Fault, nursery: trio.Nursery) -> None:
        self._signal(fault, signal.SIGKILL)

    async def _stop_agent(self, fault: Fault, nursery: trio.Nursery) -> None:
        pid = self._signal(fault, signal.SIGSTOP)
        nursery.start_soon(self._go_on, pid, 0.5 + 2 * fault.draw)

    async def _go_on(self, pid: int | None, after: float) -> None:
        await trio.sleep(after)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _signal(self, fault: Fault, number: signal.Signals) -> int | None:
        if (agent := self._agent(fault.draw)) is None:
            return None
        session, pid = agent
        self.evidence.hurt[session] += 1
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        return pid

    async def _cut_client(self, fault: Fault, nursery: trio.Nursery) -> None:
        self.people[int(fault.draw * len(self.people))].connection.cancel()

    async def _stall_client(self, fault: Fault, nursery: trio.Nursery) -> None:
        nursery.start_soon(self._stall, 1 + 4 * fault.draw)

    async def _stall(self, seconds: float) -> None:
        """A client that attaches to everything from the beginning, and reads nothing for long."""
        with suppress(OSError, trio.BrokenResourceError):
            async with await trio.open_unix_socket(str(self.home.socket)) as stream:
                for number, key in enumerate(self.world.keys):
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
            async with await trio.open_unix_socket(str(self.home.socket)) as stream:
                await stream.send_all(rng.choice(rubbish))

    async def _rude_agent(self, fault: Fault, nursery: trio.Nursery) -> None:
        """An agent that writes garbage between its words, and goes on after its turn; then another turn of it."""
        person = self.people[int(fault.draw * len(self.people))]
        nursery.start_soon(self._be_rude, person, self._key(fault), random.Random(fault.draw))

    async def _be_rude(self, person: Person, key: str, rng: random.Random) -> None:
        try:
            async with open_client(self.home.socket) as client:
                asked = [{"key": one, "cwd": "/tmp"} for one in (key, rng.choice(self.world.keys))]
                session, other = [(await client.call("_trio_broker/open", one))["sessionId"] for one in asked]
                await person.submit(client, session, garbage(session, other, rng))
                await person.submit(client, session)
        except* BrokerError:
            pass

    def _key(self, fault: Fault) -> str:
        return self.world.keys[int(fault.draw * len(self.world.keys))]

    async def _full_queue(self, fault: Fault, nursery: trio.Nursery) -> None:
        person = self.people[int(fault.draw * len(self.people))]
        nursery.start_soon(self._fill, person, self._key(fault))

    async def _fill(self, person: Person, key: str) -> None:
        """More prompts than a queue takes; each is refused, or done."""
        try:
            async with open_client(self.home.socket) as client:
                opened = await client.call("_trio_broker/open", {"key": key, "cwd": "/tmp"})
                for _ in range(24):
                    await person.submit(client, opened["sessionId"])
        except* BrokerError:
            pass

    async def _full_disk(self, fault: Fault, nursery: trio.Nursery) -> None:
        """No file of the daemon's can grow for a while, which is how a full disk looks to it."""
        pid = self.daemon.pid
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
        await trio.sleep(DISK_FULL)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        await self._until_it_answers()
        await self._until_all_is_kept()

    async def _clock_jump(self, fault: Fault, nursery: trio.Nursery) -> None:
        jump = (fault.draw - 0.5) * 2 * 86400
        (self.home.path / "clock").write_text(f"{jump:.3f}", encoding="ascii")

    async def _restart_broker(self, fault: Fault, nursery: trio.Nursery) -> None:
        self.evidence.restarts += 1
        await self._again(signal.SIGTERM)

    async def _kill_broker(self, fault: Fault, nursery: trio.Nursery) -> None:
        self.evidence.restarts += 1
        self.evidence.killed_lives.add(self.world.life)
        await self._again(signal.SIGKILL)

    async def _again(self, number: signal.Signals) -> None:
        pids = [view["pid"] for view in self.last.get("sessions", ()) if view["pid"]]
        self.away = True
        self.daemon.send_signal(number)
        await self._until_it_ended()
        self.world.life += 1
        await self._start()
        self.away = False
        self.evidence.left += [f"{pid}, an agent of life {self.world.life - 1}" for pid in pids if lives(pid)]

    # The reckoning

    async def _reckon(self) -> None:
        with trio.fail_after(QUIET):
            async with open_client(self.home.socket) as client:
                await self._read_logs(client)
                for key in self.world.keys:
                    with suppress(BrokerError):
                        await client.call("_trio_broker/close", {"key": key})
        now = await self._measure()
        self.evidence.growth = {
            what: (now[what], self.baseline[what] + spare) for what, spare in SPARE.items()
        }
        self.evidence.growth["bytes of memory"] = (now["bytes of memory"], MEMORY)
        self.daemon.terminate()
        await self._until_it_ended()
        found = await trio.run_process(
            [*TRIO_BROKER, "orphans"],
            env=self.home.env,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
        self.evidence.left += found.stdout.decode().splitlines()

    async def _read_logs(self, client: Client) -> None:
        status = await client.call("_trio_broker/status")
        for view in status["sessions"]:
            if view["sessionId"] is None:
                continue
            await client.call("_trio_broker/wait", {"key": view["key"], "until": "idle"})
            log: list[Json] = []
            while True:
                asked = {"sessionId": view["sessionId"], "since": len(log) + 1, "limit": 5000}
                page = await client.call("_trio_broker/events", asked)
                log += page["events"]
                if page["next"] > page["last"]:
                    break
            self.evidence.logs[view["sessionId"]] = log

    async def _measure(self) -> dict[str, float]:
        """What the daemon has open and in memory, with one client there."""
        async with open_client(self.home.socket) as client:
            status: Json = await client.call("_trio_broker/status")
        process = psutil.Process(self.daemon.pid)
        return {
            "file descriptors": process.num_fds(),
            "tasks": status["tasks"],
            "bytes of memory": process.memory_info().rss,
        }

    def _report(self) -> Report:
        outcomes = Counter(
            outcome_of(self.evidence, prompt) or "never begun" for prompt in self.evidence.prompts
        )
        events = sum(len(log) for log in self.evidence.logs.values())
        found = violations(self.evidence)
        return Report(self.plan, self.faults, outcomes, events, self.world.life + 1, self.slowest, found)
