"""A sweep cancels at every step, and finds a fault that shows at a few of them only."""

from __future__ import annotations

import traceback
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio

from trio_broker.testing.in_process.memory_agent import Habits, MemoryAgent
from trio_broker.testing.in_process.rig import Rig
from trio_broker.testing.in_process.sweep import sound_rig, sweep

STUBBORN = Habits(ignores_eof=True)  # else it ends by itself when its stdin does


async def scenario(rig: Rig) -> None:
    async with rig.connect() as user:
        session = await user.open("k")
        assert await user.prompt(session, "say a; wait 1; say b; wait 1; say c") == "end_turn"


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
