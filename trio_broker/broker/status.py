"""Snapshots of sessions and of the whole broker, for `status` and for clients that watch: `_trio_broker/watch`.

All of it is taken from memory in one step and waits for no lock. A watcher asks for the next snapshot after the one
it has, and asks again when it has shown that. A client that lags finds the newest snapshot and no backlog, the broker
keeps nothing for it, and nothing is done while nobody asks. All watchers share one snapshot, which is taken at most
once a SNAPSHOT_INTERVAL, however chatty the agents are. (Sending snapshots unasked was rejected: it needs a place in
every outbox, and what stands in the socket is old by then.)

Times in a watched snapshot are seconds on the broker's clock, `at` is its present: a snapshot in which nothing
happens stays the same, and the watcher counts the seconds by itself. CPU and memory of the agents' process trees are
measured in a thread, now and then, and only when somebody looks.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import attrs
import psutil
import trio

from trio_broker.auth.grant import Grant
from trio_broker.protocol import jsonrpc
from trio_broker.session.agent_request import PERMISSION, AgentRequest
from trio_broker.session.session import Session
from trio_broker.session.turn_queue import Turn

SNAPSHOT_INTERVAL = 0.2  # seconds from one look at the sessions to the next
# Seconds: a look at every process of the machine takes milliseconds, of a thread that holds the GIL.
MEASURE_INTERVAL = 2.0

MeasureTrees = Callable[[Iterable[int]], Awaitable["dict[int, ProcessTree]"]]


def session_view(session: Session) -> dict[str, Any]:
    """One session as JSON values; times are seconds, `null` where they mean nothing."""
    now = trio.current_time()
    agent_connection = session.agent_run.connection if session.agent_run is not None else None
    running, requests = session.turns.running, session.router.requests
    began = running.started_at if running is not None else None
    view = session_facts(session)
    view["phase_for"] = now - session.phase_since
    view["quiet_for"] = now - agent_connection.received_at if agent_connection is not None else None
    view["turn_for"] = now - began if began is not None else None
    view["asks"] = len(requests.visible) if requests is not None else 0
    return view


def session_facts(session: Session) -> dict[str, Any]:
    """What stays the same while nothing happens: all but the times, and the asks."""
    turns, router, agent_run = session.turns, session.router, session.agent_run
    agent_connection, agent = (
        (agent_run.connection, agent_run.agent) if agent_run is not None else (None, None)
    )
    queued = turns.queued()
    return {
        "key": session.key,
        "sessionId": session.session_id,
        "agent": session.settings.spec.name,
        "phase": session.phase.value,
        "queue": len(queued),
        "queued": [turn_view(turn, position) for position, turn in enumerate(queued, 1)],
        "pid": agent.pid if agent is not None and session.live else None,
        "cwd": session.settings.cwd,
        "clients": len(router.listeners),
        "error": session.cause.message if session.cause is not None else None,
        "title": session.state.title,
        "foreign": router.misrouted,
        "rejected_lines": agent_connection.rejected_count if agent_connection is not None else 0,
        "turns": turns.turns_ended,
        "events": session.log.last,
        "resumed": session.resumed,
        "usage": session.state.usage,
    }


def ask_view(session: Session, request: AgentRequest) -> dict[str, Any]:
    """One open request of an agent as JSON values.

    `at`: seconds since the epoch, `since`: seconds that it waits. `toolCall`: the whole tool call of a permission
    request, else null; `elicitation`: the question of an elicitation, else null. `reason`: why people are asked, where
    a policy might have decided, else null.
    """
    waits = trio.current_time() - request.opened_at
    return {
        "askId": request.id,
        "key": session.key,
        "sessionId": session.session_id,
        "agent": session.settings.spec.name,
        "cwd": session.settings.cwd,
        "method": request.method,
        "title": request.title,
        "kind": request.kind,
        "options": request.options,
        "at": time.time() - waits,
        "since": waits,
        "asked": [client.name for client in request.asked_clients],
        "seq": request.number,
        "toolCall": request.tool_call if request.method == PERMISSION else None,
        "elicitation": request.elicitation,
        "reason": request.reason,
    }


def turn_view(turn: Turn, position: int) -> dict[str, Any]:
    """A prompt that waits, or runs, and the beginning of its text."""
    return {"promptId": turn.prompt_id, "text": turn.text, "position": position}


@attrs.frozen
class ProcessTree:
    """The processes under one root: resident bytes of all, and the CPU seconds of each by (pid, start time)."""

    memory: int
    seconds: dict[tuple[int, float], float]


@attrs.frozen
class Usage:
    """`cpu`: percent of one core, None until it was measured twice; `memory`: bytes; `processes`: how many."""

    cpu: float | None
    memory: int
    processes: int


def process_trees(roots: Iterable[int]) -> dict[int, ProcessTree]:
    """Those of the roots that live, with all below them. Reads what the system tells; blocks for milliseconds."""
    wanted = set(roots)
    found: dict[int, psutil.Process] = {}
    parents: dict[int, int] = {}
    for process in psutil.process_iter():
        try:
            parents[process.pid] = process.ppid()
            found[process.pid] = process
        except psutil.Error:  # it has just ended
            continue
    members: dict[int, list[psutil.Process]] = {}
    for pid, process in found.items():
        if (root := _root_of(pid, wanted, parents)) is not None:
            members.setdefault(root, []).append(process)
    return {root: _tree(processes) for root, processes in members.items()}


def _root_of(pid: int, wanted: set[int], parents: dict[int, int]) -> int | None:
    seen = set()
    while pid not in wanted:
        if pid in seen or pid not in parents:
            return None
        seen.add(pid)
        pid = parents[pid]
    return pid


def _tree(processes: list[psutil.Process]) -> ProcessTree:
    memory, seconds = 0, {}
    for process in processes:
        try:
            with process.oneshot():
                times = process.cpu_times()
                memory += process.memory_info().rss
                seconds[process.pid, process.create_time()] = times.user + times.system
        except psutil.Error:
            continue
    return ProcessTree(memory, seconds)


async def measure_trees(roots: Iterable[int]) -> dict[int, ProcessTree]:
    """The same in a thread."""
    return await trio.to_thread.run_sync(process_trees, tuple(roots))


@attrs.define(eq=False)
class Meter:
    """`usages` has what was found last, by root pid."""

    measure_trees: MeasureTrees = measure_trees
    usages: dict[int, Usage] = attrs.field(factory=dict)
    _seconds: dict[tuple[int, float], float] = attrs.field(factory=dict)
    _measured_at: float = float("-inf")
    _measuring: bool = False

    @property
    def due(self) -> bool:
        """Whether it is time to measure: not while that is being done, nor MEASURE_INTERVAL seconds after."""
        return not self._measuring and trio.current_time() >= self._measured_at + MEASURE_INTERVAL

    async def measure(self, roots: Iterable[int]) -> None:
        """Measure these trees, if that is due."""
        if not self.due:
            return
        since = trio.current_time() - self._measured_at
        self._measuring = True
        try:
            found = await self.measure_trees(roots)
        finally:
            self._measuring, self._measured_at = False, trio.current_time()
        self.usages = {root: self._usage(tree, since) for root, tree in found.items()}
        self._seconds = {one: spent for tree in found.values() for one, spent in tree.seconds.items()}

    def _usage(self, tree: ProcessTree, since: float) -> Usage:
        spent = sum(now - self._seconds.get(one, 0.0) for one, now in tree.seconds.items())
        known = any(one in self._seconds for one in tree.seconds)
        return Usage(round(100 * spent / since, 1) if known else None, tree.memory, len(tree.seconds))


@attrs.frozen
class Snapshot:
    """`number` counts the snapshots that differ; `sessions` are encoded, each with its key and directory."""

    number: int
    facts: bytes
    sessions: tuple[tuple[str, str, bytes], ...]

    def render_for(self, grant: Grant, at: float, facts: bytes | None = None) -> bytes:
        """The snapshot as JSON, with the sessions that are this client's business, and the `facts` for it if given."""
        views = b",".join(view for key, cwd, view in self.sessions if grant.can_see(key, cwd))
        return b'{"number":%d,"at":%.3f,"broker":%b,"sessions":[%b]}' % (
            self.number,
            at,
            facts or self.facts,
            views,
        )


@attrs.define(eq=False)
class SnapshotFeed:
    """`sessions` gives the sessions, `facts` what else there is to be seen; both answer from memory."""

    sessions: Callable[[], Iterable[Session]]
    facts: Callable[[], dict[str, Any]]
    started_at: float
    meter: Meter = attrs.field(factory=Meter)
    taken: int = 0
    _latest: Snapshot | None = None
    _taken_at: float = 0.0

    async def next(self, after: int | None) -> Snapshot:
        """The newest snapshot, as soon as it is another one than number `after`; at once if it is already."""
        while (
            snapshot := self.take_snapshot()
        ).number == after:  # an event for each update is what it spares
            await trio.sleep_until(self._taken_at + SNAPSHOT_INTERVAL)
            await self.measure()  # of quiet agents too: they may be busy all the same
        return snapshot

    def take_snapshot(self) -> Snapshot:
        """The snapshot of now, or of less than a SNAPSHOT_INTERVAL ago."""
        now = trio.current_time()
        if self._latest is None or now >= self._taken_at + SNAPSHOT_INTERVAL:
            self._taken_at, self.taken = now, self.taken + 1
            facts = jsonrpc.encode(self.facts())
            sessions = tuple(
                (one.key, one.settings.real_cwd, jsonrpc.encode(self._view(one))) for one in self.sessions()
            )
            last = self._latest
            if last is None or (last.facts, last.sessions) != (facts, sessions):
                self._latest = Snapshot(last.number + 1 if last else 1, facts, sessions)
        assert self._latest is not None
        return self._latest

    def clock(self) -> float:
        """Seconds since the broker began."""
        return trio.current_time() - self.started_at

    async def measure(self) -> None:
        """Have CPU and memory in the next snapshot; does nothing most of the times."""
        if not self.meter.due:
            return
        runs = (session.agent_run for session in self.sessions() if session.live)
        await self.meter.measure(
            [
                agent_run.agent.pid
                for agent_run in runs
                if agent_run is not None and agent_run.agent is not None
            ]
        )

    def _view(self, session: Session) -> dict[str, Any]:
        running, router = session.turns.running, session.router
        agent_connection = session.agent_run.connection if session.agent_run is not None else None
        view = session_facts(session)
        use = self.meter.usages.get(view["pid"])
        return view | {
            "phase_since": self._relative_time(session.phase_since),
            "heard_at": self._relative_time(
                agent_connection.received_at if agent_connection is not None else None
            ),
            "turn_id": running.prompt_id if running is not None else None,
            "turn_since": self._relative_time(running.started_at if running is not None else None),
            "attached": [
                {"name": one.name, "role": "observer" if one in router.observers else "controller"}
                for one in router.listeners
            ],
            "asks": [self._ask(request) for request in router.requests.visible]
            if router.requests is not None
            else [],
            "use": None if use is None else attrs.asdict(use),
        }

    def _ask(self, request: AgentRequest) -> dict[str, Any]:
        """Without what would be done, which can be megabytes: `asks` has that for the one that is looked at."""
        facts = {
            "askId": request.id,
            "method": request.method,
            "title": request.title,
            "kind": request.kind,
            "mode": request.mode,
            "reason": request.reason,
        }
        return facts | {"options": request.options, "since": self._relative_time(request.opened_at)}

    def _relative_time(self, at: float | None) -> float | None:
        return None if at is None else round(at - self.started_at, 3)
