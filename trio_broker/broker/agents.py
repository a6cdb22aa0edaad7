"""The agents a broker knows: how each is started, what it said of itself, and whether it starts at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import trio

from trio_broker.agent import catalog
from trio_broker.agent.catalog import AgentSpec
from trio_broker.agent.control import ControlAgent
from trio_broker.agent.installed import InstalledAgents
from trio_broker.agent.lifecycle import AgentRun, SessionSettings, Spawn, client_served
from trio_broker.agent.spawn import build_environment, working_directory
from trio_broker.config.config import Config
from trio_broker.errors import SpawnFailed

FAILURES_BEFORE_BACKOFF = 3  # failures in a row before the first rest
FIRST_BACKOFF = 1.0  # seconds, doubled by each further failure
MAX_BACKOFF = 60.0


@attrs.define
class StartBackoff:
    """One agent's failures in a row, and until when it rests. Times are the caller's clock, in seconds."""

    failures: int = 0
    blocked_until: float = 0.0
    reason: str = ""

    def record_failure(self, now: float, reason: str) -> None:
        self.failures += 1
        self.reason = reason
        if self.failures >= FAILURES_BEFORE_BACKOFF:
            self.blocked_until = now + min(
                FIRST_BACKOFF * 2 ** (self.failures - FAILURES_BEFORE_BACKOFF), MAX_BACKOFF
            )

    def record_success(self) -> None:
        self.failures, self.blocked_until, self.reason = 0, 0.0, ""

    def check(self, now: float, name: str) -> None:
        """Raises SpawnFailed, saying when to try again, while the agent rests."""
        if now < self.blocked_until:
            wait = self.blocked_until - now
            raise SpawnFailed(
                f"agent {name!r} failed to start {self.failures} times in a row and is not tried again for "
                f"{wait:.1f} s; the last time: {self.reason}",
                failures=self.failures,
                retryIn=wait,
            )

    def view(self, now: float) -> dict[str, Any]:
        return {
            "failures": self.failures,
            "retry_in": max(0.0, self.blocked_until - now),
            "reason": self.reason,
        }


@attrs.define(eq=False)
class AgentRegistry:
    """`start` runs a control session in the root nursery, or raises what speaks against that."""

    config: Config
    spawn: Spawn
    start: Callable[[ControlAgent, Callable[[], None]], None]
    installed: InstalledAgents | None = None
    starting: trio.CapacityLimiter = attrs.field(init=False)
    _backoffs: dict[str, StartBackoff] = attrs.field(factory=dict)
    _controls: dict[str, ControlAgent] = attrs.field(factory=dict)
    _initialize_results: dict[tuple[str, ...], bytes] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.starting = trio.CapacityLimiter(self.config.broker.max_starting)

    def resolve(self, name: str | None, command: Sequence[str] | None = None) -> AgentSpec:
        """How to start the agent of that name, or the default one, or the one behind a `command` given on the spot.

        Raises UnknownAgent with the near names, NoDefaultAgent with those that are installed, and Misuse for an empty
        command.
        """
        if command is not None:
            return catalog.from_command(command, name)
        if (name := name or self.config.default_agent) is None:
            raise catalog.no_default_agent(catalog.installed_names(self.config, installed=self.installed))
        return catalog.resolve(name, self.config, installed=self.installed)

    def launch(self, spec: AgentSpec, cwd: str) -> dict[str, Any]:
        """How this broker starts the agent, with the values of its environment: secrets, for the broker's owner alone.

        `set` names the variables that the agent's configuration sets, `inherited` those that it inherits by name.
        """
        return {
            "agent": spec.name,
            "source": spec.source,
            "argv": list(spec.argv),
            "cwd": working_directory(spec, cwd),
            "env": build_environment(spec, os.environ),
            "set": sorted(spec.env),
            "inherited": list(spec.inherit_env),
            "startTimeout": spec.start_timeout or self.config.broker.start_timeout,
        }

    def list_agents(self) -> list[dict[str, Any]]:
        """Every agent there is: configured and built-in, with its command line."""
        names = catalog.names(self.config, self.installed)
        specs = {name: catalog.resolve(name, self.config, installed=self.installed) for name in names}
        default = self.config.default_agent
        return [
            {"name": name, "command": list(spec.argv), "source": spec.source, "default": name == default}
            for name, spec in specs.items()
        ]

    def check(self, spec: AgentSpec) -> None:
        """Raises SpawnFailed, saying when to try again, while this agent rests after failures (RACES F13)."""
        self._backoff(spec).check(trio.current_time(), spec.name)

    def failing_agents(self) -> dict[str, Any]:
        """The agents that failed to start the last time, and when they are tried again."""
        now = trio.current_time()
        return {name: backoff.view(now) for name, backoff in self._backoffs.items() if backoff.failures}

    def on_agent_started(self, agent_run: AgentRun) -> None:
        """An agent that works is remembered with its introduction, one that does not with its failures."""
        backoff = self._backoff(agent_run.settings.spec)
        if isinstance(agent_run.cause, SpawnFailed):
            backoff.record_failure(trio.current_time(), agent_run.cause.message)
        elif not agent_run.ending:
            backoff.record_success()
            if client_served(agent_run.settings.spec, agent_run.client):
                return  # another client, which offers the agent less, gets another introduction
            self._initialize_results[_identity(agent_run.settings.spec)] = agent_run.initialize_result

    async def initialize_result(self, spec: AgentSpec, cwd: str) -> bytes:
        """The agent's raw result of `initialize`, from memory if it has given one before. Raises why it can't."""
        if _identity(spec) not in self._initialize_results:
            await self.get_control_agent(spec, cwd)
        return self._initialize_results[_identity(spec)]

    async def get_control_agent(self, spec: AgentSpec, cwd: str) -> ControlAgent:
        """A started agent without a conversation: for initialize, authenticate, logout. Raises why there is none."""
        name = "\0".join(_identity(spec))
        control = self._controls.get(name)
        if control is None or control.agent_run.ending:
            control = self._controls[name] = self._new_control(name, spec, cwd)
        await control.wait_ready()
        return control

    def control_agents(self) -> tuple[ControlAgent, ...]:
        return tuple(self._controls.values())

    def _new_control(self, name: str, spec: AgentSpec, cwd: str) -> ControlAgent:
        self.check(spec)
        # Its own key, for what carries a session's key as its mark is ended with it: many programs are called npx.
        key = f"control:{spec.name}:{secrets.token_hex(4)}"
        settings = SessionSettings.of(self.config, key, spec, cwd, b"{}", self.config.policy.default)
        control = ControlAgent(settings, self.spawn, self.starting, self.on_agent_started)

        def forget() -> None:
            if self._controls.get(name) is control:
                del self._controls[name]

        self.start(control, forget)
        return control

    def _backoff(self, spec: AgentSpec) -> StartBackoff:
        name = " ".join(spec.argv) if spec.source == "command" else spec.name
        return self._backoffs.setdefault(name, StartBackoff())


def _identity(spec: AgentSpec) -> tuple[str, ...]:
    environment = (f"{name}={value}" for name, value in sorted(spec.env.items()))
    return (
        *spec.argv,
        *environment,
        f"terminal={spec.terminal.value}",
    )  # what it is offered shapes its answer
