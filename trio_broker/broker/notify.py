"""The command that is run when an agent asks and nobody is there: `notify` in [policy].

It gets the ask as one JSON object on stdin. What it does, and whether it works, is its own matter: a failure is logged,
its time is bounded, and when it has ended, or its time is over, so has its process group.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
from collections.abc import Mapping
from typing import Any

import attrs
import trio

from trio_broker.agent import process_tags
from trio_broker.agent.process import AgentProcess

log = logging.getLogger(__name__)

TIMEOUT = 30.0  # seconds for one run
MAX_RUNNING = 4  # runs at the same time; the others wait
MAX_WAITING = 100  # runs that may wait; an agent that asks and asks must not fill the memory
DRAIN = 0.5  # seconds for the last words of a command that has ended
STDERR_KEPT = 500  # bytes of its stderr in the log


@attrs.define(eq=False)
class NotifyHook:
    """Runs `command`, for at most `seconds`, `MAX_RUNNING` of them at a time."""

    command: tuple[str, ...]
    seconds: float = TIMEOUT
    _places: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(MAX_RUNNING))

    async def run(self, facts: Mapping[str, Any]) -> None:
        """Run it, if there is one, with these facts; returns when it has ended. Cancelling it kills the command."""
        if not self.command:
            return
        if self._places.statistics().tasks_waiting >= MAX_WAITING:
            log.warning("notify_dropped ask=%s why=%s", facts.get("askId"), f"{MAX_WAITING} others wait")
            return
        async with self._places:
            why = await _run(self.command, json.dumps(facts).encode() + b"\n", self.seconds)
        if why is not None:
            log.warning("notify_failed ask=%s command=%s why=%s", facts.get("askId"), self.command[0], why)


async def _run(command: tuple[str, ...], text: bytes, seconds: float) -> str | None:
    """Why it failed, or None."""
    try:
        process = await trio.lowlevel.open_process(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=_environment(),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return str(error)
    tail = bytearray()
    with trio.move_on_after(seconds) as scope:
        await _run_to_end(AgentProcess(process), text, tail)
    said = tail.decode("utf-8", "replace").strip()
    if scope.cancelled_caught:
        return f"it took more than {seconds:g} s and was ended: {said}"
    return None if process.returncode == 0 else f"exit code {process.returncode}: {said}"


def _environment() -> dict[str, str]:
    """Ours. What the hook starts is known by it, even when it has left the hook: it is the owner's, not an agent's."""
    ours = {name: value for name, value in os.environ.items() if name not in process_tags.NAMES}
    return ours | {process_tags.HOOK: str(os.getpid())}


async def _run_to_end(hook: AgentProcess, text: bytes, tail: bytearray) -> None:
    """Write its stdin, read its stderr, and wait for its end, which is that of its group. Cancelling kills it."""
    drained = trio.Event()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_feed, hook.stdin, text)
            nursery.start_soon(_read_stderr, hook.stderr, tail, drained)
            await hook.watch()
            with trio.move_on_after(DRAIN):
                await drained.wait()
            nursery.cancel_scope.cancel()
    finally:
        hook.signal_group(signal.SIGKILL)
        with trio.CancelScope(shield=True):  # bounded: SIGKILL can't be refused
            await hook.watch()


async def _feed(stdin: trio.abc.SendStream, text: bytes) -> None:
    async with stdin:
        try:
            await stdin.send_all(text)
        except trio.BrokenResourceError:
            pass  # it need not read what it is told


async def _read_stderr(stderr: trio.abc.ReceiveStream, tail: bytearray, drained: trio.Event) -> None:
    async with stderr:
        while data := await stderr.receive_some(65536):
            tail += data
            del tail[:-STDERR_KEPT]
    drained.set()
