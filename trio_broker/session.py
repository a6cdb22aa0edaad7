"""One session: its child nursery, with its agent's process and line, its turns, its asks and its relay to clients.

Inside, one_for_all: process, reader, writer and turns end together. Nothing here waits for a client, knows the pool or
touches a socket. The phase is derived from the facts, not kept beside them, so no flag can leak (RACES G2).

How it ends: `request_end` is the message (ladder: close stdin, SIGTERM, SIGKILL, with the line still being read, so
that an agent with last words is not stuck on a full pipe); cancelling `run` is the axe (SIGKILL at once).
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import attrs
import trio

from trio_broker.asks import Asks
from trio_broker.catalog import AgentSpec
from trio_broker.errors import AgentGone, BadMessage, BrokerError, RemoteError, SessionOver, SpawnFailed
from trio_broker.line import Line, OnReply
from trio_broker.model import Phase
from trio_broker.policy import Policy
from trio_broker.process import Agent, Ladder
from trio_broker.relay import Relay
from trio_broker.turns import Turn, Turns
from trio_broker.wire import acp, jsonrpc
from trio_broker.wire.convert import structure
from trio_broker.wire.jsonrpc import Message

DRAIN = 0.5  # seconds for the last words in the pipes of a process that is gone
EXIT_AFTER_EOF = 0.5  # seconds in which the exit of an agent that closed its stdout is expected
PROTOCOL_VERSION = 1
AUTH_REQUIRED = -32000
LAST_WORDS_SHOWN = 300  # characters of stderr in a message; the rest is in its details
INITIALIZE = jsonrpc.encode(
    {
        "protocolVersion": PROTOCOL_VERSION,
        "clientCapabilities": acp.AGENT_FACING_CAPABILITIES,
        "clientInfo": {"name": "trio-broker", "title": "trio-broker", "version": "1"},
    }
)


@attrs.frozen
class Settings:
    """What a session is opened with. `session_params`: the raw parameters of `session/new`; None: a control session."""

    key: str
    spec: AgentSpec
    cwd: str
    session_params: bytes | None
    policy: Policy = Policy.ASK
    env: tuple[tuple[str, str], ...] = ()
    start_timeout: float = 120.0
    liveness: float = 5.0
    cancel_grace: float = 30.0
    queue: int = 16
    max_line: int = jsonrpc.MAX_LINE
    stderr_ring: int = 65536
    ladder: Ladder = Ladder()


Spawn = Callable[[Settings], Awaitable[Agent]]


@attrs.define(eq=False)
class Session:
    """One conversation with one agent process; everything but `run` and the `wait_…` methods is synchronous."""

    settings: Settings
    spawn: Spawn
    starting: trio.CapacityLimiter
    public_id: Callable[[str], str]
    agent: Agent | None = None
    line: Line | None = None
    turns: Turns | None = None
    relay: Relay = attrs.field(init=False)
    introduction: bytes = b"{}"
    opened: bytes = b"{}"
    cause: BrokerError | None = None
    started: trio.Event = attrs.field(factory=trio.Event)
    gone: trio.Event = attrs.field(factory=trio.Event)
    used_at: float = attrs.field(factory=trio.current_time)
    phase_since: float = attrs.field(factory=trio.current_time)
    _ending: trio.Event = attrs.field(factory=trio.Event)
    _ladder: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _start_scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _phase_seen: Phase = Phase.STARTING

    def __attrs_post_init__(self) -> None:
        self.relay = Relay(self._author, self._reject, self._refuse_early)

    def __repr__(self) -> str:
        return (
            f"<Session {self.key!r} {self.phase.value} agent={self.settings.spec.name} id={self.session_id}>"
        )

    # What it is

    @property
    def key(self) -> str:
        return self.settings.key

    @property
    def session_id(self) -> str | None:
        return self.relay.session_id

    @property
    def over(self) -> bool:
        """No process is left and none will come."""
        return self.gone.is_set()

    @property
    def ending(self) -> bool:
        """It takes no more prompts; its process may live for the length of the ladder."""
        return self._ending.is_set()

    @property
    def phase(self) -> Phase:
        if self.ending:
            return Phase.CLOSED if self.cause is None else Phase.DEAD
        if not self.started.is_set():
            return Phase.STARTING
        running = self.turns.running if self.turns is not None else None
        if running is not None and running.cancelling:
            return Phase.CANCELLING
        if self.relay.asks is not None and self.relay.asks.waiting():
            return Phase.WAITING
        return Phase.IDLE if running is None else Phase.WORKING

    def note_phase(self) -> None:
        """Look whether the phase is another one now, and since when; called wherever a fact behind it changes."""
        if (phase := self.phase) is not self._phase_seen:
            self._phase_seen = phase
            self.phase_since = trio.current_time()

    def active_at(self) -> float:
        """When anything last happened: the agent spoke, a turn ended, a client came (monotonic; RACES G3, G4)."""
        heard = self.line.heard_at if self.line else self.used_at
        return max(self.used_at, heard, self.turns.ended_at if self.turns else heard)

    # What clients do with it

    def submit(self, turn: Turn) -> int:
        """Queue a prompt; its position: 0 runs at once. Raises QueueFull, SessionOver; then nothing was queued."""
        self.used_at = trio.current_time()
        turn.params = self.relay.inward(turn.params)
        return self._ready_turns().submit(turn)

    def cancel(self, turn: Turn) -> str:
        """Cancel this turn and its asks: says `turn`, `queued` or `nothing`. Takes no lock and waits for nothing."""
        what = self._ready_turns().cancel(turn)
        if what == "turn" and self.relay.asks is not None:
            self.relay.asks.cancel()
        self.note_phase()
        return what

    def request(self, method: str, params: bytes, on_reply: OnReply) -> int:
        """Pass a request on to the agent; `on_reply` hears the answer, once. Raises SessionOver."""
        return self._ready_line().request(method, self.relay.inward(params), on_reply)

    def notify(self, method: str, params: bytes) -> None:
        """Pass a notification on to the agent. Raises SessionOver."""
        self._ready_line().send(jsonrpc.notification(method, self.relay.inward(params)))

    # Its life

    async def run(self) -> None:
        """Live from spawn to the last process of the group; runs once. Cancelling it kills the group at once."""
        try:
            await self._spawn()
            if self.agent is not None and self.line is not None:
                await self._live(self.agent, self.line)
        finally:
            self.request_end(
                cause=SessionOver(
                    f"session {self.key!r} was ended: the broker stops, or failed in it; see its log"
                )
            )
            self._end_start()
            self.gone.set()

    async def wait_ready(self) -> None:
        """Wait for the start. Raises why it failed; cancelling this leaves the start to the others who wait."""
        await self.started.wait()
        if self.ending:
            raise self.cause or SessionOver(f"session {self.key!r} was closed before it had started")

    def request_end(self, cause: BrokerError | None = None) -> None:
        """Begin to end it: no more prompts, all who wait have their outcome now, the process goes by the ladder.

        Only the first call counts.
        """
        if self.ending:
            return
        self.cause = cause
        self._ending.set()
        self._start_scope.cancel()
        self._settle(cause or SessionOver(f"session {self.key!r} was closed"))

    def hurry(self) -> None:
        """Leave out what is left of the ladder: SIGKILL now. Has an effect only on a session that is ending."""
        self._ladder.cancel()

    def end_if_idle(self) -> bool:
        """End it unless it is at work: look and act in one step, so that no prompt can slip between (RACES B3, E1)."""
        queued = self.turns is not None and self.turns.queued()
        called = self.line is not None and len(self.line.calls)
        if self.phase is not Phase.IDLE or queued or called:
            return False
        self.request_end()
        return True

    async def _spawn(self) -> None:
        with self._until_ending():
            await self.starting.acquire_on_behalf_of(self)
            try:
                agent = await self.spawn(self.settings)
            except SpawnFailed as error:
                self.request_end(cause=error)
                return
            # No await from here to the `finally` of `_live`: a spawned process always has an owner.
            self.agent = agent
            self.line = Line(agent, self.settings.max_line, self.settings.stderr_ring)

    async def _live(self, agent: Agent, line: Line) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_exit, agent, line)
                nursery.start_soon(self._watch_eof, agent, line)
                nursery.start_soon(line.run, self.relay.hear)
                await self._start(line)
                if self.turns is not None:
                    nursery.start_soon(self.turns.run)
                await self._ending.wait()
                with self._ladder:
                    await agent.end(self.settings.ladder, line.hang_up)
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):  # bounded: no grace, and SIGKILL can't be refused
                await agent.end(Ladder(0, 0), line.hang_up)

    async def _start(self, line: Line) -> None:
        seconds = self.settings.spec.start_timeout or self.settings.start_timeout
        with self._until_ending():
            try:
                with trio.fail_after(seconds):
                    await self._handshake(line)
            except trio.TooSlowError:
                self._start_failed(
                    f"gave no session within {seconds:g} s; see its stderr, or raise start_timeout"
                )
            except BadMessage as error:
                self._start_failed(f"answered nonsense: {error.message}")
            except AgentGone as error:
                self._lose(error)
            except BrokerError as error:
                self.request_end(cause=error)
        self._end_start()

    @contextlib.contextmanager
    def _until_ending(self) -> Iterator[None]:
        """Give up what is inside as soon as the session is to end: a start may take minutes."""
        with trio.CancelScope() as self._start_scope:
            if self.ending:
                self._start_scope.cancel()
            yield

    def _end_start(self) -> None:
        """Give back the place among the starting ones, and let those who wait for the start look. Idempotent."""
        if not self.started.is_set():
            self.started.set()
            self.note_phase()
            if self in self.starting.statistics().borrowers:
                self.starting.release_on_behalf_of(self)

    async def _handshake(self, line: Line) -> None:
        introduction = await line.call("initialize", INITIALIZE)
        version = structure(introduction, acp.InitializeResponse).protocol_version
        if version != PROTOCOL_VERSION:
            raise SpawnFailed(
                f"agent {self.settings.spec.name!r} speaks ACP version {version}, the broker version 1"
            )
        self.introduction = introduction
        if self.settings.session_params is not None:
            self.opened = await self._open(line, self.settings.session_params)
            self._equip(line, structure(self.opened, acp.NewSessionResponse).session_id)

    async def _open(self, line: Line, params: bytes) -> bytes:
        try:
            return await line.call("session/new", params)
        except (
            RemoteError
        ) as error:  # agents leave out how to log in, which they said at initialize (ACP §7, 17)
            methods = structure(self.introduction, acp.InitializeResponse).auth_methods
            if error.rpc_code == AUTH_REQUIRED and not error.remote_data:
                error.remote_data = {"authMethods": methods}
            raise

    def _equip(self, line: Line, agent_session_id: str) -> None:
        settings, relay = self.settings, self.relay
        self.turns = Turns(
            line,
            limit=settings.queue,
            every=settings.liveness,
            cancel_grace=settings.cancel_grace,
            cancel_params=jsonrpc.encode({"sessionId": agent_session_id}),
            on_change=self.note_phase,
            on_lost=self._lose,
        )
        asks = Asks(line, self._policy, relay.primary, relay.outward, self.note_phase, self._cancelling)
        asks.on_answer = lambda **fields: relay.tell("answer", key=self.key, **fields)
        relay.name(agent_session_id, self.public_id(agent_session_id), asks)

    async def _watch_exit(self, agent: Agent, line: Line) -> None:
        await agent.watch()
        with trio.move_on_after(DRAIN):
            await line.drained.wait()
        details = agent.exit.details() if agent.exit else {}
        self._lose(AgentGone(f"ended with {agent.exit}", **details))

    async def _watch_eof(self, agent: Agent, line: Line) -> None:
        await line.closed.wait()
        with trio.move_on_after(EXIT_AFTER_EOF):
            await agent.exited.wait()
            return
        self._lose(AgentGone(f"closed its stdout while its process {agent.pid} lives, and was ended"))

    def _lose(self, error: BrokerError) -> None:
        """The agent can't go on: say why, with its last words, to all who wait, and end what is left of it."""
        trouble = self.line.trouble if self.line is not None else None
        what = "" if self.started.is_set() else " before it had a session"
        kind = AgentGone if self.started.is_set() else SpawnFailed
        self.request_end(
            cause=self._with_words(kind, (trouble or error).message + what, (trouble or error).details)
        )

    def _start_failed(self, what: str) -> None:
        self.request_end(cause=self._with_words(SpawnFailed, what, {}))

    def _with_words(self, kind: type[BrokerError], what: str, details: dict[str, Any]) -> BrokerError:
        tail = self.line.stderr_tail() if self.line else ""
        words = f"; its last words: {tail.strip()[-LAST_WORDS_SHOWN:]}" if tail.strip() else ""
        return kind(f"agent {self.settings.spec.name!r} {what}{words}", **{**details, "stderrTail": tail})

    def _settle(self, error: BrokerError) -> None:
        # Synchronous and complete: whoever waits for anything of this session has its outcome when this returns.
        if self.relay.asks is not None:
            self.relay.asks.close()
        if self.turns is not None:
            self.turns.close(error)
        if self.line is not None:
            self.line.fail(error)
        self.note_phase()
        self.relay.tell(
            "closed", key=self.key, phase=self.phase.value, error=self.cause and self.cause.message
        )

    def _policy(self) -> Policy:
        running = self.turns.running if self.turns is not None else None
        return (running and running.policy) or self.settings.policy

    def _cancelling(self) -> bool:
        return self.phase is Phase.CANCELLING

    def _author(self) -> object:
        return (
            self.turns.running.author if self.turns is not None and self.turns.running is not None else None
        )

    def _refuse_early(self, message: Message) -> None:
        """There is no conversation yet, so nobody to ask: every request still gets its answer (RACES C13)."""
        id, line = message.id or b"null", self._ready_line()
        if message.method == "elicitation/create":
            line.answer(jsonrpc.response(id, b'{"action":"decline"}'))
        else:
            text = f"Method not found before there is a session: {message.method}"
            line.answer(jsonrpc.error_response(id, jsonrpc.error_object(jsonrpc.METHOD_NOT_FOUND, text)))

    def _reject(self, line: bytes) -> None:
        self._ready_line().reject(line)

    def _ready_turns(self) -> Turns:
        if self.turns is None:
            raise self.cause or SessionOver(f"session {self.key!r} has not started yet; wait for it")
        return self.turns

    def _ready_line(self) -> Line:
        if self.line is None:
            raise self.cause or SessionOver(f"session {self.key!r} has not started yet; wait for it")
        return self.line
