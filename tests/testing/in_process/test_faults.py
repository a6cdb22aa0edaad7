"""Each fault does what it says, and the broker stands it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from trio_broker.agent.lifecycle import Spawn
from trio_broker.testing import (
    Fault,
    Faulty,
    Habits,
    assert_sound,
    never,
    open_rig,
    refused,
    slowly,
    stillborn,
)
from trio_broker.testing.in_process.rig import settings


async def test_one_byte_at_a_time(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    faulty = Faulty(ours, receiving=Fault(piece=1), sending=Fault(piece=2, pause=3))
    await theirs.send_all(b"abc")
    assert [await faulty.receive_some(), await faulty.receive_some(9)] == [b"a", b"b"]
    begun = trio.current_time()
    await faulty.send_all(b"12345")
    assert trio.current_time() - begun == pytest.approx(9)
    assert await theirs.receive_some() == b"12345"


async def test_cut_after_so_many_bytes(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    faulty = Faulty(ours, sending=Fault(cut_after=3))
    with pytest.raises(trio.BrokenResourceError, match="cut after 3 bytes"):
        await faulty.send_all(b"12345")
    assert [await theirs.receive_some(), await theirs.receive_some()] == [b"123", b""]
    ours, theirs = memory_stream_pair()
    await theirs.send_all(b"12345")
    faulty = Faulty(ours, receiving=Fault(cut_after=3))
    assert await faulty.receive_some() == b"123"
    with pytest.raises(trio.BrokenResourceError):
        await faulty.receive_some()


async def test_stalled_after_so_many_bytes(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    faulty = Faulty(ours, sending=Fault(stall_after=3))
    with trio.move_on_after(1000) as scope:
        await faulty.send_all(b"12345")
    assert scope.cancelled_caught and await theirs.receive_some() == b"123"


@pytest.mark.parametrize("size", range(0, 200, 9))
async def test_c22_a_client_that_is_cut_anywhere_leaves_the_broker_sound(
    size: int, autojump_clock: MockClock
) -> None:
    line = b'{"jsonrpc":"2.0","id":1,"method":"_trio_broker/open","params":{"key":"k","cwd":"/tmp","agent":"demo"}}\n'
    with trio.fail_after(10_000):
        async with open_rig() as rig:
            async with Faulty(rig.raw(), sending=Fault(cut_after=size)) as stream:
                try:
                    await stream.send_all(line * 2)
                except trio.BrokenResourceError:
                    assert size < 2 * len(line)
            await trio.sleep(1)
            assert (len(rig.agents.spawned) == 1) == (size >= len(line))
            await assert_sound(rig)


FAULTS: dict[str, tuple[Callable[[Spawn], Spawn], str | None]] = {
    "slowly": (lambda spawn: slowly(spawn, 3600), None),
    "never": (never, "session_over"),
    "refused": (refused, "spawn_failed"),
    "stillborn": (stillborn, "spawn_failed"),
}


@pytest.mark.parametrize("what", FAULTS)
async def test_f12_faults_of_a_spawn_are_told_and_leave_nothing(what: str, autojump_clock: MockClock) -> None:
    fault, code = FAULTS[what]
    with trio.fail_after(100_000):
        async with open_rig() as rig, rig.connect() as user:
            spawn = rig.broker.spawn
            rig.broker.spawn = fault(spawn)
            opening = user.later(user.open, "k")
            await trio.sleep(4000)
            if what == "never":
                assert not opening.done
                await rig.broker.close(rig.session("k"))
                await trio.sleep(1)
            assert (opening.error.code if opening.error else None) == code and opening.done
            rig.broker.spawn = spawn
            await assert_sound(rig)


async def test_f12_an_agent_that_dies_before_it_is_ready(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig(settings(), Habits(dies=7)) as rig, rig.connect() as user:
            error = await user.later(user.open, "k").fails()
            assert error.code == "spawn_failed" and "exit code 7" in error.message
