"""The broker: the root nursery, the pool, the journal's keeper, and the agents it knows.

The root only supervises (DESIGN D14): one child nursery per session, each within `run_contained`. What is asked of the
broker is answered from memory by synchronous methods; `open`, `close` and `delete` alone wait, each for its own
session and no other.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

import attrs
import trio

from trio_broker import __version__
from trio_broker.agent.catalog import AgentSpec
from trio_broker.agent.control import ControlAgent
from trio_broker.agent.installed import InstalledAgents
from trio_broker.agent.lifecycle import SessionSettings, Spawn
from trio_broker.agent.spawn import spawn_agent
from trio_broker.auth.grant import OWNER, Grant
from trio_broker.auth.tokens import Tokens
from trio_broker.broker.agents import AgentRegistry
from trio_broker.broker.authorization import can_see
from trio_broker.broker.notify import NotifyHook
from trio_broker.broker.open_request import OpenRequest
from trio_broker.broker.recovery import RestoredSession, restored_sessions, session_snapshot
from trio_broker.broker.sessions import SessionPool
from trio_broker.broker.status import SnapshotFeed, ask_view, session_view
from trio_broker.config.config import Config
from trio_broker.errors import BrokerError, Draining, NoSession, PoolFull
from trio_broker.journal.archive import Archive
from trio_broker.journal.keeper import Keeper
from trio_broker.journal.log import Log
from trio_broker.journal.store import Delete
from trio_broker.model import CloseReason, Phase
from trio_broker.session.agent_request import AgentRequest
from trio_broker.session.session import Session
from trio_broker.session.state import ConversationState
from trio_broker.supervision import run_contained

log = logging.getLogger(__name__)

CREATED, WOKEN, LIVE = "created", "woken", "live"
FAILED_STARTS_KEPT = 100
CONTROL_TTL = 60.0  # seconds an unused control session stays, in case its client logs in next
SWEEP_FRACTION = 0.25  # of the idle_ttl: how late an idle session may be ended
END_MARGIN = 5.0  # seconds over the two graces until whatever is left is killed


class ConnectedClient(Protocol):
    """A connected client, as far as the broker is concerned: it is counted, and sent what is due to it at the end."""

    def finish(self, ending: CloseReason) -> None: ...


@attrs.define(eq=False)
class Broker:
    """Everything one daemon owns. `location` is shown by `status`: its home and its socket."""

    config: Config
    spawn: Spawn = spawn_agent
    keeper: Keeper = attrs.field(factory=Keeper)
    tokens: Tokens = attrs.field(factory=Tokens)
    location: dict[str, str] = attrs.field(factory=dict)
    installed: InstalledAgents | None = None
    reload_config: Callable[[], Config] | None = None  # the configuration as its file has it now; it blocks
    draining: bool = False
    pool: SessionPool[Session] = attrs.field(init=False)
    clients: set[ConnectedClient] = attrs.field(factory=set)
    stopping: trio.Event = attrs.field(factory=trio.Event)
    started_at: float = attrs.field(factory=trio.current_time)
    archive: Archive = attrs.field(init=False)
    registry: AgentRegistry = attrs.field(init=False)
    notify_hook: NotifyHook = attrs.field(init=False)
    snapshots: SnapshotFeed = attrs.field(init=False)
    _root: trio.Nursery | None = None

    def __attrs_post_init__(self) -> None:
        self.archive = Archive(self.keeper)
        self.registry = AgentRegistry(self.config, self.spawn, self._start_control, self.installed)
        self.notify_hook = NotifyHook(self.config.policy.notify)
        self.pool = SessionPool(self.config.broker.max_sessions)
        self.snapshots = SnapshotFeed(self.pool.snapshot, self.facts, self.started_at)

    # Life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Supervise until `stop`, then end every session by the ladder, all at once, within one deadline.

        Cancelling it is the axe: every agent's group gets SIGKILL.
        """
        async with self.keeper.at_work(), trio.open_nursery() as keeping:
            keeping.start_soon(self.tokens.run)
            async with trio.open_nursery() as self._root:
                try:
                    self._restore()
                    await self.keeper.flush()  # nobody is told how it ended before that is on disk
                    self._root.start_soon(self._suspend_unused)
                    task_status.started()
                    await self.stopping.wait()
                    graces = self.config.broker.close_grace + self.config.broker.term_grace
                    with trio.move_on_after(graces + END_MARGIN):
                        await self._wait_all_gone()
                    self._root.cancel_scope.cancel()
                finally:
                    self.stopping.set()  # cancelled, too, it opens nothing more, and says so
            keeping.cancel_scope.cancel()

    async def _wait_all_gone(self) -> None:
        for session in self.pool.snapshot():
            await session.gone.wait()
        for control in self.registry.control_agents():
            await control.agent_run.gone.wait()

    def agent_processes(self) -> dict[int, str]:
        """The agents' processes by number, those that somebody here waits for, each with its key."""
        runs = [agent_run for session in self.pool.snapshot() for agent_run in session.live_runs]
        runs += [control.agent_run for control in self.registry.control_agents()]
        agents = [(run.agent, run.settings.key) for run in runs if run.agent is not None]
        return {pid: key for agent, key in agents for pid in agent.unreaped_pids()}

    def client_name(self, grant: Grant = OWNER) -> str:
        """A name for a new client, which no other has, in this broker or another; a token's name comes first."""
        return f"{'' if grant == OWNER else grant.name + '/'}client-{secrets.token_hex(4)}"

    def stop(self) -> int:
        """Begin to stop: nothing new is opened (RACES G6), every agent is told to end. Twice is once.

        Says how many prompts that wait are kept for the next start.
        """
        self.stopping.set()
        for session in self.pool.snapshot():
            session.end(close=False)
        for control in self.registry.control_agents():
            control.agent_run.request_end()
        kept = sum(session.turns.kept_for_restart for session in self.pool.snapshot())
        log.info("broker_stops queued_prompts_kept=%s", kept)
        return kept

    def drain(self) -> None:
        """Begin nothing new, and stop as soon as every session is at rest; `stop` does not wait for that."""
        if not self.draining:
            assert self._root is not None, "the broker runs"
            self.draining = True
            self._root.start_soon(self._stop_when_idle)

    async def _stop_when_idle(self) -> None:
        for session in self.pool.snapshot():
            while session.live and (turns := session.turns.unsettled()):
                await turns[0].wait()
        self.stop()

    def _restore(self) -> None:
        """Sessions of the last broker stand here as suspended, in its order; what it had promised to run is run."""
        for found in restored_sessions(self.keeper, self.config, self.registry.resolve):
            session = self._make_session(found.settings, found.log, found.state)
            self.pool.claim(session.key, session)
            self.pool.add_id(session, found.state.agent_session_id)
            self._start(session)
            self._restore_turns(session, found)

    def _restore_turns(self, session: Session, found: RestoredSession) -> None:
        """The turn that ran is unknown, and never sent again; prompts that nobody waited for run, once (DESIGN D9)."""
        for prompt_id, how in found.settle().items():
            session.turns.remember_outcome(prompt_id, how)
        for turn in found.queued:
            session.turns.restore(turn)
        if found.queued:
            try:
                session.wake()
            except BrokerError as error:
                log.warning("queue_waits key=%s why=%s", session.key, error)

    async def _suspend_unused(self) -> None:
        """Suspend what nobody uses: it looks, acts in the same step, and waits for none of them (RACES B3, G1)."""
        ttl = self.config.broker.idle_ttl
        while True:
            await trio.sleep(min(ttl or CONTROL_TTL, CONTROL_TTL) * SWEEP_FRACTION)
            for session in self.pool.snapshot() if ttl else ():
                unused = trio.current_time() - session.active_at() >= ttl and not session.router.listeners
                if unused and session.suspend_if_idle():
                    log.info("session_suspended key=%s", session.key)
            for control in self.registry.control_agents():
                control.end_if_unused(CONTROL_TTL)

    # Sessions

    async def open(
        self, request: OpenRequest, *, create: bool = True, fresh: bool = False
    ) -> tuple[Session, str]:
        """The session of that key, and what this call did: CREATED, WOKEN or LIVE. Wait for it with `wait_ready`.

        One that is suspended, or whose agent died, is woken. One that is being closed is waited for, so that no two
        processes ever serve one key (RACES B11); `fresh` closes the present one first. Cancelling it leaves what was
        begun. Raises Draining, PoolFull, SpawnFailed (the agent rests after failures), NoSession (nothing there and not
        `create`), Misuse (another agent's session, or no directory), NoDefaultAgent, Forbidden.
        """
        self.check_accepting()
        request.check_allowed()
        if create:
            request.check_key()
        while (there := self.pool.get(request.key)) is not None and (create or can_see(request.grant, there)):
            if fresh or there.never_started:
                request.check_can_replace(there)
                self._agent_of(request)  # raises before anything is ended
                there.end(close=True)
                fresh = False
            if not there.ending:
                request.check_compatible(there)
                return there, WOKEN if there.wake(request.opener) else LIVE
            await there.gone.wait()
            there.mark_closed()
            self.pool.release(request.key, there)
            self.check_accepting()
        if not create:
            raise NoSession(f"there is no session {request.key!r}; create it first", key=request.key)
        return self._claim(request), CREATED

    def _agent_of(self, request: OpenRequest) -> AgentSpec:
        return request.spec if request.spec is not None else self.registry.resolve(None)

    def _claim(self, request: OpenRequest) -> Session:
        # `claim` and `start_soon` in one step: what stands in the map has an owner (RACES B1, B5).
        settings = request.settings(self.config, self._agent_of(request))
        session = self._make_session(
            settings, Log(self.keeper, self.archive.next_number()), ConversationState()
        )
        session.wake(request.opener)
        self.pool.claim(request.key, session)
        self._start(session)
        session.save(session)
        self._forget_failed_starts()
        return session

    def _forget_failed_starts(self) -> None:
        """Those that failed to start stay to be looked at, the last of them."""
        stillborn = [session for session in self.pool.snapshot() if session.never_started]
        for session in stillborn[:-FAILED_STARTS_KEPT]:
            session.end(close=True)

    def _admit(self, session: Session) -> trio.Event | None:
        """What speaks against one more process: the broker stops, the agent rests, or all sessions are at work.

        Gives what to wait for: another's process, of which it takes the place. Its own last one, if that is still
        ending, leaves it a place anyway.
        """
        self.check_accepting()
        self.registry.check(session.settings.spec)
        if self.pool.live() - session.live < self.pool.limit:
            return None
        if (gone := self._suspend_one()) is None:
            raise PoolFull(
                f"{self.pool.limit} sessions are live, the limit, and none of them can be suspended; "
                "close one, or raise max_sessions in [broker]",
                limit=self.pool.limit,
            )
        return gone

    def check_accepting(self) -> None:
        """Raises Draining when nothing new is to be begun."""
        if self.stopping.is_set() or self.draining:
            how = "stopping" if self.stopping.is_set() else "draining: it stops when all turns have ended,"
            raise Draining(f"the broker is {how} and begins nothing new; try again when it is back")

    def _suspend_one(self) -> trio.Event | None:
        """Make room: the session that was idle longest gives up its process, and can be resumed. Set when it is gone.

        None if they are all at work.
        """
        for session in sorted(self.pool.snapshot(), key=Session.active_at):
            if (agent_run := session.agent_run) is not None and session.suspend_if_idle():
                log.info("session_suspended key=%s for=another", session.key)
                return agent_run.gone
        return None

    def _start(self, session: Session) -> None:
        self._supervise(f"session {session.key}", session.run, partial(self._on_session_end, session))

    def _start_control(self, control: ControlAgent, over: Callable[[], None]) -> None:
        self.check_accepting()
        self._supervise(control.key, control.run, over)

    def _supervise(self, name: str, body: Callable[[], Awaitable[None]], over: Callable[[], None]) -> None:
        assert self._root is not None, "the broker runs"
        self._root.start_soon(run_contained, name, body, over, name=name)

    def _on_session_end(self, session: Session) -> None:
        log.info("session_over key=%s phase=%s cause=%s", session.key, session.phase.value, session.cause)
        if session.closed:
            self.pool.release_id(session)
            self.pool.release(session.key, session)
            if session.session_id is None:
                self.keeper.put(Delete(session.log.number))

    def _make_session(self, settings: SessionSettings, log: Log, state: ConversationState) -> Session:
        session = Session(
            settings,
            self.spawn,
            self.registry.starting,
            self.registry.on_agent_started,
            log,
            lambda agent_id: self.pool.assign_id(session, agent_id),
            self._admit,
            lambda session: self.keeper.put(session_snapshot(session)),
            state,
            self._notify_unattended,
        )
        session.router.is_known_id = self.pool.knows_id
        return session

    def _notify_unattended(self, session: Session, request: AgentRequest) -> None:
        """Nobody is there to answer: whoever is to be told of it is."""
        body = partial(self.notify_hook.run, ask_view(session, request))
        self._supervise(f"notify {request.id}", body, lambda: None)

    def sessions(self, grant: Grant = OWNER) -> list[Session]:
        """Those that this grant has any business with, dead ones included."""
        return [session for session in self.pool.snapshot() if grant.admin or can_see(grant, session)]

    def find(self, *, session_id: str | None = None, key: str | None = None, grant: Grant = OWNER) -> Session:
        """The session of that id or key, dead ones included. Raises NoSession, also if this grant has none such."""
        found = self.pool.get(key or "") if session_id is None else self.pool.get_by_id(session_id)
        if found is None or not can_see(grant, found):
            name = {"sessionId": session_id} if session_id is not None else {"key": key}
            raise NoSession(
                f"there is no session {session_id or key!r}; `trio-broker sessions list` shows all", **name
            )
        return found

    async def close(self, session: Session, *, kill: bool = False) -> None:
        """End a session for good; wait until no process of its group is left, and who waited for a turn was told.

        Cancelling it ends the waiting only.
        """
        session.end(close=True)
        if kill:
            session.kill_now()
        await session.gone.wait()
        self.pool.release(session.key, session)
        await session.log.wait_kept()

    async def delete(self, session: Session) -> None:
        """Close a session and forget it, with its log."""
        await self.close(session)
        await self.archive.forget(session.log.number)

    # Views

    def status(self, grant: Grant = OWNER) -> dict[str, Any]:
        """The whole picture, from memory: takes no session's lock, waits for nothing, has no checkpoint.

        Only an admin is told the last words of agents that failed to start, whoever wanted them.
        """
        views = [session_view(session) for session in self.sessions(grant)]
        failing = self.registry.failing_agents() if grant.admin else {}
        times = {"uptime": trio.current_time() - self.started_at, "failing": failing}
        return self.facts(grant, [view["phase"] for view in views]) | times | {"sessions": views}

    def facts(self, grant: Grant = OWNER, phases: list[str] | None = None) -> dict[str, Any]:
        """What the picture has besides the sessions, and without the times; paths of this host for admins only."""
        limits = self.config.broker
        phases = phases or [session.phase.value for session in self.sessions(grant)]
        return {
            "pid": os.getpid(),
            "version": __version__,
            **(self.location if grant.admin else {}),
            "limits": {name: getattr(limits, name) for name in ("max_sessions", "max_starting", "queue")},
            "counts": {phase.value: phases.count(phase.value) for phase in Phase},
            "clients": len(self.clients),
            "draining": self.draining,
            "tasks": trio.lowlevel.current_statistics().tasks_living,
            "journal": {"failing": self.keeper.failing, "lost": self.keeper.lost},
        }
