"""A session, a client or a callback fails alone; waits last as long as the process lives."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import MockClock

from trio_broker.supervision import LAST_WORDS, call_contained, run_contained, while_alive

MOMENT = 0.1


async def fail() -> None:
    await trio.lowlevel.checkpoint()
    raise ValueError("its own fault")


async def test_a_failure_is_logged_and_ends_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[str] = []
    await run_contained("k", fail, lambda: ended.append("k"))
    assert ended == ["k"] and "failed name=k" in caplog.text and "its own fault" in caplog.text


async def test_a_failure_of_tasks_within_is_contained(caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(fail)

    await run_contained("k", body, lambda: None)
    assert "ValueError: its own fault" in caplog.text


async def test_a_cancellation_leaves_it_and_the_end_is_told(autojump_clock: MockClock) -> None:
    ended: list[str] = []
    with trio.move_on_after(1) as scope:
        await run_contained("k", trio.sleep_forever, lambda: ended.append("k"))
    assert scope.cancelled_caught and ended == ["k"]


async def test_a_failure_during_a_cancellation_is_contained_and_the_cancellation_goes_on(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        async def fail_at_the_end() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("while it was cancelled")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(fail_at_the_end)

    with trio.move_on_after(1) as scope:
        await run_contained("k", body, lambda: None)
    assert scope.cancelled_caught and "while it was cancelled" in caplog.text


def test_a_callback_that_fails_is_logged_and_gets_its_arguments(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[int] = []

    def callback(number: int, other: int) -> None:
        heard.extend((number, other))
        raise RuntimeError("no ears")

    with caplog.at_level(logging.ERROR):
        call_contained(callback, 1, 2)
    assert heard == [1, 2] and "no ears" in caplog.text


def test_an_interrupt_leaves_a_callback() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call_contained(interrupt)


async def test_a_wait_lasts_for_hours_while_the_process_lives(autojump_clock: MockClock) -> None:
    came = trio.Event()

    async def answer() -> None:
        await trio.sleep(80_000)
        came.set()

    with trio.fail_after(90_000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            assert await while_alive(came.wait, lambda: True, 3600)
    assert trio.current_time() >= 80_000


@pytest.mark.parametrize(("seconds", "came"), [(LAST_WORDS - MOMENT, True), (LAST_WORDS + MOMENT, False)])
async def test_a_dead_process_has_a_moment_for_its_last_words(
    seconds: float, came: bool, autojump_clock: MockClock
) -> None:
    async def wait() -> None:
        await trio.sleep(seconds)

    with trio.fail_after(60):
        assert await while_alive(wait, lambda: False, 5) is came


async def test_a_failure_of_the_wait_is_raised() -> None:
    with pytest.raises(ValueError, match="its own fault"):
        await while_alive(fail, lambda: True, 5)
