"""Real agents under a broker in this very process, or under a real daemon, and a look at what there is of them.

    async with open_real(term_grace=1) as rig, rig.connect() as user:
        session = await user.open("a", command=fake("--ignore-term"))

    with home_with(term_grace=1) as home, serving(home) as daemon:
        async with visit(home) as user:
            ...
        daemon.terminate()

The clock is the real one: `trio.fail_after` around all of it.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import attrs
import trio

from trio_broker.config import AgentConfig, Config
from trio_broker.dial import connected as dialled
from trio_broker.link import Lines
from trio_broker.spawning import spawn_agent
from trio_broker.testing.clients.user import User, connected
from trio_broker.testing.home import CONFIG, FAKE, Home, eventually
from trio_broker.testing.rig import Rig, open_rig, settings

READY = "Ctrl-C ends it"  # what `serve` says when clients can connect
LOOK = 0.01  # seconds between two looks at what only the system knows


def fake(*flags: str) -> list[str]:
    """The command of the scripted agent with these flags."""
    return [*FAKE, *flags]


@asynccontextmanager
async def open_real(agents: dict[str, AgentConfig] | None = None, **broker: Any) -> AsyncGenerator[Rig, None]:
    """A broker with these settings and agents; `demo`, its default, is the scripted agent."""
    known = {"demo": AgentConfig(FAKE)} | (agents or {})
    config: Config = attrs.evolve(settings(**broker), agents=known)
    async with open_rig(config, spawn=spawn_agent) as rig:
        yield rig


def home_with(**broker: object) -> Home:
    """A home with these settings in its table `[broker]`; `demo` is the scripted agent too."""
    lines = [f"{name} = {value}" for name, value in broker.items()]
    agent = f"[agents.demo]\ncommand = {json.dumps(FAKE)}"
    return Home("\n".join([CONFIG, agent, "[broker]", *lines]))


@contextmanager
def serving(home: Home, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """`trio-broker serve`, listening, with its log in `home.log`; killed at the end if it has not ended."""
    home.env.update(env or {})
    began = home.log.count(READY)
    directory = home.path / "state"
    directory.mkdir(exist_ok=True)
    with (directory / "broker.log").open("a") as log:
        null = subprocess.DEVNULL
        with home.start("serve", stdin=null, stdout=null, stderr=log) as daemon:
            try:
                eventually(lambda: home.log.count(READY) > began or daemon.poll() is not None)
                assert daemon.poll() is None, home.log
                yield daemon
            finally:
                daemon.kill()  # does nothing to one that has ended and was waited for


@asynccontextmanager
async def visit(home: Home) -> AsyncGenerator[User, None]:
    """A client of the daemon; leaving the block disconnects."""
    async with Lines(await trio.open_unix_socket(str(home.socket))) as link, connected(link) as user:
        yield user


@asynccontextmanager
async def visit_web(home: Home) -> AsyncGenerator[User, None]:
    """The same over the WebSocket that the daemon's `[listen]` opens, with a token made for it that allows everything.

    The token is ended with the block.
    """
    async with visit(home) as owner:
        made = await owner.call("_trio_broker/token_new", name=f"tester-{uuid4().hex}", scopes=["admin"])
        async with (
            dialled((await owner.status())["websocket"], made["token"]) as link,
            connected(link) as user,
        ):
            yield user
        await owner.call("_trio_broker/token_revoke", name=made["name"])


def instance_of(home: Home) -> str:
    """The mark of the daemon, which every process of its agents carries."""
    return (home.socket.parent / "broker.lock").read_text(encoding="ascii").split()[1]


async def wait_ended(daemon: subprocess.Popen[str]) -> int:
    """The exit code of a daemon that was told to end."""
    await come_true(lambda: daemon.poll() is not None)
    code: int = daemon.returncode
    return code


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
    """The number that the agent answers with, such as the pid of its child."""
    before = len(user.said(session))
    await user.prompt(session, prompt)
    return int(user.said(session)[before:])


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
