"""Agents that are processes, in real time: started alone, with a stream to their stdin and stdout, and looked at.

    async with open_agent(fake("--load")) as stream:
        await play.act(stream)

The functions below `open_agent` read the state of agents' processes from the system, or from a broker's status.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from trio_broker.testing.processes.home import FAKE

if TYPE_CHECKING:
    from trio_broker.testing.clients.user import User

GRACE = 2.0  # seconds for it to end by itself when its stdin does


def fake(*flags: str) -> list[str]:
    """The command of the scripted agent with these flags."""
    return [*FAKE, *flags]


@asynccontextmanager
async def open_agent(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str | os.PathLike[str] | None = None
) -> AsyncGenerator[trio.StapledStream[trio.abc.SendStream, trio.abc.ReceiveStream], None]:
    """Start an agent, and talk to it by lines: for a Play, or `open_user(Lines(stream))` for a client.

    Its stderr is the test's own. Leaving closes its stdin, waits a little, and kills its process group. Real time.
    """
    start = partial(
        trio.run_process,
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        check=False,
        start_new_session=True,
        env=env,
        cwd=cwd,
        deliver_cancel=_kill,
    )
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(start)
        assert process.stdin is not None and process.stdout is not None
        try:
            yield trio.StapledStream(process.stdin, process.stdout)
        finally:
            with trio.move_on_after(GRACE, shield=True):
                await process.stdin.aclose()
                await process.wait()
            _kill_group(process.pid)
            nursery.cancel_scope.cancel()


async def _kill(process: trio.Process) -> None:  # noqa: ASYNC124  # trio wants it so
    _kill_group(process.pid)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # all of it has ended already
        os.killpg(pid, signal.SIGKILL)


async def agent_pid(user: User, key: str) -> int:
    pid: int = (await user.view(key))["pid"]
    return pid


async def prompt_for_number(user: User, session: str, prompt: str) -> int:
    """The number that the agent answers with, such as the pid of its child."""
    before = len(user.said(session))
    await user.prompt(session, prompt)
    return int(user.said(session)[before:])


def zombie_children(parent: int) -> list[int]:
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
