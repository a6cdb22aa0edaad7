"""The file behind the logs: what was committed is there, in order, whatever happened since."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest
import trio

from trio_broker.errors import JournalError
from trio_broker.journal.record import Record
from trio_broker.journal.store import Append, Delete, Journal, Save
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import open_rig


def record(first: int, count: int = 1, kind: str = "note") -> Record:
    if kind == "update":
        return Record(
            first, count, 1.5, kind, b"".join(b'{"n":%d}\n' % n for n in range(first, first + count))
        )
    return Record(first, 1, 1.5, kind, b'{"text":"%d"}' % first)


def save(number: int, state: str = "open", updated_at: float = 10.0) -> Save:
    return Save(number, f"key{number}", f"id{number}", state, {"agent": "fake"}, updated_at)


GAP = Record(6, 15, 1.5, "gap", b'{"from":6,"to":20,"why":"it died"}')


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    with contextlib.closing(Journal.open(path)) as journal:
        yield journal


def test_what_was_written_is_read_in_pages_from_any_number(journal: Journal) -> None:
    journal.write([save(1), *(Append(1, one) for one in (record(1), record(2, 5, "update"), record(7)))])
    journal.write([Append(2, record(1))])
    assert journal.read(1, 1, 1 << 20) == [record(1), record(2, 5, "update"), record(7)]
    assert journal.read(1, 4, 1 << 20) == [record(2, 5, "update").slice_from(4), record(7)]
    assert [one.first for one in journal.read(1, 1, 1)] == [1]
    assert journal.read(1, 8, 100) == [] and journal.read(9, 1, 100) == []


def test_sessions_are_listed_with_their_last_number_and_size(journal: Journal) -> None:
    journal.write([save(1), Append(1, record(1)), Append(1, record(2, 3, "update")), save(2)])
    journal.write([save(1, "closed", 20.0)])
    one, two = journal.sessions()
    assert (one.key, one.session_id, one.state, one.last, one.updated_at, one.created_at) == (
        "key1", "id1", "closed", 4, 20.0, 10.0,
    )  # fmt: skip
    assert one.size == len(record(1).data) + len(record(2, 3, "update").data) and one.meta == {
        "agent": "fake"
    }
    assert (two.last, two.size) == (0, 0)


def test_names_that_are_no_unicode_are_kept_as_they_are(journal: Journal) -> None:
    """JSON's escapes can give a key half a surrogate pair; one client's key must not stop the writer of all."""
    for name in ("\ud83d", "a\0b", "\U0001f600", ""):
        journal.write([Save(1, name, name, "open", {"title": name}, 10.0)])
        (saved,) = journal.sessions()
        assert (saved.key, saved.session_id, saved.meta) == (name, name, {"title": name})


async def test_a_key_that_is_no_unicode_does_not_end_the_broker(path: Path) -> None:
    """An older broker has let it in."""
    with trio.fail_after(60):
        async with open_rig(habits=Habits(load=True), journal=path) as rig, rig.connect() as user:
            await user.prompt(await user.open("k"), "say hello")
        journal = Journal.open(path)
        [old] = journal.sessions()
        journal.write([Save(old.number, "\ud83d", old.session_id, old.state, old.meta, old.updated_at)])
        journal.close()
        async with open_rig(habits=Habits(load=True), journal=path) as rig, rig.connect() as user:
            assert (await user.view("\ud83d"))["phase"] == "suspended"


def test_a_number_is_never_given_twice(journal: Journal, path: Path) -> None:
    assert journal.next_number() == 1
    journal.write([save(5), Append(9, record(1))])
    assert journal.next_number() == 10
    journal.write([Delete(5), Delete(9), save(12), Delete(12)])
    journal.close()
    with contextlib.closing(Journal.open(path)) as again:
        assert again.next_number() == 13


def test_turns_are_found_without_the_updates(journal: Journal) -> None:
    kinds = ["agent", "started", "update", "ask", "answer", "ended", "queued"]
    journal.write([save(1), *(Append(1, record(n, 1, kind)) for n, kind in enumerate(kinds, 1))])
    assert [one.kind for one in journal.turns(1)] == ["started", "ask", "answer", "ended", "queued"]


def test_a_batch_is_written_whole_or_not_at_all(journal: Journal) -> None:
    journal.write([save(1), Append(1, record(1))])
    broken = Save(2, "k", "i", None, {}, 0.0)  # type: ignore[arg-type]  # what the schema refuses
    with pytest.raises(JournalError, match="NOT NULL"):
        journal.write([Append(1, record(2)), broken])
    assert journal.read(1, 1, 100) == [record(1)]
    journal.write([Append(1, record(2))])
    assert len(journal.read(1, 1, 100)) == 2


def test_prune_forgets_the_old_and_shortens_the_long(journal: Journal) -> None:
    journal.write([save(1, "closed", 10.0), save(2, "open", 10.0), save(3, "closed", 99.0)])
    journal.write([Append(session, record(n)) for session in (1, 2, 3) for n in range(1, 11)])
    size = len(record(1).data)
    assert journal.prune(50.0, keep_bytes=3 * size + 1) == 1
    assert [saved.number for saved in journal.sessions()] == [2, 3]
    assert [one.first for one in journal.read(2, 8, 1 << 20)] == [8, 9, 10]
    assert journal.read(1, 1, 100) == [] and journal.sessions()[0].last == 10


def test_the_file_shrinks_by_what_was_pruned(journal: Journal, path: Path) -> None:
    journal.write(
        [save(1, "closed"), *(Append(1, record(n, 1000, "update")) for n in range(1, 100_000, 1000))]
    )
    journal.close()
    size = path.stat().st_size
    journal = Journal.open(path)
    assert journal.prune(50.0) == 1
    journal.close()
    assert path.stat().st_size < size / 10


def test_a_closed_journal_says_so_to_whoever_comes_late(journal: Journal) -> None:
    journal.close()
    for late in (journal.sessions, lambda: journal.write([save(1)]), lambda: journal.prune(1.0)):
        with pytest.raises(JournalError, match="closed"):
            late()


def test_an_export_is_of_a_session_that_is_there(journal: Journal) -> None:
    with pytest.raises(JournalError, match="no session of number 77"):
        list(journal.export_lines(77))


def test_what_an_import_left_that_was_cut_short_is_dropped(journal: Journal) -> None:
    journal.write([save(1), Append(1, record(1)), save(2), Append(3, record(1)), Append(7, record(4))])
    journal.delete_orphaned_records()
    assert [len(journal.read(number, 1, 100)) for number in (1, 3, 7)] == [1, 0, 0]
    assert [saved.number for saved in journal.sessions()] == [1, 2]
    journal.delete_orphaned_records()


def test_holes_are_found(journal: Journal) -> None:
    journal.write([save(1), Append(1, record(1)), Append(1, record(2, 3, "update"))])
    assert journal.check() == []
    journal.write([Append(1, record(5)), Append(1, GAP), Append(1, record(21))])
    assert journal.check() == [] and journal.read(1, 9, 1)[0] == GAP.slice_from(9) == attrs.evolve(
        GAP, first=9, count=12
    )
    journal.write([Append(1, record(29))])
    assert journal.check() == ["session 1: events 22 to 28 are missing"]


def test_it_is_read_while_it_is_written(journal: Journal) -> None:
    """By several at once, each of which finds whole batches only, and never fewer than before."""
    written = threading.Event()

    def follow() -> list[int]:
        found = [0]
        while not written.is_set() or found[-1] < 1000:
            page = journal.read(1, 1, 1 << 30)
            assert [one.first for one in page] == list(range(1, len(page) + 1))
            found.append(len(page))
        return found

    with ThreadPoolExecutor(4) as readers:
        following = [readers.submit(follow) for _ in range(4)]
        try:
            for first in range(1, 1001, 10):
                journal.write([Append(1, record(number)) for number in range(first, first + 10)])
        finally:
            written.set()
        for found in (reader.result(60) for reader in following):
            assert found == sorted(found) and all(count % 10 == 0 for count in found)


def effort(journal: Journal, call: Callable[[], object]) -> int:
    """How many thousands of steps sqlite takes for a call: what it costs, whatever else the machine does."""
    ticks: list[int] = []
    journal._reader.set_progress_handler(lambda: ticks.append(1), 1000)
    call()
    journal._reader.set_progress_handler(None, 0)
    return len(ticks)


def test_a_log_of_100_000_records_is_read_in_pages_that_cost_the_same_anywhere(journal: Journal) -> None:
    kinds = {10_000: "started", 60_000: "ended"}
    for first in range(1, 100_001, 5000):
        numbers = range(first, first + 5000)
        journal.write([Append(1, record(number, 1, kinds.get(number, "note"))) for number in numbers])
    seen, since = 0, 1
    while page := journal.read(1, since, 1 << 18):
        assert [one.first for one in page] == list(range(since, since + len(page)))
        seen, since = seen + len(page), page[-1].last + 1
    assert seen == 100_000
    assert effort(journal, lambda: journal.read(1, 1, 1)) < 2
    assert effort(journal, lambda: journal.read(1, 99_000, 1)) < 2
    assert [one.first for one in journal.turns(1)] == list(kinds) and effort(
        journal, lambda: journal.turns(1)
    ) < 2
