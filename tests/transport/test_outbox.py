"""What one client is still to be sent: in order, in few writes, within a bound, and nobody waits for it."""

from __future__ import annotations

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from trio_broker.transport.outbox import WRITE, Outbox


async def drain(outbox: Outbox) -> list[bytes]:
    pieces = []
    while piece := await outbox.take():
        pieces.append(piece)
    return pieces


@given(st.lists(st.binary(min_size=1, max_size=WRITE), max_size=8))
def test_every_byte_comes_out_once_in_order_and_in_few_pieces(frames: list[bytes]) -> None:
    outbox = Outbox()
    for frame in frames:
        outbox.put(frame)
    assert outbox.waiting == sum(map(len, frames))
    outbox.finish()
    pieces = trio.run(drain, outbox)
    assert b"".join(pieces) == b"".join(frames) and outbox.waiting == 0
    assert all(len(piece) < 2 * WRITE for piece in pieces)
    assert len(pieces) <= 2 * outbox.limit // WRITE


async def test_take_waits_for_something_and_a_cancel_loses_nothing(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        outbox = Outbox()
        with trio.move_on_after(10):
            await outbox.take()
        assert trio.current_time() >= 10
        outbox.put(b"a")
        assert await outbox.take() == b"a"
        outbox.put(b"b")
        outbox.finish()
        outbox.put(b"after the end")
        assert await outbox.take() == b"b" and await outbox.take() == b""


async def test_c19_a_client_that_does_not_read_is_given_up_at_the_limit(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        outbox = Outbox(limit=10)
        outbox.put(b"12345")
        outbox.put(b"67890")
        assert not outbox.lagged
        outbox.put(b"!")
        assert outbox.lagged and await outbox.take() == b""


async def test_one_frame_above_the_limit_passes_when_nothing_waits(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        outbox = Outbox(limit=10)
        outbox.put(b"x" * 100)
        assert not outbox.lagged and len(await outbox.take()) == 100
