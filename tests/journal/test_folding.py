"""The write-ahead log is folded into its file beside the writer: it stays small, and nobody who waits waits for it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import pytest
import trio

from trio_broker.errors import JournalError
from trio_broker.ioutil import trim_heap
from trio_broker.journal import folding
from trio_broker.journal.keeper import BATCH, Keeper
from trio_broker.journal.log import Log
from trio_broker.journal.store import Journal

BLOCK = 64 * 1024
KIB = 1024


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "EVERY", 256 * KIB)
    monkeypatch.setattr(folding, "MOST", 2 * BATCH)
    monkeypatch.setattr(folding, "REST", 256 * KIB)


@asynccontextmanager
async def running(journal: Journal) -> AsyncIterator[Keeper]:
    keeper = Keeper(journal)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(keeper.run)
            yield keeper
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def slowly_folding(path: Path) -> AsyncIterator[tuple[Keeper, threading.Event]]:
    """A keeper whose foldings last until the event is set, at the latest on leaving."""
    may_end = threading.Event()

    class Slow(Journal):
        def checkpoint(self) -> None:
            may_end.wait(60)
            super().checkpoint()

    async with running(Slow.open(path)) as keeper:
        try:
            yield keeper, may_end
        finally:
            may_end.set()


def flood(log: Log, size: int) -> None:
    for _ in range(size // BLOCK):
        log.append_updates(1, b"x" * (BLOCK - 1) + b"\n")


async def until_it_waits(flooding: Log) -> None:
    """... for the folding: more of it is written than may be there unfolded."""
    while flooding.kept < 2 * BATCH // BLOCK:  # noqa: ASYNC110  # nobody is told of that
        await trio.sleep(0.001)


async def test_a_flood_does_not_make_the_log_grow_and_a_turns_end_does_not_wait_for_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal.sqlite"
    log = Path(f"{path}-wal")
    async with running(Journal.open(path)) as keeper:
        flooding, quiet = Log(keeper, 1), Log(keeper, 2)
        for _ in range(16):
            flood(flooding, 4 * BATCH)
            quiet.append("ended")
            await quiet.wait_kept()
        await keeper.flush()
        assert flooding.kept == 64 * BATCH // BLOCK and quiet.kept == 16
        largest = log.stat().st_size  # noqa: ASYNC240  # a file of that kind never shrinks
    assert largest < 8 * BATCH, "of 64 that were written"
    with closing(Journal.open(path)) as again:
        assert again.check() == []


async def test_while_it_is_folded_what_somebody_waits_for_is_written_and_a_flood_is_not(
    tmp_path: Path,
) -> None:
    async with slowly_folding(tmp_path / "journal.sqlite") as (keeper, may_end):
        flooding, quiet = Log(keeper, 1), Log(keeper, 2)
        flood(flooding, 16 * BATCH)
        for number in range(1, 101):
            quiet.append("ended")
            await quiet.wait_kept()
            assert quiet.kept == number and flooding.kept <= 4 * BATCH // BLOCK
        may_end.set()
        await keeper.flush()
        assert flooding.kept == 16 * BATCH // BLOCK


async def test_while_it_is_folded_all_who_wait_at_once_are_served(tmp_path: Path) -> None:
    async with slowly_folding(tmp_path / "journal.sqlite") as (keeper, _):
        flooding, quiet = Log(keeper, 1), [Log(keeper, number) for number in range(2, 4)]
        flood(flooding, 16 * BATCH)
        await until_it_waits(flooding)
        told = list[int]()
        for log in quiet:  # each is a batch of its own
            log.hold(log.append("ended", note="x" * BLOCK).first, partial(told.append, log.number))
        while len(told) < len(quiet):  # noqa: ASYNC110  # nobody asks for one of them again
            await trio.sleep(0.001)
        assert flooding.kept < 8 * BATCH // BLOCK


async def test_a_flood_that_waits_for_a_folding_is_written_when_both_are_stopped(tmp_path: Path) -> None:
    async with slowly_folding(tmp_path / "journal.sqlite") as (keeper, _):
        log = Log(keeper, 1)
        flood(log, 16 * BATCH)
        await until_it_waits(log)
        assert log.kept < 8 * BATCH // BLOCK
    assert log.kept == 16 * BATCH // BLOCK


async def test_a_folding_that_fails_stops_nobody_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(folding, "RETRY", 0.0)
    folded = threading.Event()

    class Failing(Journal):
        tries = 0

        def checkpoint(self) -> None:
            Failing.tries += 1
            if Failing.tries < 3:
                raise JournalError("the disk is full")
            folded.set()
            super().checkpoint()

    async with running(Failing.open(tmp_path / "journal.sqlite")) as keeper:
        log = Log(keeper, 1)
        flood(log, 2 * BATCH)
        await keeper.flush()
        assert await trio.to_thread.run_sync(folded.wait, 60)
        flood(log, 2 * BATCH)
        await keeper.flush()
        assert log.kept == 4 * BATCH // BLOCK and not keeper.failing
    assert caplog.text.count("journal_not_folded why=the disk is full") == 2


async def test_a_reader_that_takes_its_time_lets_the_log_grow_and_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    async with running(Journal.open(path)) as keeper:
        log = Log(keeper, 1)
        flood(log, BATCH)
        await keeper.flush()
        with sqlite3.connect(path) as other:
            rows = other.execute("SELECT first FROM record")  # begun, and not read to its end
            assert rows.fetchone() == (1,)
            for _ in range(8):
                flood(log, BATCH)
                await keeper.flush()
            assert log.kept == 9 * BATCH // BLOCK
            rows.close()
        other.close()


async def test_at_rest_it_is_folded_and_what_a_flood_took_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "AT_REST", 0.01)
    monkeypatch.setattr(folding, "FLOOD", BATCH)
    told = list[str]()
    folded, given = threading.Event(), threading.Event()

    class Heard(Journal):
        def checkpoint(self) -> None:
            told.append("folded")
            super().checkpoint()
            folded.set()

    def heard() -> None:
        told.append("given back")
        trim_heap()
        given.set()

    monkeypatch.setattr(folding, "trim_heap", heard)
    async with running(Heard.open(tmp_path / "journal.sqlite")) as keeper:
        log = Log(keeper, 1)
        log.append("ended")
        await log.wait_kept()
        assert await trio.to_thread.run_sync(folded.wait, 60) and told == ["folded"]
        flood(log, 2 * BATCH)
        await keeper.flush()
        assert await trio.to_thread.run_sync(given.wait, 60)
        assert "folded" in told[1 : told.index("given back")]
