"""One session: a conversation with its log, its queue and its clients, over as many lives of its agent as it takes.

`run` is its child nursery's body: it lives whenever it is woken, by a prompt or by whoever opens it, until it is closed
or the broker stops. Nothing here waits for a client, knows the pool or touches a socket. The phase is derived from the
facts, not kept beside them, so no flag can leak (RACES G2).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import trio

from trio_broker.agent.connection import AgentConnection
from trio_broker.agent.control import refuse_request
from trio_broker.agent.lifecycle import AgentRun, SessionSettings, Spawn
from trio_broker.config.config import Restart
from trio_broker.errors import AgentGone, BrokerError, Draining, SessionOver
from trio_broker.journal.log import Log
from trio_broker.model import Phase
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import Message
from trio_broker.protocol.pending import OnReply
from trio_broker.session.agent_request import AgentRequest
from trio_broker.session.client_services import OpeningClient
from trio_broker.session.permissions import RESTART, AgentRequests
from trio_broker.session.resume import Resumption
from trio_broker.session.router import Router
from trio_broker.session.state import ConversationState
from trio_broker.session.timers import TurnTimers
from trio_broker.session.turn_queue import Turn, TurnQueue

MAX_RESTART_DELAY = 60.0  # seconds between two restarts of an agent that crashes again and again


@attrs.define(eq=False)
class Session:
    """Everything but `run` and the `wait_…` methods is synchronous.

    `admit` is asked before every life, raises what speaks against it, and gives what has to be gone first; `public_id`
    gives the name for an agent's id.
    """

    settings: SessionSettings
    spawn: Spawn
    starting: trio.CapacityLimiter
    on_agent_started: Callable[[AgentRun], None]
    log: Log
    public_id: Callable[[str], str]
    admit: Callable[[Session], trio.Event | None] = lambda _: None
    save: Callable[[Session], None] = lambda _: None  # has what is to outlive the process written
    state: ConversationState = attrs.field(factory=ConversationState)
    # Called with a request that nobody is there to answer.
    on_unattended: Callable[[Session, AgentRequest], None] = lambda *_: None
    agent_run: AgentRun | None = None
    previous_run: AgentRun | None = None  # the one before; its process may still be ending
    turns: TurnQueue = attrs.field(init=False)
    router: Router = attrs.field(init=False)
    resumed: str | None = None  # how the present life took up the conversation: exact, loaded or new
    closed: bool = False
    gone: trio.Event = attrs.field(factory=trio.Event)
    used_at: float = attrs.field(factory=trio.current_time)
    phase_since: float = attrs.field(factory=trio.current_time)
    _stopped: bool = False
    _woken: trio.Event = attrs.field(factory=trio.Event)
    _phase_seen: Phase | None = None
    _crashes: int = 0

    def __attrs_post_init__(self) -> None:
        settings = self.settings
        self.turns = TurnQueue(
            self.log,
            settings.queue,
            settings.liveness,
            settings.cancel_grace,
            on_change=self.update_phase,
            on_lost=self._on_agent_lost,
            before_end=lambda turn: self.router.end_turn(turn.policy or settings.policy),
        )
        self.router = Router(
            self.log,
            self._current_author,
            lambda message: refuse_request(self._connection(), message),
            self._note_state,
        )
        self.router.session_id = self.state.session_id

    def __repr__(self) -> str:
        return f"<Session {self.key!r} {self.phase.value} {self.settings.spec.name} {self.session_id}>"

    # What it is

    @property
    def key(self) -> str:
        return self.settings.key

    @property
    def session_id(self) -> str | None:
        return self.state.session_id

    @property
    def live(self) -> bool:
        """There is a process of it, or there will be."""
        return self.agent_run is not None and not self.agent_run.gone.is_set()

    @property
    def live_runs(self) -> tuple[AgentRun, ...]:
        """Those that have a process, or will have one."""
        runs = (self.previous_run, self.agent_run)
        return tuple(agent_run for agent_run in runs if agent_run and not agent_run.gone.is_set())

    @property
    def ending(self) -> bool:
        """It is closed, or the broker stops: it takes no more prompts."""
        return self.closed or self._stopped

    @property
    def cause(self) -> BrokerError | None:
        """Why its last life ended, or has failed to begin; None if it was ended on purpose."""
        return self.agent_run.cause if self.agent_run is not None else None

    @property
    def phase(self) -> Phase:
        if self.closed:
            return Phase.CLOSED
        if self.agent_run is None or self.agent_run.ending:
            return Phase.SUSPENDED if self.cause is None else Phase.DEAD
        if not self.agent_run.started.is_set():
            return Phase.STARTING
        if self.turns.running is not None and self.turns.running.cancelling:
            return Phase.CANCELLING
        if self.router.requests is not None and self.router.requests.is_waiting():
            return Phase.WAITING
        return Phase.IDLE if self.turns.running is None else Phase.WORKING

    def update_phase(self) -> None:
        """Look whether the phase is another one now, and since when; called wherever a fact behind it changes."""
        if (phase := self.phase) is not self._phase_seen:
            self._phase_seen = phase
            self.phase_since = trio.current_time()
            self.log.wake()  # who waits for a phase looks, too

    def active_at(self) -> float:
        """When anything last happened: the agent spoke, a turn ended, a client came (monotonic; RACES G3, G4)."""
        connection = self.agent_run.connection if self.agent_run is not None else None
        return max(self.used_at, connection.received_at if connection is not None else 0, self.turns.ended_at)

    # What clients do with it

    def wake(self, opener: OpeningClient | None = None) -> bool:
        """Have a process, when the last one is gone (RACES B11); says whether that begins a life. Raises as `admit`.

        `opener`: the client that opens the session by this.
        """
        if self.ending:
            raise SessionOver(f"session {self.key!r} was closed" if self.closed else "the broker is stopping")
        if begins := self.agent_run is None or self.agent_run.ending:
            after, last = self.admit(self), self.agent_run
            if last is None or last.begun:
                self.previous_run = last
            else:
                last.abandon()  # `previous_run` is still ending, and this one takes its place
            client = self.router.offer_services(self.settings.spec, opener)
            self.agent_run = AgentRun(
                self.settings, self.spawn, self.starting, self.on_agent_started, self, after, client
            )
            self.resumed = None
            self.log.reserve()  # while its agent starts
            self._woken.set()
            self.update_phase()
        return begins

    def submit(self, turn: Turn, *, first: bool = False) -> int:
        """Queue a prompt, or put it `first`, and wake the session; its position: 0 runs at once.

        Raises QueueFull, and as `wake`.
        """
        self.used_at = trio.current_time()
        if self.settings.restart is Restart.NEVER and self.phase is Phase.DEAD and self.cause is not None:
            raise self.cause
        self.turns.check_room()
        self.wake()
        return self.turns.submit(turn, first=first)

    def cancel(self, turn: Turn, why: str | None = None) -> str:
        """Cancel this turn and its asks: says `turn`, `queued` or `nothing`. Takes no lock and waits for nothing."""
        what = self.turns.cancel(turn, why)
        if what == "turn" and self.router.requests is not None:
            self.router.requests.cancel()
        self.update_phase()
        return what

    def request(self, method: str, params: bytes, on_reply: OnReply) -> int:
        """Pass a request on to the agent; `on_reply` hears the answer, once. Raises SessionOver."""
        return self._connection().request(method, self.router.to_agent(params), on_reply)

    def notify(self, method: str, params: bytes) -> None:
        """Pass a notification on to the agent. Raises SessionOver."""
        self._connection().send(jsonrpc.notification(method, self.router.to_agent(params)))

    async def wait_ready(self) -> None:
        """Wait until it works. Raises why it does not; cancelling this leaves the start to the others who wait."""
        if self.agent_run is None:
            raise SessionOver(f"session {self.key!r} is {self.phase.value}")
        await self.agent_run.wait_ready()

    # Its life

    async def run(self) -> None:
        """Live as often as it is woken, until it is closed or the broker stops. Cancelled, its agent is killed."""
        try:
            while not self.ending:
                await self._woken.wait()
                if self.agent_run is None or self.agent_run.gone.is_set():
                    break
                agent_run = self.agent_run
                await agent_run.run()
                await self._after_run(agent_run)
        finally:
            self._stopped = True
            if self.agent_run is not None:
                self.agent_run.abandon()
            self.gone.set()

    def end(self, *, close: bool) -> None:
        """End its process by the ladder, for good, or until the broker is back; `gone` tells when. Idempotent."""
        if self.ending:
            return
        self.closed, self._stopped = close, True
        if close:
            self.log.append("session", event="closed")
        if self.agent_run is not None and not self.agent_run.ending:
            self.agent_run.request_end(error=self._over_error())
        else:
            self.turns.close(self._over_error(), keep=not close)
        self._woken.set()
        self.save(self)
        self.update_phase()

    def restart(self, cause: BrokerError) -> BrokerError | None:
        """Have another process take up conversation and queue; `cause` ends the turn. Gives what speaks against it."""
        if self.agent_run is not None:
            with self.turns.keep_queued():
                self.agent_run.request_end(cause=cause)
        return self._restart()

    def mark_closed(self) -> None:
        """Another takes its key: it is history, however it ended."""
        if not self.closed:
            self.closed = True
            self.save(self)

    def suspend_if_idle(self) -> bool:
        """End its process if it is idle and can be resumed: look and act in one step (RACES B3, E1, G8)."""
        agent_run = self.agent_run
        if (
            agent_run is None
            or self.phase is not Phase.IDLE
            or self.turns.queued()
            or not agent_run.resume_methods()
        ):
            return False
        if agent_run.connection is not None and len(agent_run.connection.pending):
            return False
        self.log.append("session", event="suspended")
        agent_run.request_end()
        return True

    @property
    def never_started(self) -> bool:
        """It never got as far as a conversation, and does not try any more."""
        return self.state.session_id is None and self.agent_run is not None and self.agent_run.gone.is_set()

    def kill_now(self) -> None:
        """Leave out what is left of the ladder: SIGKILL now. Has an effect only on lives that are ending."""
        for agent_run in self.live_runs:
            agent_run.kill_now()

    async def _after_run(self, agent_run: AgentRun) -> None:
        """After a life: say how it ended, and begin another at once if that is wanted."""
        if (exit := agent_run.exit_details()) is not None:
            self.log.append("agent", event="exited", **exit)
        crashed = isinstance(agent_run.cause, AgentGone)
        self._crashes = self._crashes + 1 if crashed else 0
        if self.agent_run is agent_run:
            self.log.give_back()
            self._woken = trio.Event()
            if self.ending:
                self._woken.set()
            elif crashed and self.settings.restart is Restart.EAGER:
                rest = 2.0 ** (self._crashes - 1) if self._crashes > 1 else 0
                with trio.move_on_after(min(rest, MAX_RESTART_DELAY)):
                    await self._woken.wait()
                self._restart()

    def _restart(self) -> BrokerError | None:
        try:
            self.wake()
        except BrokerError as error:
            if not self.ending:
                self.log.append("note", text=f"not restarted: {error.message}")
            self.turns.close(error, keep=isinstance(error, Draining))
            return error
        return None

    # As the host of its lives

    async def start_conversation(self, connection: AgentConnection) -> None:
        """Make the conversation, or take it up where it was (DESIGN D7)."""
        assert self.agent_run is not None
        self.router.start_run(connection)
        self.log.append("agent", event="started", pid=connection.agent.pid, agent=self.settings.spec.name)
        there = partial(self._set_up_conversation, connection)
        self.resumed = await Resumption(
            self.agent_run, connection, self.state, self.router, self.log, there
        ).run()
        self.save(self)

    async def run_conversation(self, connection: AgentConnection) -> None:
        requests, services = self.router.requests, self.router.services
        assert requests is not None and services is not None, "it has begun"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(requests.run)
            nursery.start_soon(services.run)
            if self.settings.max_turn or self.settings.quiet_after:
                limits = TurnTimers(self.settings, self.turns, connection, requests, self.log, self.cancel)
                nursery.start_soon(limits.run)
            await self.turns.run(connection, self.router.agent_session_id or "")

    def on_end(self, agent_run: AgentRun) -> None:
        # Synchronous and complete: whatever waits in this session has come to its end when this returns.
        stops = self._stopped or agent_run.killed
        self.router.end_run("closed" if self.closed else RESTART if stops else "agent gone")
        self.turns.close(agent_run.cause or self._over_error(), keep=stops and not self.closed)
        self.update_phase()
        phase = "closed" if self.closed else self.phase.value
        self.log.append(
            "session", event="ended", phase=phase, error=agent_run.cause and agent_run.cause.message
        )

    def receive(self, message: Message) -> None:
        self.router.receive(message)

    def receive_updates(
        self, count: int, lines: bytes, *, plain: bool = False, tool_calls: bool = True
    ) -> None:
        self.router.receive_updates(count, lines, plain=plain, tool_calls=tool_calls)

    async def wait_for_room(self) -> None:
        await self.router.wait_for_room()

    def _set_up_conversation(self, connection: AgentConnection, agent_session_id: str, result: bytes) -> None:
        state, router = self.state, self.router
        state.session_id = self.public_id(agent_session_id)
        state.start_run(agent_session_id, result)
        alone = partial(self.on_unattended, self)
        requests = AgentRequests(
            connection,
            self.log,
            self.settings,
            self.turns,
            router,
            router.tool_calls,
            self.update_phase,
            alone,
        )
        router.set_ids(agent_session_id, state.session_id, requests)

    # Details

    def _on_agent_lost(self, error: BrokerError) -> None:
        assert self.agent_run is not None, "a turn runs"
        if isinstance(error, AgentGone):
            self.agent_run.fail_lost(error)
        elif self.settings.restart is Restart.NEVER or not self.turns.queued():
            self.agent_run.request_end(cause=error)
        else:  # it ignored a cancel: what waits behind that turn is no worse for it (DESIGN D10)
            self.restart(error)

    def _over_error(self) -> SessionOver:
        stops = f"the broker stops; session {self.key!r} is kept and can be resumed"
        return SessionOver(f"session {self.key!r} was closed" if self.closed else stops)

    def _note_state(self, update: dict[str, Any]) -> None:
        if self.state.apply_update(update):
            self.save(self)

    def _current_author(self) -> object:
        """Whose turn runs: a client, or, when nobody waits for it, the turn itself; None if none runs."""
        running = self.turns.running
        return None if running is None else running.author or running

    def _connection(self) -> AgentConnection:
        if self.agent_run is None or self.agent_run.connection is None or self.agent_run.ending:
            text = f"session {self.key!r} is {self.phase.value}: it has no agent now"
            raise self.cause or SessionOver(text)
        return self.agent_run.connection
