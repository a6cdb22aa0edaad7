"""The broker: the root nursery, the pool, and the agents it knows.

The root only supervises (DESIGN D14): one child nursery per session, each within `contained`. What is asked of the
broker is answered from memory by synchronous methods; `open`, `close` and `introduction` alone wait, each for its own
session and no other.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

import attrs
import trio

from trio_broker import __version__, catalog
from trio_broker.catalog import AgentSpec
from trio_broker.circuit import Circuit
from trio_broker.config import Config
from trio_broker.errors import Draining, Misuse, NoSession, SpawnFailed
from trio_broker.model import Phase
from trio_broker.policy import Policy
from trio_broker.pool import Pool
from trio_broker.process import Agent, Ladder, environment, spawn
from trio_broker.session import Session, Settings, Spawn
from trio_broker.view import counts, session_view

log = logging.getLogger(__name__)

CONTROL_TTL = 60.0  # seconds an unused control session stays, in case its client logs in next
SWEEP = 0.25  # of the idle_ttl: how late an idle session may be ended
END_MARGIN = 5.0  # seconds over the two graces until whatever is left is killed
RUNNERS = ("npx", "uvx", "bunx", "pnpx")


@attrs.frozen
class Opening:
    """What a client wants opened. `params`: the raw `session/new` parameters, or None for a control session."""

    key: str
    spec: AgentSpec
    cwd: str
    params: bytes | None
    policy: Policy | None = None
    env: tuple[tuple[str, str], ...] = ()
    named: bool = True  # the client said which agent it wants, so another one's session will not do


class Guest(Protocol):
    """A connected client, as far as the broker is concerned: it is counted, and sent what is due to it at the end."""

    def finish(self) -> None: ...


async def spawn_agent(settings: Settings) -> Agent:
    """Start the real process. What npx and its like run must not be found in the session's directory (ACP §5.3)."""
    spec = settings.spec
    fetched = os.path.basename(spec.argv[0]) in RUNNERS
    cwd = spec.cwd or ("/" if fetched else settings.cwd)
    return await spawn(attrs.evolve(spec, cwd=cwd), environment(spec, os.environ, settings.env))


async def contained(name: str, body: Callable[[], Awaitable[None]], over: Callable[[], None]) -> None:
    """Run one session, or one client, so that nothing but cancellation leaves it (DESIGN D14).

    `except*`, because plain `except Exception` misses a failure during a cancellation (TRIO.md, fact 1). `over` is
    called when it has ended, whatever way; it is synchronous, so it can't be cancelled half way.
    """
    try:
        await body()
    except* Exception as group:
        log.exception("failed name=%s", name, exc_info=group)
    finally:
        over()


@attrs.define(eq=False)
class Broker:
    """Everything one daemon owns. `where` is shown by `status`: its home and its socket."""

    config: Config
    spawn: Spawn = spawn_agent
    where: dict[str, str] = attrs.field(factory=dict)
    pool: Pool[Session] = attrs.field(init=False)
    starting: trio.CapacityLimiter = attrs.field(init=False)
    circuits: dict[str, Circuit] = attrs.field(factory=dict)
    clients: set[Guest] = attrs.field(factory=set)
    stopping: trio.Event = attrs.field(factory=trio.Event)
    begun_at: float = attrs.field(factory=trio.current_time)
    _controls: dict[str, Session] = attrs.field(factory=dict)
    _introductions: dict[tuple[str, ...], bytes] = attrs.field(factory=dict)
    _by_id: dict[str, Session] = attrs.field(factory=dict)
    _root: trio.Nursery | None = None

    def __attrs_post_init__(self) -> None:
        self.pool = Pool(self.config.broker.max_sessions)
        self.starting = trio.CapacityLimiter(self.config.broker.max_starting)

    # Life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Supervise until `stop`, then end every session by the ladder, all at once, within one deadline.

        Cancelling it is the axe: every agent's group gets SIGKILL.
        """
        async with trio.open_nursery() as self._root:
            self._root.start_soon(self._sweep)
            task_status.started()
            await self.stopping.wait()
            with trio.move_on_after(self._patience()):
                for session in self._everyone():
                    await session.gone.wait()
            self._root.cancel_scope.cancel()

    def stop(self) -> None:
        """Begin to stop: nothing new is opened (RACES G6), every session is told to end. Twice is once."""
        self.stopping.set()
        for session in self._everyone():
            session.request_end()

    def _patience(self) -> float:
        return self.config.broker.close_grace + self.config.broker.term_grace + END_MARGIN

    def _everyone(self) -> tuple[Session, ...]:
        return (*self.pool.snapshot(), *self._controls.values())

    def _over(self, session: Session, forget: Callable[[], None]) -> None:
        circuit = self._circuit(session.settings.spec)
        if isinstance(session.cause, SpawnFailed):
            circuit.failed(trio.current_time(), session.cause.message)
        log.info("session_ended key=%s phase=%s cause=%s", session.key, session.phase.value, session.cause)
        forget()

    def _forget(self, session: Session) -> None:
        if session.session_id is not None and self._by_id.get(session.session_id) is session:
            del self._by_id[session.session_id]
        if session.phase is Phase.CLOSED:  # a dead one stays to be looked at, until its key is claimed anew
            self.pool.release(session.key, session)

    async def _sweep(self) -> None:
        """End what nobody uses: it looks, acts in the same step, and waits for none of them (RACES B3, G1)."""
        ttl = self.config.broker.idle_ttl
        while True:
            await trio.sleep(min(ttl or CONTROL_TTL, CONTROL_TTL) * SWEEP)
            for session in self.pool.snapshot() if ttl else ():
                self._end_if_unused(session, ttl)
            for control in tuple(self._controls.values()):
                self._end_if_unused(control, CONTROL_TTL)

    def _end_if_unused(self, session: Session, ttl: float) -> None:
        unused = trio.current_time() - session.active_at() >= ttl and not session.relay.listeners
        if unused and session.end_if_idle():
            log.info("session_idle key=%s", session.key)

    # Sessions

    async def open(
        self, opening: Opening, *, create: bool = True, fresh: bool = False
    ) -> tuple[Session, bool]:
        """The session of that key, in whatever phase, and whether this call created it. Wait for it with `wait_ready`.

        A session that is just ending is waited for, so that no two processes ever serve one key (RACES B11); `fresh`
        ends the present one first. Cancelling it leaves what was begun. Raises Draining, PoolFull, SpawnFailed (the
        agent rests after failures), NoSession (nothing there and not `create`), Misuse (another agent's session).
        """
        while True:
            there = self.pool.get(opening.key)
            if there is None or there.over:
                break
            if fresh:
                there.request_end()
                fresh = False
            if not there.ending:
                self._check_same(there, opening)
                return there, False
            await there.gone.wait()
        if not create:
            raise NoSession(f"there is no session {opening.key!r}; create it first", key=opening.key)
        return self._claim(opening)

    def _claim(self, opening: Opening) -> tuple[Session, bool]:
        # `claim` and `start_soon` in one step: what stands in the map has an owner (RACES B1, B5).
        if self.stopping.is_set():
            raise Draining("the broker is stopping and opens no more sessions; try again when it is back")
        self._circuit(opening.spec).check(trio.current_time(), opening.spec.name)
        session, created = self.pool.claim(opening.key, self._make(opening))
        if created:
            self._start(session, lambda: self._forget(session))
        return session, created

    def _start(self, session: Session, forget: Callable[[], None]) -> None:
        assert self._root is not None, "the broker runs"
        over = partial(self._over, session, forget)
        self._root.start_soon(contained, session.key, session.run, over, name=f"session {session.key}")

    def _make(self, opening: Opening) -> Session:
        config = self.config.broker
        settings = Settings(
            key=opening.key,
            spec=opening.spec,
            cwd=opening.cwd,
            session_params=opening.params,
            policy=opening.policy or config.policy,
            env=opening.env,
            start_timeout=config.start_timeout,
            liveness=config.liveness,
            cancel_grace=config.cancel_grace,
            queue=config.queue,
            max_line=config.max_line,
            stderr_ring=config.stderr_ring,
            ladder=Ladder(config.close_grace, config.term_grace),
        )
        session = Session(settings, self.spawn, self.starting, lambda agent_id: self._name(session, agent_id))
        return session

    def _name(self, session: Session, agent_id: str) -> str:
        """The public id of a session: the agent's own, unless another live session has it already (DESIGN D3)."""
        self._circuit(session.settings.spec).worked()
        self._introductions[_identity(session.settings.spec)] = session.introduction
        found, number = agent_id, 1
        while found in self._by_id:
            number += 1
            found = f"{agent_id}~{number}"
        self._by_id[found] = session
        return found

    def find(self, *, session_id: str | None = None, key: str | None = None) -> Session:
        """The session of that id or key, dead ones included. Raises NoSession."""
        if session_id is not None:
            everyone = self.pool.snapshot() if session_id not in self._by_id else ()
            found = self._by_id.get(session_id) or next(
                (s for s in everyone if s.session_id == session_id), None
            )
        else:
            found = self.pool.get(key or "")
        if found is None:
            name = {"sessionId": session_id} if session_id is not None else {"key": key}
            raise NoSession(
                f"there is no session {session_id or key!r}; `trio-broker sessions list` shows all", **name
            )
        return found

    async def close(self, session: Session, *, kill: bool = False) -> None:
        """End a session and wait until the last process of its group is gone. Cancelling it ends the waiting only."""
        session.request_end()
        if kill:
            session.hurry()
        await session.gone.wait()
        self.pool.release(session.key, session)

    def _check_same(self, session: Session, opening: Opening) -> None:
        has, wants = session.settings.spec, opening.spec
        if opening.named and has.argv != wants.argv:
            raise Misuse(
                f"session {session.key!r} belongs to agent {has.name!r}, not {wants.name!r}; "
                "choose another key, or close it first",
                key=session.key,
                agent=has.name,
            )

    # Agents

    def resolve(self, name: str | None) -> AgentSpec:
        """How to start the agent of that name, or the default one. Raises UnknownAgent with the near names."""
        return catalog.resolve(name or self.config.default_agent, self.config)

    async def control(self, spec: AgentSpec, cwd: str) -> Session:
        """A started session without a conversation: for initialize, authenticate, logout. Raises why it has none."""
        name = "\0".join(_identity(spec))
        session = self._controls.get(name)
        if session is None or session.ending:
            session = self._controls[name] = self._new_control(name, spec, cwd)
        await session.wait_ready()
        session.used_at = trio.current_time()
        return session

    def _new_control(self, name: str, spec: AgentSpec, cwd: str) -> Session:
        if self.stopping.is_set():
            raise Draining("the broker is stopping and starts no more agents; try again when it is back")
        self._circuit(spec).check(trio.current_time(), spec.name)
        session = self._make(Opening(f"control:{spec.name}", spec, cwd, None))

        def forget() -> None:
            if self._controls.get(name) is session:
                del self._controls[name]

        self._start(session, forget)
        return session

    async def introduction(self, spec: AgentSpec, cwd: str) -> bytes:
        """The agent's raw result of `initialize`, from memory if it has given one before. Raises why it can't."""
        if _identity(spec) not in self._introductions:
            session = await self.control(spec, cwd)
            self._introductions[_identity(spec)] = session.introduction
            self._circuit(spec).worked()
        return self._introductions[_identity(spec)]

    def _circuit(self, spec: AgentSpec) -> Circuit:
        name = " ".join(spec.argv) if spec.source == "command" else spec.name
        return self.circuits.setdefault(name, Circuit())

    # Views

    def status(self) -> dict[str, Any]:
        """The whole picture, from memory: takes no session's lock, waits for nothing, has no checkpoint."""
        sessions, now, limits = self.pool.snapshot(), trio.current_time(), self.config.broker
        return {
            "pid": os.getpid(),
            "version": __version__,
            "uptime": now - self.begun_at,
            **self.where,
            "limits": {name: getattr(limits, name) for name in ("max_sessions", "max_starting", "queue")},
            "counts": counts(sessions),
            "sessions": [session_view(session) for session in sessions],
            "failing": {
                name: circuit.view(now) for name, circuit in self.circuits.items() if circuit.failures
            },
            "clients": len(self.clients),
        }

    def agents(self) -> list[dict[str, Any]]:
        """Every agent there is: configured and built-in, with its command line."""
        specs = {name: catalog.resolve(name, self.config) for name in catalog.names(self.config)}
        return [
            {
                "name": name,
                "command": list(spec.argv),
                "source": spec.source,
                "default": name == self.config.default_agent,
            }
            for name, spec in specs.items()
        ]


def _identity(spec: AgentSpec) -> tuple[str, ...]:
    return (*spec.argv, *(f"{name}={value}" for name, value in sorted(spec.env.items())))
