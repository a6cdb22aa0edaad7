"""How the agent of a session gets its real process: where it starts, and the mark it carries."""

from __future__ import annotations

import os
from functools import partial

import attrs

from trio_broker.agent import process_tags
from trio_broker.agent.lifecycle import Settings
from trio_broker.agent.orphans import Sweeper
from trio_broker.agent.process import Agent, environment, spawn

RUNNERS = ("npx", "uvx", "bunx", "pnpx")


async def spawn_agent(settings: Settings, sweeper: Sweeper | None = None) -> Agent:
    """Start the real process. What npx and its like run must not be found in the session's directory (ACP §5.3).

    With a `sweeper` it is marked, so that whatever leaves its group is found at its end.
    """
    spec, marked = settings.spec, settings.env
    if sweeper is not None:
        marked = (*marked, (process_tags.INSTANCE, sweeper.instance), (process_tags.SESSION, settings.key))
    fetched = os.path.basename(spec.argv[0]) in RUNNERS
    cwd = spec.cwd or ("/" if fetched else settings.cwd)
    agent = await spawn(attrs.evolve(spec, cwd=cwd), environment(spec, os.environ, marked))
    if sweeper is not None:
        agent.sweep = partial(sweeper.sweep, settings.key)
    return agent
