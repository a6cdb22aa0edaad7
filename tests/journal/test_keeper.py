"""What waits for the disk waits for its own session only; the order within a session stays."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from trio_broker.errors import JournalError
from trio_broker.journal import keeper as keepers
from trio_broker.journal.keeper import BATCH, Keeper
from trio_broker.journal.log import Log
from trio_broker.journal.record import Record
from trio_broker.journal.store import Append, Journal

BLOCK = 64 * 1024
FLOOD = 64 * BATCH // BLOCK


async def test_a_turns_end_does_not_wait_for_the_flood_of_another_session(tmp_path: Path) -> None:
    keeper = Keeper(Journal.open(tmp_path / "journal.sqlite"))
    flooding, quiet = Log(keeper, 1), Log(keeper, 2)
    for _ in range(FLOOD):
        flooding.append_updates(1, b"x" * (BLOCK - 1) + b"\n")
    quiet.append("ended")
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(keeper.run)
            await quiet.wait_kept()
            assert quiet.kept == 1
            assert flooding.kept <= BATCH // BLOCK  # else some of it was written with it
            for number in range(2, 12):
                quiet.append("ended")
                await quiet.wait_kept()
                assert quiet.kept == number
            assert 2 < flooding.kept < FLOOD  # it is not held up for ever either
            await keeper.flush()
            assert flooding.kept == FLOOD
            nursery.cancel_scope.cancel()


async def test_what_is_written_first_is_in_order_and_complete(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    keeper = Keeper(Journal.open(path))
    waited = trio.Event()

    async def wait_for(session: int) -> None:
        await keeper.flush(session)
        waited.set()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(keeper.run)
            for number in range(1, 201):
                for session in (1, 2, 3):
                    keeper.put(
                        Append(session, Record(number, 1, 0.0, "update", b"%d\n" % number * session * 999))
                    )
                if number % 20 == 0:
                    nursery.start_soon(wait_for, 1 + number // 20 % 3)
                    await trio.lowlevel.checkpoint()
            await waited.wait()
            nursery.cancel_scope.cancel()
    journal = Journal.open(path)
    for session in (1, 2, 3):
        assert [record.first for record in journal.read(session, 1, 1 << 30)] == list(range(1, 201))
    journal.close()


async def test_all_who_wait_for_room_get_it_though_there_is_room_for_few_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keepers, "CROWDED", 2 * BATCH)
    keeper = Keeper(Journal.open(tmp_path / "journal.sqlite"))
    log = Log(keeper, 1)
    for _ in range(3 * BATCH // BLOCK):
        log.append_updates(1, b"x" * (BLOCK - 1) + b"\n")
    assert keeper.crowded(1) and not keeper.crowded(2), "who has nothing there is not in the way"
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as readers:
                for _ in range(100):
                    readers.start_soon(keeper.wait_room, 1)
                await trio.testing.wait_all_tasks_blocked()
                await nursery.start(keeper.run)
            nursery.cancel_scope.cancel()


@attrs.define(eq=False)
class Faulty:
    """An owner that fails when it is told."""

    def on_kept(self, last: int) -> None:
        raise ValueError("a fault of ours")

    def on_reserved(self, upto: int) -> None:
        pass

    def on_failing(self) -> None:
        raise ValueError("a fault of ours")

    def on_lost(self, first: int, last: int) -> None:
        raise ValueError("a fault of ours")


async def test_an_owner_that_fails_when_it_is_told_fails_alone(tmp_path: Path) -> None:
    keeper = Keeper(Journal.open(tmp_path / "journal.sqlite"))
    log, told = Log(keeper, 2), []
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(keeper.run)
            keeper.put(Append(1, Record(1, 1, 0.0, "note", b"{}")), Faulty())
            log.hold(log.append("ended").first, lambda: told.append(log.kept))
            await keeper.flush()
            assert told == [1]
            nursery.cancel_scope.cancel()


async def test_those_who_wait_are_told_when_the_journal_begins_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise JournalError("the disk is full")

    keeper = Keeper(Journal.open(tmp_path / "journal.sqlite"))
    log, told = Log(keeper, 2), []
    monkeypatch.setattr(Journal, "write", fail)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(keeper.run)
            keeper.put(Append(1, Record(1, 1, 0.0, "note", b"{}")), Faulty())
            log.hold(log.append("ended").first, lambda: told.append(keeper.failing))
            assert log.last == 0
            await keeper.flush()
            assert told == ["the disk is full"] and log.last == 1 and log.kept == 0
            nursery.cancel_scope.cancel()


async def test_what_is_about_to_be_written_when_it_is_cancelled_is_written(tmp_path: Path) -> None:
    keeper = Keeper(Journal.open(tmp_path / "journal.sqlite"))
    log, told = Log(keeper, 1), []
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(keeper.run)
            await trio.testing.wait_all_tasks_blocked()
            log.hold(log.append("ended").first, lambda: told.append(log.kept))
            nursery.cancel_scope.cancel()
    assert told == [1]


async def test_what_is_put_last_is_written_though_all_is_cancelled(tmp_path: Path) -> None:
    keeper = Keeper(Journal.open(tmp_path / "journal.sqlite"))
    log, told = Log(keeper, 1), []
    with trio.fail_after(60), trio.CancelScope() as axe:
        async with keeper.at_work():
            log.append("started")
            try:
                axe.cancel()
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    while log.kept < 1:  # noqa: ASYNC110  # until it rests again, or has ended
                        await trio.sleep(0.01)
                    await trio.testing.wait_all_tasks_blocked()
                log.hold(log.append("ended").first, lambda: told.append(log.kept))
    assert told == [2]
