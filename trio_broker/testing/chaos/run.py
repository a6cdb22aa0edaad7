"""The run: a daemon of its own, a crowd, one fault after the other, and the reckoning when all is quiet again."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

import attrs
import trio

from trio_broker.client import Client, open_client
from trio_broker.errors import BrokerError
from trio_broker.testing.chaos.evidence import Evidence, Json, outcome_of, violations
from trio_broker.testing.chaos.faults import Fault, schedule
from trio_broker.testing.chaos.garbage import garbage
from trio_broker.testing.chaos.people import Person, World, crowd
from trio_broker.testing.chaos.victim import Lost, Victim
from trio_broker.testing.processes.home import CONFIG, TRIO_BROKER, Home, is_running

EVERY = 0.5  # seconds between two faults, on average
LOOK = 0.1  # seconds between two status calls
ANSWER = 10.0  # seconds in which status has to answer, on whatever machine
QUIET = 120.0  # seconds for all that was queued to be done with, when no more faults come
MEMORY = 400 * 1024 * 1024
SPARE = {"file descriptors": 12, "tasks": 4}  # over what there was in the beginning: the journal's readers
DISK_FULL = 1.5
OVERFULL = 24  # prompts, of which a queue takes 16
FLOOD, PIECE = 400, 60_000  # pieces on average, and characters of one: 24 MB, and from 32 MiB on floods wait
STOPPING = 0.4  # seconds at most from a first signal to a second one: a stop takes about that long
SETTINGS = (
    "[broker]\nrestart = 'lazy'\nterm_grace = 1.0\nclose_grace = 1.0\ncancel_grace = 2.0\nliveness = 1.0\n"
)


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
        chaos = Chaos(plan, Victim(home, plan.plant), tell)
        try:
            return await chaos.run()
        finally:
            chaos.victim.kill()


@attrs.define(eq=False)
class Chaos:
    plan: Plan
    victim: Victim
    tell: Callable[[str], None]
    world: World = attrs.field(init=False)
    people: list[Person] = attrs.field(factory=list)
    faults: Counter[str] = attrs.field(factory=Counter)
    evidence: Evidence = attrs.field(factory=Evidence)
    slowest: float = 0.0
    baseline: dict[str, float] = attrs.field(factory=dict)
    away: bool = False  # the broker is being killed or started

    async def run(self) -> Report:
        try:
            await self._run()
        except* (Lost, BrokerError, ProcessLookupError) as group:
            self.evidence.cut_short = self._why_lost(group)
        return self._report()

    def _why_lost(self, error: BaseException) -> str:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        why = self.victim.how_it_ended() if self.victim.gone and not self.away else str(error)
        return f"{why}, in life {self.world.life}; nothing else was looked at"

    async def _run(self) -> None:
        keys = [f"k{number}" for number in range(self.plan.sessions)]
        self.world = World(self.victim.home.socket, keys, self.evidence, self.plan.patience)
        self.people = list(crowd(self.world, self.plan.clients, self.plan.seed))
        await self.victim.start()
        self.baseline = await self.victim.measure()
        async with trio.open_nursery() as watching:
            watching.start_soon(self._keep_looking)
            async with trio.open_nursery() as nursery:
                for person in self.people:
                    nursery.start_soon(person.run)
                await self._suffer(nursery)
                self.world.over.set()
            watching.cancel_scope.cancel()
        await self._reckon()

    async def _keep_looking(self) -> None:
        """Status is answered whatever happens: all the time, by a client that comes anew each time. Raises Lost."""
        while True:
            began, life = time.monotonic(), self.world.life
            answered = False
            with trio.move_on_after(ANSWER):
                answered = await self.victim.answers()
            if self.away or life != self.world.life:
                pass  # it was killed meanwhile
            elif self.victim.gone:
                raise Lost(self.victim.how_it_ended())
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
        found = [
            (view["sessionId"], view["pid"]) for view in self.victim.last.get("sessions", ()) if view["pid"]
        ]
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
            async with await trio.open_unix_socket(str(self.victim.home.socket)) as stream:
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
            async with await trio.open_unix_socket(str(self.victim.home.socket)) as stream:
                await stream.send_all(rng.choice(rubbish))

    async def _rude_agent(self, fault: Fault, nursery: trio.Nursery) -> None:
        """An agent that writes garbage between its words, and goes on after its turn; then another turn of it."""
        person = self.people[int(fault.draw * len(self.people))]
        nursery.start_soon(self._be_rude, person, self._key(fault), random.Random(fault.draw))

    async def _be_rude(self, person: Person, key: str, rng: random.Random) -> None:
        try:
            async with open_client(self.victim.home.socket) as client:
                asked = [{"key": one, "cwd": "/tmp"} for one in (key, rng.choice(self.world.keys))]
                session, other = [(await client.call("_trio_broker/open", one))["sessionId"] for one in asked]
                await person.submit(client, session, garbage(session, other, rng))
                await person.submit(client, session)
        except* BrokerError:
            pass

    def _key(self, fault: Fault) -> str:
        return self.world.keys[int(fault.draw * len(self.world.keys))]

    async def _full_queue(self, fault: Fault, nursery: trio.Nursery) -> None:
        """More prompts than a queue takes; each is refused, or done."""
        person = self.people[int(fault.draw * len(self.people))]
        nursery.start_soon(self._fill, person, self._key(fault), OVERFULL)

    async def _flood(self, fault: Fault, nursery: trio.Nursery) -> None:
        """An agent that says so much at once that the journal is folded while it writes, and floods wait for that."""
        person = self.people[int(fault.draw * len(self.people))]
        words = f"flood {int(FLOOD * (0.5 + fault.draw))} {PIECE}"
        nursery.start_soon(self._fill, person, self._key(fault), 1, [words])

    async def _fill(self, person: Person, key: str, number: int, more: Sequence[str] = ()) -> None:
        """So many prompts at once for one session, with these acts beside their words."""
        try:
            async with open_client(self.victim.home.socket) as client:
                opened = await client.call("_trio_broker/open", {"key": key, "cwd": "/tmp"})
                for _ in range(number):
                    await person.submit(client, opened["sessionId"], more)
        except* BrokerError:
            pass

    async def _full_disk(self, fault: Fault, nursery: trio.Nursery) -> None:
        """No file of the daemon's can grow for a while, which is how a full disk looks to it."""
        pid = self.victim.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
        await trio.sleep(DISK_FULL)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        await self.victim.until_it_answers()
        await self.victim.until_all_is_kept()

    async def _clock_jump(self, fault: Fault, nursery: trio.Nursery) -> None:
        self.victim.turn_clock((fault.draw - 0.5) * 2 * 86400)

    async def _restart_broker(self, fault: Fault, nursery: trio.Nursery) -> None:
        self.evidence.restarts += 1
        await self._again(signal.SIGTERM)

    async def _second_signal(self, fault: Fault, nursery: trio.Nursery) -> None:
        """It is told to stop once more while it stops: the axe, which has to keep all promises, too."""
        self.evidence.restarts += 1
        nursery.start_soon(self._once_more, self.victim.process, STOPPING * fault.draw)
        await self._again(signal.SIGTERM)

    async def _once_more(self, process: subprocess.Popen[bytes], after: float) -> None:
        await trio.sleep(after)
        process.terminate()

    async def _kill_broker(self, fault: Fault, nursery: trio.Nursery) -> None:
        self.evidence.restarts += 1
        self.evidence.killed_lives.add(self.world.life)
        await self._again(signal.SIGKILL)

    async def _again(self, number: signal.Signals) -> None:
        pids = [view["pid"] for view in self.victim.last.get("sessions", ()) if view["pid"]]
        self.away = True
        self.victim.process.send_signal(number)
        await self.victim.until_it_ended()
        self.world.life += 1
        await self.victim.start()
        self.away = False
        self.evidence.left += [
            f"{pid}, an agent of life {self.world.life - 1}" for pid in pids if is_running(pid)
        ]

    # The reckoning

    async def _reckon(self) -> None:
        with trio.fail_after(QUIET):
            async with open_client(self.victim.home.socket) as client:
                await self._read_logs(client)
                for key in self.world.keys:
                    with suppress(BrokerError):
                        await client.call("_trio_broker/close", {"key": key})
        now = await self.victim.measure()
        self.evidence.growth = {
            what: (now[what], self.baseline[what] + spare) for what, spare in SPARE.items()
        }
        self.evidence.growth["bytes of memory"] = (now["bytes of memory"], MEMORY)
        self.victim.process.terminate()
        await self.victim.until_it_ended()
        found = await trio.run_process(
            [*TRIO_BROKER, "orphans"],
            env=self.victim.home.env,
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
            log, next = list[Json](), 1
            while True:
                asked = {"sessionId": view["sessionId"], "since": next, "limit": 5000}
                page = await client.call("_trio_broker/events", asked)
                log, next = log + page["events"], page["next"]
                if next > page["last"]:
                    break
            self.evidence.logs[view["sessionId"]] = log

    def _report(self) -> Report:
        outcomes = Counter(
            outcome_of(self.evidence, prompt) or "never begun" for prompt in self.evidence.prompts
        )
        events = sum(len(log) for log in self.evidence.logs.values())
        found = violations(self.evidence)
        return Report(self.plan, self.faults, outcomes, events, self.world.life + 1, self.slowest, found)
