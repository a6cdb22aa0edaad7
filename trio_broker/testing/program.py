"""Any agent as a program: its stdin and stdout as one stream."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import trio

GRACE = 2.0  # seconds for it to end by itself when its stdin does


@asynccontextmanager
async def open_agent(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str | os.PathLike[str] | None = None
) -> AsyncGenerator[trio.StapledStream[trio.abc.SendStream, trio.abc.ReceiveStream], None]:
    """Start an agent, and talk to it by lines: for a Play, or `connected(Lines(stream))` for a client.

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
