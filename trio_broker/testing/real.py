"""Real agents under a broker in this very process, and a look at what there is of them.

    async with open_real(term_grace=1) as rig, rig.connect() as user:
        session = await user.open("a", command=fake("--ignore-term"))

The clock is the real one: `trio.fail_after` around all of it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from trio_broker.broker import spawn_agent
from trio_broker.config import AgentConfig, Config
from trio_broker.testing.home import FAKE
from trio_broker.testing.rig import Rig, User, open_rig, settings

LOOK = 0.01  # seconds between two looks at what only the system knows


def fake(*flags: str) -> list[str]:
    """The command of the scripted agent with these flags."""
    return [*FAKE, *flags]


@asynccontextmanager
async def open_real(agents: dict[str, AgentConfig] | None = None, **broker: Any) -> AsyncGenerator[Rig, None]:
    """A broker with these settings and agents; `demo`, which `User.open` opens, is the scripted agent."""
    known = {"demo": AgentConfig(FAKE)} | (agents or {})
    config: Config = attrs.evolve(settings(**broker), agents=known)
    async with open_rig(config, spawn=spawn_agent) as rig:
        yield rig


async def come_true(holds: Callable[[], object]) -> None:
    """Wait until `holds()` is true; a test's own deadline bounds it."""
    while not holds():  # noqa: ASYNC110  # the system gives no event for it
        await trio.sleep(LOOK)


async def pid_of(user: User, key: str) -> int:
    pid: int = (await user.view(key))["pid"]
    return pid


async def wait_queued(user: User, key: str, number: int) -> None:
    """Wait until so many prompts wait for a session."""
    while (await user.view(key))["queue"] != number:  # noqa: ASYNC110  # seen from outside only
        await trio.sleep(LOOK)


async def number_said(user: User, session: str, prompt: str) -> int:
    """The number that the agent says last, such as the pid of its child."""
    await user.prompt(session, prompt)
    return int(user.updates(session)[-1]["content"]["text"])


def zombies(parent: int) -> list[int]:
    """The children of a process that have ended and were not reaped."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            stat = (directory / "stat").read_text(encoding="utf-8")
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, its_parent = stat.rpartition(")")[2].split()[:2]
        if state == "Z" and int(its_parent) == parent:
            found.append(int(directory.name))
    return found


def environment_of(pid: int) -> dict[str, str]:
    """The environment a process was started with."""
    raw = Path(f"/proc/{pid}/environ").read_bytes()
    pairs = (entry.decode().partition("=") for entry in raw.split(b"\0") if entry)
    return {name: value for name, _, value in pairs}
