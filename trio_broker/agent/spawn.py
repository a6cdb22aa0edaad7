"""How an agent's process is started: command, environment, directory, and the tag that it carries."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping
from functools import partial

import attrs
import trio

from trio_broker.agent import process_tags
from trio_broker.agent.catalog import RUNNERS, AgentSpec
from trio_broker.agent.lifecycle import SessionSettings
from trio_broker.agent.orphans import OrphanReaper
from trio_broker.agent.process import Agent, AgentProcess
from trio_broker.errors import SpawnFailed

BASE_ENVIRONMENT = ("HOME", "PATH", "USER", "LANG", "TERM")


async def spawn_agent(
    settings: SessionSettings,
    sweeper: OrphanReaper | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Agent:
    """Start the real process, with what it inherits of `environment`.

    With a `sweeper` it is marked, so that whatever leaves its group is found at its end.
    """
    spec, marked = settings.spec, settings.env
    if sweeper is not None:
        marked = (*marked, (process_tags.INSTANCE, sweeper.instance), (process_tags.SESSION, settings.key))
    spec = attrs.evolve(spec, cwd=working_directory(spec, settings.cwd))
    agent = await spawn_process(spec, build_environment(spec, environment, marked))
    if sweeper is not None:
        agent.end_descendants = partial(sweeper.reap, settings.key)
    return agent


def working_directory(spec: AgentSpec, cwd: str) -> str:
    """Where the agent is started for a session in `cwd`.

    What npx and its like run must not be found in the session's directory (ACP §5.3).
    """
    return spec.cwd or ("/" if os.path.basename(spec.argv[0]) in RUNNERS else cwd)


async def spawn_process(spec: AgentSpec, env: Mapping[str, str]) -> AgentProcess:
    """Start the agent's command in its own session and group, with three pipes. Raises SpawnFailed."""
    try:
        process = await trio.lowlevel.open_process(
            list(spec.argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env),
            cwd=spec.cwd,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise SpawnFailed(_spawn_failure(spec, error), command=list(spec.argv)) from error
    return AgentProcess(process, env)


def _spawn_failure(spec: AgentSpec, error: Exception) -> str:
    what, look = str(error), f"check `command` of [agents.{spec.name}] and PATH"
    if spec.source == "command":
        look = "check that command, and PATH"
    if isinstance(error, FileNotFoundError):
        if not os.path.isdir(spec.cwd or "/"):
            what = f"its directory {spec.cwd} does not exist"
        elif spec.source == "built-in":
            what = f"it is not installed, or {spec.argv[0]!r} is not in the PATH of the broker"
            look = f"install it, or write its `command` into [agents.{spec.name}]"
    return f"agent {spec.name!r} could not be started: {what}; {look}"


def build_environment(
    spec: AgentSpec, ours: Mapping[str, str], extra: Iterable[tuple[str, str]] = ()
) -> dict[str, str]:
    """The named environment of an agent: the base names, what the spec inherits, what it sets; nothing else of ours."""
    names = (*BASE_ENVIRONMENT, *spec.inherit_env)
    return {name: ours[name] for name in names if name in ours} | dict(spec.env) | dict(extra)
