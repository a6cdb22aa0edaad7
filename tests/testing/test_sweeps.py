"""The sweep, and what it looks for, find each fault that is planted; and nothing in a broker that has none."""

from __future__ import annotations

import traceback
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_broker.connection import Connection
from trio_broker.log import Log
from trio_broker.pool import Pool
from trio_broker.record import Record
from trio_broker.testing.in_process.invariants import broken
from trio_broker.testing.in_process.memory_agent import Habits, MemoryAgent
from trio_broker.testing.in_process.rig import Rig, open_rig
from trio_broker.testing.in_process.sweep import sound_rig, sweep

STUBBORN = Habits(ignores_eof=True)  # else it ends by itself when its stdin does


async def scenario(rig: Rig) -> None:
    async with rig.connect() as user:
        session = await user.open("k")
        assert await user.prompt(session, "say a; wait 1; say b; wait 1; say c") == "end_turn"


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
    real = Connection._render

    def render(self: Connection, session: Any, record: Any) -> bytes:
        return b"" if b'"b"' in record.data else real(self, session, record)

    monkeypatch.setattr(Connection, "_render", render)


def repeat_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Connection._render
    monkeypatch.setattr(Connection, "_render", lambda *args: real(*args) * 2)


def forget_a_waiter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "settle", lambda *args: None)


def leak_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    async def end(*_: object) -> None:
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(MemoryAgent, "end", end)


def keep_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pool, "release", lambda *args: False)


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


def test_a_sweep_covers_every_step() -> None:
    steps = sweep(scenario)
    assert steps > 60
    assert sweep(scenario, first=steps + 50) > 60, "at once, to its end"


async def until_it_ends(rig: Rig) -> None:
    async with rig.connect() as user:
        user.later(user.open, "k")
        await rig.ended.wait()


def test_a_leak_at_a_few_steps_only_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = MemoryAgent.end

    async def end(self: MemoryAgent, *args: Any) -> None:
        if self.got("session/new"):  # else: who is cancelled before it has a session is forgotten
            await real(self, *args)
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(MemoryAgent, "end", end)
    with pytest.raises(BaseException) as caught:  # noqa: PT011  # of whatever shape: it has a note
        sweep(
            until_it_ends,
            around=partial(sound_rig, habits=STUBBORN),
            victim=lambda rig: rig.cancel_scope,
            limit=200,
        )
    assert "sweep: cancelled at step" in caught.value.__notes__[0]
    assert "was left behind" in "".join(traceback.format_exception(caught.value))


@asynccontextmanager
async def counter() -> AsyncGenerator[list[str], None]:
    here: list[str] = []
    yield here
    assert not here


async def claim_badly(here: list[str]) -> None:
    here.append("me")
    await trio.sleep(1)
    here.remove("me")


async def claim_well(here: list[str]) -> None:
    here.append("me")
    try:
        await trio.sleep(1)
    finally:
        here.remove("me")


async def never_ends(here: list[str]) -> None:
    await trio.sleep_forever()


def test_a_claim_that_is_not_given_back_is_found() -> None:
    with pytest.raises(AssertionError) as caught:
        sweep(claim_badly, around=counter)
    assert "cancelled at step" in str(caught.value.__notes__)
    assert sweep(claim_well, around=counter) >= 1


def test_a_scenario_that_never_ends_is_told() -> None:
    with pytest.raises(trio.TooSlowError):
        sweep(never_ends, around=counter)
    with pytest.raises(AssertionError, match="no end of the scenario after 2 steps"):
        sweep(claim_well, around=counter, limit=2)


async def test_a_sweep_does_not_run_within_trio() -> None:  # noqa: ASYNC124  # it is to run in Trio
    with pytest.raises(RuntimeError, match="plain `def test_"):
        sweep(claim_well, around=counter)
