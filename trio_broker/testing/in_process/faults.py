"""Faults on purpose: a stream that is cut, stalls or dribbles, and agents that never get as far as a session.

    stream = Faulty(rig.raw(), receiving=Fault(piece=1), sending=Fault(cut_after=100))

    async with open_rig() as rig:
        rig.broker.spawn = slowly(rig.broker.spawn, 60)

For an agent that is a real program, `fake("--slow-start", "60")` and `fake("--no-start")` do the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from trio_broker.agent.process import Agent, Ladder
from trio_broker.errors import SpawnFailed

if TYPE_CHECKING:
    from trio_broker.agent.lifecycle import SessionSettings, Spawn


@attrs.frozen
class Fault:
    """What befalls one direction of a stream.

    After `cut_after` bytes the connection is gone; after `stall_after` nothing more passes, for ever. At most `piece`
    bytes pass at once, each after `pause` seconds.
    """

    cut_after: int | None = None
    stall_after: int | None = None
    piece: int | None = None
    pause: float = 0.0


NO_FAULT = Fault()


@attrs.define(eq=False)
class _Direction:
    """One direction: how much has passed, and how much may pass now."""

    fault: Fault
    passed: int = 0

    @property
    def cut(self) -> bool:
        return self.fault.cut_after is not None and self.passed >= self.fault.cut_after

    async def room(self, requested: int) -> int:
        """Wait as the fault has it; how many bytes may pass now."""
        if self.fault.stall_after is not None and self.passed >= self.fault.stall_after:
            await trio.sleep_forever()
        await trio.sleep(self.fault.pause)
        bounds = (self.fault.cut_after, self.fault.stall_after)
        left = [bound - self.passed for bound in bounds if bound is not None]
        return min([requested, *left, *([self.fault.piece] if self.fault.piece else [])])


@attrs.define(eq=False)
class Faulty(trio.abc.Stream):
    """A stream with faults on the way to its user (`receiving`), from it (`sending`), or both."""

    stream: trio.abc.Stream
    receiving: Fault = NO_FAULT
    sending: Fault = NO_FAULT
    _in: _Direction = attrs.field(init=False)
    _out: _Direction = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._in, self._out = _Direction(self.receiving), _Direction(self.sending)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Raises BrokenResourceError once it is cut."""
        await self._check(self._in)
        data = bytes(await self.stream.receive_some(await self._in.room(max_bytes or 65536)))
        self._in.passed += len(data)
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Raises BrokenResourceError once it is cut, when what came before that is on its way."""
        rest = memoryview(data)
        while rest:
            await self._check(self._out)
            size = await self._out.room(len(rest))
            await self.stream.send_all(rest[:size])
            self._out.passed += size
            rest = rest[size:]

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self.stream.aclose()

    async def _check(self, direction: _Direction) -> None:
        if direction.cut:
            await trio.aclose_forcefully(self.stream)
            raise trio.BrokenResourceError(f"cut after {direction.passed} bytes")


# Faults at the start of an agent, each around a `spawn` that works.


def slowly(spawn: Spawn, seconds: float) -> Spawn:
    """Agents whose process is there only after so many seconds."""

    async def spawn_slowly(settings: SessionSettings) -> Agent:
        await trio.sleep(seconds)
        return await spawn(settings)

    return spawn_slowly


def never(_: Spawn) -> Spawn:
    """Agents whose process is never there; only a cancel ends the waiting for it."""

    async def wait_for_nothing(_: SessionSettings) -> Agent:
        return await trio.sleep_forever()

    return wait_for_nothing


def refused(_: Spawn, why: str = "the system has no room for a process") -> Spawn:
    """Agents that the system refuses to start."""

    async def refuse(_: SessionSettings) -> Agent:
        await trio.lowlevel.checkpoint()
        raise SpawnFailed(why)

    return refuse


def stillborn(spawn: Spawn) -> Spawn:
    """Agents that are killed before they have answered anything."""

    async def spawn_and_kill(settings: SessionSettings) -> Agent:
        agent = await spawn(settings)
        with trio.CancelScope(shield=True):  # bounded: SIGKILL can't be refused
            await agent.end(Ladder(0, 0), lambda: None)
        return agent

    return spawn_and_kill
