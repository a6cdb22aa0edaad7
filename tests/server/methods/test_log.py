"""What is asked about a long past holds up nobody, and fills no memory."""

from __future__ import annotations

import itertools

import pytest
import trio

from trio_broker.journal.record import Record
from trio_broker.journal.replay import Replay
from trio_broker.testing.in_process.rig import open_rig

ENOUGH = 60.0  # seconds


class Steps(trio.abc.Instrument):
    """Counts the steps of all tasks: between two of them others have their turn."""

    def __init__(self) -> None:
        self.number = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.number += 1


@pytest.mark.parametrize("method", ["_trio_broker/history", "session/load"])
async def test_a_past_is_gone_through_in_as_many_steps_as_it_has_records(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A history was read step by step, and then folded in one: for seconds, of a long session."""
    steps, looked = Steps(), list[int]()
    feed = Replay.feed

    def recorded_feed(replay: Replay, record: Record) -> None:
        looked.append(steps.number)
        feed(replay, record)

    with trio.fail_after(ENOUGH):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k")
            for number in range(20):
                await user.prompt(session, f"say {number}")
            monkeypatch.setattr(Replay, "feed", recorded_feed)
            trio.lowlevel.add_instrument(steps)
            await user.call(method, sessionId=session, cwd="/tmp", mcpServers=[])
            trio.lowlevel.remove_instrument(steps)
    assert len(looked) >= 40 and len(set(looked)) == len(looked)


@pytest.mark.parametrize("method", ["_trio_broker/history", "session/load"])
async def test_one_client_has_one_past_gone_through_at_a_time(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes as much memory as the log is long: of a thousand requests at once the broker would have died."""
    looked = list[Replay]()
    feed = Replay.feed

    def recorded_feed(replay: Replay, record: Record) -> None:
        looked.append(replay)
        feed(replay, record)

    with trio.fail_after(ENOUGH):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k")
            await user.prompt(session, "say a; say b; say c")
            monkeypatch.setattr(Replay, "feed", recorded_feed)
            asked = [
                user.later(user.call, method, sessionId=session, cwd="/tmp", mcpServers=[]) for _ in range(5)
            ]
            for one in asked:
                await one.wait()
    assert len(looked) > 5 and len(list(itertools.groupby(looked, id))) == 5
