"""Each invariant finds the fault that is planted for it, and nothing in a broker without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_broker.broker.sessions import SessionPool
from trio_broker.journal.log import Log
from trio_broker.journal.record import Record
from trio_broker.server.connection import Connection
from trio_broker.server.subscription import Subscriptions
from trio_broker.testing.in_process.invariants import broken
from trio_broker.testing.in_process.memory_agent import Habits, MemoryAgent
from trio_broker.testing.in_process.rig import Rig, open_rig

STUBBORN = Habits(ignores_eof=True)  # else it ends by itself when its stdin does


async def whole(rig: Rig) -> list[str]:
    """What is broken when a client has done all that, and is still there."""
    found: list[str] = []
    async with rig.connect() as user:
        session = await user.open("k")
        user.later(user.prompt, session, "say a; wait 1; say b; wait 1; say c")
        await trio.sleep(10)
        found += await broken(rig)
    return found


def drop(monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = Log.append_updates, [0]

    def append_updates(self: Log, count: int, lines: bytes, **how: Any) -> Any:
        seen[0] += 1
        return real(self, count, lines, **how) if seen[0] != 2 else real(self, 0, b"")

    monkeypatch.setattr(Log, "append_updates", append_updates)


def repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Log.append_updates

    def append_updates(self: Log, count: int, lines: bytes, **how: Any) -> Any:
        real(self, count, lines, **how)
        return real(self, count, lines, **how)

    monkeypatch.setattr(Log, "append_updates", append_updates)


def drop_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Subscriptions._render

    def render(self: Subscriptions, session: Any, record: Any) -> bytes:
        return b"" if b'"b"' in record.data else real(self, session, record)

    monkeypatch.setattr(Subscriptions, "_render", render)


def repeat_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Subscriptions._render
    monkeypatch.setattr(Subscriptions, "_render", lambda *args: real(*args) * 2)


def forget_a_waiter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "reply_outcome", lambda *args: None)


def leak_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    async def end(*_: object) -> None:
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(MemoryAgent, "end", end)


def keep_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SessionPool, "release", lambda *args: False)


def end_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Log.append

    def append(self: Log, kind: str, *args: Any, **fields: Any) -> Record:
        if kind == "ended":
            real(self, kind, *args, **fields)
        return real(self, kind, *args, **fields)

    monkeypatch.setattr(Log, "append", append)


FAULTS: dict[Callable[[pytest.MonkeyPatch], None], str] = {
    drop: "its agent said ['a', 'b', 'c'], its log has ['a', 'c']",
    repeat: "its log has ['a', 'a', 'b', 'b', 'c', 'c']",
    drop_on_the_way: "a client heard ['a', 'c'], its log has ['a', 'b', 'c']",
    repeat_on_the_way: "a client heard ['a', 'a', 'b', 'b', 'c', 'c']",
    forget_a_waiter: "a client still waits for ['prompt']",
    leak_a_process: "was left behind",
    keep_a_session: "these sessions are closed, and still there: ['k'",
    end_twice: "was started 1 times and ended 2 times",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_each_invariant_finds_its_fault(
    fault: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    with trio.fail_after(100_000):
        async with open_rig(habits=STUBBORN) as rig:
            fault(monkeypatch)
            found = await whole(rig)
            monkeypatch.undo()
    assert [what for what in found if FAULTS[fault] in what], found


async def test_a_sound_broker_has_no_faults(autojump_clock: MockClock) -> None:
    with trio.fail_after(100_000):
        async with open_rig() as rig:
            assert await whole(rig) == []
