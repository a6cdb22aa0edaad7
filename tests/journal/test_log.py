"""A log: numbers without holes, and every reader sees exactly what was added, however it lags."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import trio
import trio.lowlevel
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.errors import JournalError
from trio_broker.journal import log as logs
from trio_broker.journal.keeper import Keeper
from trio_broker.journal.log import Cursor, Log
from trio_broker.journal.record import Record
from trio_broker.journal.store import Change, Journal

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("updates"), st.integers(1, 5)),
        st.tuples(st.just("event"), st.just(1)),
        st.tuples(st.just("flush"), st.just(0)),
        st.tuples(st.just("join"), st.integers(0, 40)),
        st.tuples(st.just("read"), st.integers(0, 5)),
    ),
    max_size=40,
)


def lines(first: int, count: int) -> bytes:
    return b"".join(b'{"n":%d}\n' % number for number in range(first, first + count))


class Reader:
    """Keeps the numbers it was given, and checks each against what it carries."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.numbers = range(cursor.next, cursor.next)

    async def read(self, most: int = 10**9) -> None:
        while most and self.cursor.has_more():
            record = await self.cursor.take()
            assert record.first == self.numbers.stop, "in order, none missing, none twice"
            if record.kind == "update":
                assert record.data == lines(record.first, record.count)
            self.numbers = range(self.numbers.start, record.last + 1)
            most -= 1


async def play(steps: list[tuple[str, int]], path: Path) -> None:
    keeper = Keeper(Journal.open(path))
    log, readers = Log(keeper, 1), list[Reader]()
    async with trio.open_nursery() as nursery:
        await nursery.start(keeper.run)
        log.reserve()
        await keeper.flush()
        for step, number in steps:
            if step == "updates":
                assert log.append_updates(number, lines(log.next, number)).count == number
            elif step == "event":
                log.append("note", text="x")
            elif step == "flush":
                await keeper.flush()
                assert log.kept == log.last
            elif step == "join":
                readers.append(Reader(log.cursor(number)))
            else:
                for reader in readers:
                    await reader.read(number)
        for reader in readers:
            await reader.read()
            assert reader.numbers.stop == log.next
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("small", "large"), [(1, 20), (40, 200)])
def test_every_reader_sees_each_event_once_and_in_order(
    small: int, large: int, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a ring so small that most of it is read from the journal."""
    monkeypatch.setattr(logs, "RING_SMALL", small)
    monkeypatch.setattr(logs, "RING_LARGE", large)

    @given(STEPS)
    def check(steps: list[tuple[str, int]]) -> None:
        trio.run(play, steps, tmp_path_factory.mktemp("log") / "j")

    check()


def test_a_closed_cursor_is_woken_no_more() -> None:
    woken: list[int] = []
    log = Log(Keeper(), 1)
    cursor = log.cursor(1, lambda: woken.append(log.last))
    log.append("note", text="a")
    cursor.close()
    log.append("note", text="b")
    assert woken == [1]


async def test_without_a_journal_what_nobody_read_in_time_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "RING_SMALL", 10)
    monkeypatch.setattr(logs, "RING_LARGE", 50)
    log = Log(Keeper(), 1)
    for _ in range(20):
        log.append_updates(1, lines(log.next, 1))
    gap = await log.cursor(1).take()
    assert gap.kind == "gap" and gap.first == 1 and gap.last > 10


class Failing(Journal):
    """A journal whose disk is full for a while."""

    full = True

    def write(self, batch: list[Change]) -> None:  # type: ignore[override]  # narrower, and only ours to call
        if self.full:
            raise JournalError("the disk is full")
        super().write(batch)


async def test_a_failing_journal_stops_nobody_and_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_broker.journal.keeper.RETRY", 0.01)
    with trio.fail_after(60):
        journal = Failing.open(tmp_path / "j")
        assert isinstance(journal, Failing)
        keeper = Keeper(journal)
        log = Log(keeper, 1)
        async with trio.open_nursery() as nursery:
            await nursery.start(keeper.run)
            log.append("note", text="while full")
            await keeper.flush()
            assert keeper.failing == "the disk is full" and log.kept == 0
            journal.full = False
            while keeper.failing:  # noqa: ASYNC110  # it tries again by itself
                await trio.sleep(0.01)
            await keeper.flush()
            assert log.kept == 1 and keeper.lost == 0
            nursery.cancel_scope.cancel()
    with closing(Journal.open(tmp_path / "j")) as again:
        assert [record.first for record in again.read(1, 1, 1000)] == [1]


async def test_what_a_failing_journal_can_not_hold_is_lost_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_broker.journal.keeper.HELD", 1000)
    monkeypatch.setattr("trio_broker.journal.keeper.RETRY", 0.01)
    with trio.fail_after(60):
        journal = Failing.open(tmp_path / "j")
        assert isinstance(journal, Failing)
        keeper = Keeper(journal)
        log = Log(keeper, 1)
        async with trio.open_nursery() as nursery:
            await nursery.start(keeper.run)
            for _ in range(100):
                log.append_updates(1, b"x" * 99 + b"\n")
                await keeper.flush()
            journal.full = False
            while keeper.failing:  # noqa: ASYNC110  # as above
                await trio.sleep(0.01)
            await keeper.flush()
            nursery.cancel_scope.cancel()
        assert keeper.lost > 0
    with closing(Journal.open(tmp_path / "j")) as again:
        found = again.read(1, 1, 1 << 20)
    gap = next(record for record in found if record.kind == "gap")
    assert b'"from":1' in gap.data and found[0].first == keeper.lost + 1


class Halting(Failing):
    """One whose disk also takes its time to say that it is full."""

    says: threading.Event | None = None

    def write(self, batch: list[Change]) -> None:  # type: ignore[override]  # as above
        if self.says is not None:
            self.says.wait(60)
        super().write(batch)


async def test_what_was_being_written_and_is_lost_after_what_came_later_is_said_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_broker.journal.keeper.HELD", 1000)
    monkeypatch.setattr("trio_broker.journal.keeper.RETRY", 0.01)
    with trio.fail_after(60):
        journal = Halting.open(tmp_path / "j")
        assert isinstance(journal, Halting)
        keeper, says = Keeper(journal), threading.Event()
        log = Log(keeper, 1)

        def say(count: int) -> None:
            for _ in range(count):
                log.append_updates(1, b"x" * 99 + b"\n")

        async with trio.open_nursery() as nursery:
            await nursery.start(keeper.run)
            say(5)
            await keeper.flush()
            journal.says = says
            while not keeper._writing_now:  # noqa: ASYNC110  # it tries again by itself
                await trio.sleep(0.001)
            say(12)  # twice too much
            says.set()
            while keeper._writing_now:  # noqa: ASYNC110  # as above
                await trio.sleep(0.001)
            say(6)
            journal.full = False
            while keeper.failing:  # noqa: ASYNC110  # as above
                await trio.sleep(0.01)
            await keeper.flush()
            nursery.cancel_scope.cancel()
    with closing(Journal.open(tmp_path / "j")) as again:
        found = again.read(1, 1, 1 << 20)
    (gap,) = [record for record in found if record.kind == "gap"]
    assert b'"from":1,' in gap.data and f'"to":{found[0].first - 1},'.encode() in gap.data


async def test_flush_is_a_promise_kept_by_the_time_it_returns(tmp_path: Path) -> None:
    with trio.fail_after(60), closing(Journal.open(tmp_path / "j")) as other:
        keeper = Keeper(Journal.open(tmp_path / "j"))
        log = Log(keeper, 1)
        async with trio.open_nursery() as nursery:
            await nursery.start(keeper.run)
            for number in range(1, 50):
                log.append("note", text="x")
                await log.wait_kept()
                assert other.read(1, number, 10)[0].first == number
            nursery.cancel_scope.cancel()


async def test_where_nothing_is_promised_nobody_waits_for_the_disk(tmp_path: Path) -> None:
    with trio.fail_after(60), closing(Journal.open(tmp_path / "j")) as journal:
        log = Log(Keeper(journal, durable=False), 1)  # not running: what waits for it would wait for ever
        log.append("note", text="x")
        await log.wait_kept()
        assert log.kept == 0


@asynccontextmanager
async def kept(path: Path) -> AsyncGenerator[Log, None]:
    """A log of twenty events, which are all in the journal at `path`; it is closed at the end of the block."""
    keeper = Keeper(Journal.open(path))
    log = Log(keeper, 1)
    async with trio.open_nursery() as nursery:
        await nursery.start(keeper.run)
        for _ in range(20):
            log.append_updates(1, lines(log.next, 1))
        await keeper.flush()
        yield log
        nursery.cancel_scope.cancel()


async def test_a_page_that_can_not_be_read_is_a_gap_that_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "RING_SMALL", 10)
    with trio.fail_after(60):
        async with kept(tmp_path / "j") as log:
            with sqlite3.connect(tmp_path / "j") as damage:
                damage.execute("DROP TABLE record")
            damage.close()
            reader = log.cursor(1)
            gap = await reader.take()
            assert gap.kind == "gap" and b"no such table" in gap.data
            rest = await reader.take()
            assert (gap.first, gap.last + 1, rest.kind) == (1, rest.first, "update"), (
                "what is in memory is there"
            )


async def test_a_reader_for_whom_the_journal_was_closed_is_told_of_no_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker stops, and a client that lags is cancelled only when the journal is closed already."""
    monkeypatch.setattr(logs, "RING_SMALL", 10)
    with trio.fail_after(60):
        async with kept(tmp_path / "j") as log:
            pass
        told: list[Record] = []

        async def read() -> None:
            told.append(await log.cursor(1).take())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            for reader in "abcd":  # all that may read at once: the first one has read by then
                await log.keeper._reading.acquire_on_behalf_of(reader)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert told == []
