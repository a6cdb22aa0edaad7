"""A daemon in a `Home`, its clients, and functions that wait for its state.

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
from uuid import uuid4

import trio

from trio_broker.testing.clients.user import User, open_user
from trio_broker.testing.processes.home import CONFIG, FAKE, Home, eventually
from trio_broker.transport.base import NdjsonTransport
from trio_broker.transport.connect import connect_websocket as dialled

READY = "Ctrl-C ends it"  # what `serve` says when clients can connect
POLL_INTERVAL = 0.01  # seconds between two looks at what only the system knows


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
    async with (
        NdjsonTransport(await trio.open_unix_socket(str(home.socket))) as link,
        open_user(link) as user,
    ):
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
            open_user(link) as user,
        ):
            yield user
        await owner.call("_trio_broker/token_revoke", name=made["name"])


def instance_tag(home: Home) -> str:
    """The mark of the daemon, which every process of its agents carries."""
    return (home.socket.parent / "broker.lock").read_text(encoding="ascii").split()[1]


async def wait_exit(daemon: subprocess.Popen[str]) -> int:
    """The exit code of a daemon that was told to end."""
    await wait_until(lambda: daemon.poll() is not None)
    code: int = daemon.returncode
    return code


async def wait_until(holds: Callable[[], object]) -> None:
    """Wait until `holds()` is true; a test's own deadline bounds it."""
    while not holds():  # noqa: ASYNC110  # the system gives no event for it
        await trio.sleep(POLL_INTERVAL)


async def wait_queue_length(user: User, key: str, number: int) -> None:
    """Wait until so many prompts wait for a session."""
    while (await user.view(key))["queue"] != number:  # noqa: ASYNC110  # seen from outside only
        await trio.sleep(POLL_INTERVAL)
