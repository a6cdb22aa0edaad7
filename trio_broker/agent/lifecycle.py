"""One agent process, from its spawn to the last process of its group. A session has one after the other.

Inside, one_for_all: process, reader, writer and work end together. How it ends: `request_end` is the message (ladder:
close stdin, SIGTERM, SIGKILL, with the line still being read, so that an agent with last words is not stuck on a full
pipe); cancelling `run` is the axe (SIGKILL at once).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from math import inf
from typing import Any, Protocol

import attrs
import trio

from trio_broker.agent.catalog import AgentSpec
from trio_broker.agent.connection import AgentConnection, Handler
from trio_broker.agent.process import Agent, Ladder
from trio_broker.agent.redact import Redactor
from trio_broker.auth.grant import OWNER
from trio_broker.auth.policy import Policy
from trio_broker.config.config import Config, PolicyConfig, Quiet, Restart, ServedBy
from trio_broker.errors import (
    AgentGone,
    BadMessage,
    BrokerError,
    SessionOver,
    SpawnFailed,
)
from trio_broker.protocol import acp, jsonrpc
from trio_broker.protocol.auth_methods import LoginHelp
from trio_broker.protocol.codec import structure

DRAIN = 0.5  # seconds for the last words in the pipes of a process that is gone
EXIT_AFTER_EOF = 0.5  # seconds in which the exit of an agent that closed its stdin or stdout is expected
FILES = ("readTextFile", "writeTextFile")
STDERR_SHOWN = 300  # characters of stderr in a message; the rest is in its details
CLIENT_INFO = {"name": "trio-broker", "title": "trio-broker", "version": "1"}


def initialize_params(spec: AgentSpec, client: Mapping[str, Any] | None = None) -> bytes:
    """The raw parameters of `initialize` for this agent; `client`: the capabilities of the client that serves it.

    What a client is to serve is offered only where there is one that can (DESIGN D5): an agent gives up its own means
    for what it is offered.
    """
    offered = acp.AGENT_FACING_CAPABILITIES | client_served(spec, client or {})
    if spec.terminal is ServedBy.BROKER:
        offered["terminal"] = True
    return jsonrpc.encode(
        {
            "protocolVersion": acp.PROTOCOL_VERSION,
            "clientCapabilities": offered,
            "clientInfo": CLIENT_INFO,
        }
    )


def client_served(spec: AgentSpec, client: Mapping[str, Any]) -> acp.Object:
    """Those capabilities of this client that the agent is to use, as members of `clientCapabilities`; often none."""
    files = client.get("fs") if spec.fs is ServedBy.CLIENT else None
    fs = {name: True for name in FILES if isinstance(files, dict) and files.get(name) is True}
    terminal = spec.terminal is ServedBy.CLIENT and client.get("terminal") is True
    found: acp.Object = {"fs": {name: name in fs for name in FILES}} if fs else {}
    return found | ({"terminal": True} if terminal else {})


@attrs.frozen
class SessionSettings:
    """What a session is opened with. `session_params`: the raw parameters of `session/new`.

    `opened_by` names the grant it was opened under. `real_cwd` is `cwd` as it was then, without symbolic links.
    """

    key: str
    spec: AgentSpec
    cwd: str
    session_params: bytes = b"{}"
    policy: Policy = Policy.ASK  # where no rule of `asking` decides
    asking: PolicyConfig = PolicyConfig()
    env: tuple[tuple[str, str], ...] = ()
    start_timeout: float = 120.0
    liveness: float = 5.0
    cancel_grace: float = 30.0
    queue: int = 16
    max_line: int = jsonrpc.MAX_LINE
    stderr_ring: int = 65536
    ladder: Ladder = Ladder()
    restart: Restart = Restart.LAZY
    quiet_after: float = 0.0
    on_quiet: Quiet = Quiet.SAY
    max_turn: float = 0.0
    max_terminals: int = 32
    terminal_output: int = 1024 * 1024
    opened_by: str = OWNER.name
    real_cwd: str = attrs.Factory(lambda self: os.path.realpath(self.cwd), takes_self=True)

    def given(self) -> dict[str, str]:
        """The environment that its agent has beyond what every program has."""
        inherited = {name: os.environ[name] for name in self.spec.inherit_env if name in os.environ}
        return inherited | dict(self.spec.env) | dict(self.env)

    def secrets(self) -> dict[str, str]:
        """What may be secret of all that it is given: its environment, and what is for its MCP servers."""
        asked = jsonrpc.decode(self.session_params)
        servers = asked.get("mcpServers") if isinstance(asked, dict) else None
        return dict(_pairs_of(_list(servers))) | self.given()

    @classmethod
    def of(
        cls, config: Config, key: str, spec: AgentSpec, cwd: str, params: bytes, policy: Policy
    ) -> SessionSettings:
        """Those of one session, with the broker's for all of them."""
        broker = config.broker
        return cls(
            key=key,
            spec=spec,
            cwd=cwd,
            session_params=params,
            policy=policy,
            asking=config.policy,
            start_timeout=broker.start_timeout,
            liveness=broker.liveness,
            cancel_grace=broker.cancel_grace,
            queue=broker.queue,
            max_line=broker.max_line,
            stderr_ring=broker.stderr_ring,
            ladder=Ladder(broker.close_grace, broker.term_grace),
            restart=broker.restart,
            quiet_after=broker.quiet_after,
            on_quiet=broker.on_quiet,
            max_turn=broker.max_turn,
            max_terminals=broker.max_terminals,
            terminal_output=broker.terminal_output,
        )


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _pairs_of(servers: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """The variables and headers of MCP servers, each under a name of its own."""
    for number, server in enumerate(servers):
        members = server if isinstance(server, dict) else {}
        for pair in _list(members.get("env")) + _list(members.get("headers")):
            if isinstance(pair, dict) and isinstance(value := pair.get("value"), str):
                yield f"MCP server {number} {pair.get('name')}", value


Spawn = Callable[[SessionSettings], Awaitable[Agent]]


class Host(Handler, Protocol):
    """Whose agent it is. `start_conversation` makes one over the new connection; `run_conversation` runs until
    cancelled; `on_end` is called,
    synchronously, that it ends, with `cause` when that is a failure."""

    async def start_conversation(self, connection: AgentConnection) -> None: ...
    async def run_conversation(self, connection: AgentConnection) -> None: ...
    def on_end(self, agent_run: AgentRun) -> None: ...
    def update_phase(self) -> None: ...


@attrs.define(eq=False)
class AgentRun:
    """`started` is set when it works or will never, and `on_started` called; `gone` when no process of it is left.

    `starts_after` is waited for first: `gone` of the run whose place it takes. `cause` says what went wrong.
    `client`: the capabilities of the client that opened the session, as far as the agent is to use them.
    """

    settings: SessionSettings
    spawn: Spawn
    starting: trio.CapacityLimiter
    on_started: Callable[[AgentRun], None]
    host: Host
    starts_after: trio.Event | None = None
    client: Mapping[str, Any] = attrs.field(factory=dict)
    agent: Agent | None = None
    connection: AgentConnection | None = None
    initialize_result: bytes = b'{"protocolVersion":1}'
    cause: BrokerError | None = None
    begun: bool = False
    killed: bool = False  # it was cancelled, and so the broker is
    started: trio.Event = attrs.field(factory=trio.Event)
    gone: trio.Event = attrs.field(factory=trio.Event)
    _ending: trio.Event = attrs.field(factory=trio.Event)
    _ladder: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _start_scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    @property
    def ending(self) -> bool:
        """It does nothing more; its process may live for the length of the ladder."""
        return self._ending.is_set()

    async def run(self) -> None:
        """Live; runs once. Cancelling it kills the group at once."""
        self.begun = True
        try:
            await self._spawn()
            if self.agent is not None and self.connection is not None:
                await self._run_connected(self.agent, self.connection)
        finally:
            self.killed = trio.current_effective_deadline() == -inf
            text = f"session {self.settings.key!r} was ended: the broker stops, or failed in it; see its log"
            self.request_end(cause=SessionOver(text))
            self._finish_start()
            self.gone.set()

    async def wait_ready(self) -> None:
        """Wait for the start. Raises why it failed; cancelling this leaves the start to the others who wait."""
        await self.started.wait()
        if self.ending:
            raise self.cause or SessionOver(f"session {self.settings.key!r} was ended before it had started")

    def request_end(self, cause: BrokerError | None = None, error: BrokerError | None = None) -> None:
        """Begin to end it: who waits has an outcome now, the process goes by the ladder. The first call counts.

        `error`: what waiting callers get where nothing is wrong and there is no `cause`.
        """
        if self.ending:
            return
        self.cause = cause
        self._ending.set()
        self._start_scope.cancel()
        if self.connection is not None:
            self.connection.fail_pending(
                cause or error or SessionOver(f"session {self.settings.key!r} was ended")
            )
        self.host.on_end(self)

    def abandon(self) -> None:
        """It will not be run: nobody need wait for it. Has an effect only on a life that has not begun."""
        if not self.begun:
            self.request_end()
            self._finish_start()
            self.gone.set()

    def resume_methods(self) -> list[tuple[str, str]]:
        """How this agent can take up a conversation, the best first: how that is called, and the method."""
        capabilities = structure(self.initialize_result, acp.InitializeResponse).agent_capabilities
        of_sessions = capabilities.get("sessionCapabilities")
        resume = isinstance(of_sessions, dict) and isinstance(of_sessions.get("resume"), dict)
        ways = [("exact", "session/resume")] if resume else []
        return ways + ([("loaded", "session/load")] if capabilities.get("loadSession") is True else [])

    def exit_details(self) -> dict[str, Any] | None:
        """How its process has ended, with its last words; None if it has not, or there was none."""
        if self.agent is None or self.agent.exit is None:
            return None
        tail = self.connection.stderr_tail(1000) if self.connection is not None else ""
        return {"pid": self.agent.pid, "stderrTail": tail or None, **self.agent.exit.details()}

    def kill_now(self) -> None:
        """Leave out what is left of the ladder: SIGKILL now. Has an effect only on a life that is ending."""
        self._ladder.cancel()

    async def _spawn(self) -> None:
        with self._cancelled_on_end():
            if self.starts_after is not None:
                await self.starts_after.wait()
            await self.starting.acquire_on_behalf_of(self)
            try:
                agent = await self.spawn(self.settings)
            except SpawnFailed as error:
                self.request_end(cause=error)
                return
            # No await from here to the `finally` of `_run_connected`: a spawned process always has an owner.
            self.agent = agent
            self.connection = AgentConnection(
                agent, self.settings.max_line, self.settings.stderr_ring, Redactor(self.settings.secrets())
            )

    async def _run_connected(self, agent: Agent, connection: AgentConnection) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_exit, agent, connection)
                nursery.start_soon(self._watch_end_of, "stdout", connection.stdout_closed, agent)
                nursery.start_soon(self._watch_end_of, "stdin", connection.stdin_closed, agent)
                nursery.start_soon(connection.run, self.host)
                await self._start(connection)
                if not self.ending:
                    nursery.start_soon(self.host.run_conversation, connection)
                await self._ending.wait()
                with self._ladder:
                    await agent.end(self.settings.ladder, connection.close_stdin)
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):  # bounded: no grace, and SIGKILL can't be refused
                await agent.end(Ladder(0, 0), connection.close_stdin)

    async def _start(self, connection: AgentConnection) -> None:
        seconds = self.settings.spec.start_timeout or self.settings.start_timeout
        with self._cancelled_on_end():
            try:
                with trio.fail_after(seconds):
                    await self._initialize(connection)
                    await self.host.start_conversation(connection)
            except trio.TooSlowError:
                self._start_failed(
                    f"gave no session within {seconds:g} s; see its stderr, or raise start_timeout"
                )
            except BadMessage as error:
                self._start_failed(f"answered nonsense: {error.message}")
            except AgentGone as error:
                self.fail_lost(error)
            except BrokerError as error:
                self.request_end(cause=error)
        self._finish_start()

    async def _initialize(self, connection: AgentConnection) -> None:
        result = await connection.call("initialize", initialize_params(self.settings.spec, self.client))
        said = structure(result, acp.InitializeResponse)
        version = said.protocol_version
        if version != acp.PROTOCOL_VERSION:
            raise SpawnFailed(
                f"agent {self.settings.spec.name!r} speaks ACP version {version}, the broker version 1"
            )
        self.initialize_result = result
        connection.login_help = LoginHelp(tuple(said.auth_methods), self.settings.spec.login_command)

    @contextlib.contextmanager
    def _cancelled_on_end(self) -> Iterator[None]:
        """Give up what is inside as soon as the session is to end: a start may take minutes."""
        with trio.CancelScope() as self._start_scope:
            if self.ending:
                self._start_scope.cancel()
            yield

    def _finish_start(self) -> None:
        """Give back the place among the starting ones, and let those who wait for the start look. Idempotent."""
        if not self.started.is_set():
            self.started.set()
            self.on_started(self)
            self.host.update_phase()
            if self in self.starting.statistics().borrowers:
                self.starting.release_on_behalf_of(self)

    async def _watch_exit(self, agent: Agent, connection: AgentConnection) -> None:
        await agent.watch()
        with trio.move_on_after(DRAIN):
            await connection.drained.wait()
        details = agent.exit.details() if agent.exit else {}
        self.fail_lost(AgentGone(f"ended with {agent.exit}", **details))

    async def _watch_end_of(self, what: str, ended: trio.Event, agent: Agent) -> None:
        await ended.wait()
        with trio.move_on_after(EXIT_AFTER_EOF):
            await agent.exited.wait()
            return
        self.fail_lost(AgentGone(f"closed its {what} while its process {agent.pid} lives, and was ended"))

    def fail_lost(self, error: BrokerError) -> None:
        """The agent can't go on: say why, with its last words, to all who wait, and end what is left of it."""
        error_of_connection = self.connection.error if self.connection is not None else None
        what = "" if self.started.is_set() else " before it had a session"
        kind = AgentGone if self.started.is_set() else SpawnFailed
        self.request_end(
            cause=self._with_stderr(
                kind, (error_of_connection or error).message + what, (error_of_connection or error).details
            )
        )

    def _start_failed(self, what: str) -> None:
        self.request_end(cause=self._with_stderr(SpawnFailed, what, {}))

    def _with_stderr(self, kind: type[BrokerError], what: str, details: dict[str, Any]) -> BrokerError:
        tail = self.connection.stderr_tail() if self.connection else ""
        stderr_text = f"; its last words: {tail.strip()[-STDERR_SHOWN:]}" if tail.strip() else ""
        return kind(
            f"agent {self.settings.spec.name!r} {what}{stderr_text}", **{**details, "stderrTail": tail}
        )
