"""The run: a daemon of its own, many clients, one fault after the other, and the check when all turns have ended."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import attrs
import trio

from trio_broker.client import Client, open_client
from trio_broker.errors import BrokerError
from trio_broker.testing.chaos.clients import ChaosClient, SharedState, create_clients
from trio_broker.testing.chaos.daemon import ChaosDaemon, DaemonLost
from trio_broker.testing.chaos.evidence import Evidence, Json, outcome_of, violations
from trio_broker.testing.chaos.faults import FaultInjector, schedule
from trio_broker.testing.processes.home import CONFIG, TRIO_BROKER, Home

EVERY = 0.5  # seconds between two faults, on average
POLL_INTERVAL = 0.1  # seconds between two status calls
STATUS_TIMEOUT = 10.0  # seconds in which status has to answer, on whatever machine
IDLE_TIMEOUT = 120.0  # seconds for all that was queued to be done with, when no more faults come
MAX_MEMORY = 400 * 1024 * 1024
# More than there was in the beginning: the journal's readers.
ALLOWED_GROWTH = {"file descriptors": 12, "tasks": 4}
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


async def run(plan: Plan, report_progress: Callable[[str], None] = lambda _: None) -> Report:
    """Carry out a plan on a daemon of its own, in a directory of its own; `report_progress` gets a line for each fault.

    Leaving, and cancelling it, ends that daemon. The report's `violations` are the promises it broke.
    """
    with Home(CONFIG + SETTINGS) as home:
        chaos = ChaosRun(plan, ChaosDaemon(home, plan.plant), report_progress)
        try:
            return await chaos.run()
        finally:
            chaos.daemon.kill()


@attrs.define(eq=False)
class ChaosRun:
    plan: Plan
    daemon: ChaosDaemon
    report_progress: Callable[[str], None]
    shared: SharedState = attrs.field(init=False)
    clients: list[ChaosClient] = attrs.field(factory=list)
    injector: FaultInjector = attrs.field(init=False)
    faults: Counter[str] = attrs.field(factory=Counter)
    evidence: Evidence = attrs.field(factory=Evidence)
    slowest_status: float = 0.0
    baseline: dict[str, float] = attrs.field(factory=dict)

    async def run(self) -> Report:
        try:
            await self._run()
        except* (DaemonLost, BrokerError, ProcessLookupError) as group:
            self.evidence.cut_short = self._why_lost(group)
        return self._report()

    def _why_lost(self, error: BaseException) -> str:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        why = self.daemon.exit_text() if self.daemon.exited and not self.injector.restarting else str(error)
        return f"{why}, in life {self.shared.life}; nothing else was looked at"

    async def _run(self) -> None:
        keys = [f"k{number}" for number in range(self.plan.sessions)]
        self.shared = SharedState(self.daemon.home.socket, keys, self.evidence, self.plan.patience)
        self.clients = list(create_clients(self.shared, self.plan.clients, self.plan.seed))
        self.injector = FaultInjector(self.daemon, self.shared, self.clients)
        await self.daemon.start()
        self.baseline = await self.daemon.measure()
        async with trio.open_nursery() as watching:
            watching.start_soon(self._poll_status)
            async with trio.open_nursery() as nursery:
                for client in self.clients:
                    nursery.start_soon(client.run)
                await self._inject_faults(nursery)
                self.shared.stopping.set()
            watching.cancel_scope.cancel()
        await self._verify()

    async def _poll_status(self) -> None:
        """Status is answered whatever happens: all the time, by a new client each time. Raises DaemonLost."""
        while True:
            began, life = time.monotonic(), self.shared.life
            answered = False
            with trio.move_on_after(STATUS_TIMEOUT):
                answered = await self.daemon.is_answering()
            if self.injector.restarting or life != self.shared.life:
                pass  # it was killed meanwhile
            elif self.daemon.exited:
                raise DaemonLost(self.daemon.exit_text())
            elif not answered:
                self.evidence.unanswered.append(
                    f"status was not answered within {STATUS_TIMEOUT:g} s, in life {life}"
                )
            else:
                self.slowest_status = max(self.slowest_status, time.monotonic() - began)
            await trio.sleep(POLL_INTERVAL)

    async def _inject_faults(self, nursery: trio.Nursery) -> None:
        began = trio.current_time()
        for fault in schedule(self.plan.seed, self.plan.seconds, self.plan.every, self.plan.only):
            await trio.sleep_until(began + fault.at)
            self.faults[fault.name] += 1
            self.report_progress(f"{fault.at:7.2f} s  {fault.name}")
            await self.injector.inject(fault, nursery)
        await trio.sleep_until(began + self.plan.seconds)

    async def _verify(self) -> None:
        with trio.fail_after(IDLE_TIMEOUT):
            async with open_client(self.daemon.home.socket) as client:
                await self._read_logs(client)
                for key in self.shared.keys:
                    with suppress(BrokerError):
                        await client.call("_trio_broker/close", {"key": key})
        now = await self.daemon.measure()
        self.evidence.growth = {
            what: (now[what], self.baseline[what] + spare) for what, spare in ALLOWED_GROWTH.items()
        }
        self.evidence.growth["bytes of memory"] = (now["bytes of memory"], MAX_MEMORY)
        self.daemon.process.terminate()
        await self.daemon.wait_exit()
        found = await trio.run_process(
            [*TRIO_BROKER, "orphans"],
            env=self.daemon.home.env,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
        self.evidence.leftovers += found.stdout.decode().splitlines()

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
        return Report(
            self.plan, self.faults, outcomes, events, self.shared.life + 1, self.slowest_status, found
        )
