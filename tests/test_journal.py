"""The file behind the logs: what was committed is there, in order, whatever happened since."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import threading
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.errors import JournalError
from trio_broker.journal import VERSION, Append, Delete, Journal, Save
from trio_broker.record import Record
from trio_broker.testing.memory import Habits
from trio_broker.testing.rig import open_rig


def record(first: int, count: int = 1, kind: str = "note") -> Record:
    if kind == "update":
        return Record(
            first, count, 1.5, kind, b"".join(b'{"n":%d}\n' % n for n in range(first, first + count))
        )
    return Record(first, 1, 1.5, kind, b'{"text":"%d"}' % first)


def save(number: int, state: str = "open", updated_at: float = 10.0) -> Save:
    return Save(number, f"key{number}", f"id{number}", state, {"agent": "fake"}, updated_at)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Journal:
    return Journal.open(path)


def test_it_and_its_side_files_are_private(journal: Journal, path: Path) -> None:
    journal.write([save(1), Append(1, record(1))])
    files = list(path.parent.iterdir())
    assert len(files) == 3 and all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_was_written_is_read_in_pages_from_any_number(journal: Journal) -> None:
    journal.write([save(1), *(Append(1, one) for one in (record(1), record(2, 5, "update"), record(7)))])
    journal.write([Append(2, record(1))])
    assert journal.read(1, 1, 1 << 20) == [record(1), record(2, 5, "update"), record(7)]
    assert journal.read(1, 4, 1 << 20) == [record(2, 5, "update").since(4), record(7)]
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
    with trio.fail_after(60):
        for phase in ("idle", "suspended"):
            async with open_rig(habits=Habits(load=True), journal=path) as rig, rig.connect() as user:
                if phase == "idle":
                    await user.prompt(await user.open("\ud83d"), "say hello")
                assert (await user.view("\ud83d"))["phase"] == phase


def test_a_number_is_never_given_twice(journal: Journal, path: Path) -> None:
    assert journal.next_number() == 1
    journal.write([save(5), Append(9, record(1))])
    assert journal.next_number() == 10
    journal.write([Delete(5), Delete(9), save(12), Delete(12)])
    journal.close()
    assert Journal.open(path).next_number() == 13


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


def test_b18_a_damaged_file_is_put_aside(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database at all" * 100)
    journal = Journal.open(path)
    assert journal.moved_aside is not None and journal.moved_aside.read_bytes().startswith(b"this is no")
    journal.write([save(1)])
    assert len(journal.sessions()) == 1


def test_a_newer_file_is_refused_and_stays(path: Path) -> None:
    Journal.open(path).close()
    with sqlite3.connect(path) as other:
        other.execute(f"PRAGMA user_version = {VERSION + 1}")
    other.close()
    with pytest.raises(JournalError, match=rf"newer trio-broker .*{VERSION + 1}.* use that one"):
        Journal.open(path)
    assert path.exists() and len(list(path.parent.glob("*corrupt*"))) == 0


@pytest.mark.parametrize("damage", ["cut", "first page", "tables", "every page of events"])
def test_b18_a_file_damaged_anywhere_is_put_aside_whole(path: Path, damage: str) -> None:
    """sqlite opens a file whose first page is fine; the broker then could not start, ever again."""
    journal = Journal.open(path)
    journal.write([save(1), *(Append(1, record(n, 100, "update")) for n in range(1, 100_000, 100))])
    journal.close()
    good = path.read_bytes()
    places = {
        "first page": (0, 4096),
        "tables": (4096, 12 * 4096),
        "every page of events": (8 * 4096, len(good)),
    }
    start, end = places.get(damage, (0, 0))
    bad = good[: len(good) // 2] if damage == "cut" else good[:start] + b"\xee" * (end - start) + good[end:]
    path.write_bytes(bad)
    journal = Journal.open(path)
    assert journal.moved_aside is not None and journal.moved_aside.read_bytes() == bad
    assert journal.sessions() == [] and journal.check() == []
    journal.write([save(1)])
    journal.close()
    assert Journal.open(path).moved_aside is None


def test_a_database_of_something_else_is_refused_and_stays(path: Path) -> None:
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE cookie (name TEXT)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(JournalError, match="something else; move it away"):
        Journal.open(path)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_a_place_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for place in (tmp_path / "folder", tmp_path / "file" / "journal.sqlite"):
        with pytest.raises(JournalError, match="is its directory writable"):
            Journal.open(place)


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


def test_export_and_import_give_the_same_again(journal: Journal) -> None:
    records = [record(1), record(2, 3, "update"), record(5)]
    journal.write([save(1), *(Append(1, one) for one in records), save(1, updated_at=20.0)])
    number = journal.import_lines(journal.export_lines(1))
    copied = next(saved for saved in journal.sessions() if saved.number == number)
    assert (copied.key, copied.state, copied.last) == ("key1", "closed", 5)
    assert (copied.created_at, copied.updated_at) == (10.0, 20.0)
    assert journal.read(number, 1, 1 << 20) == records
    with pytest.raises(JournalError, match="no session of number 77"):
        list(journal.export_lines(77))


def test_a_bad_import_changes_nothing(journal: Journal) -> None:
    journal.write([save(1), Append(1, record(1)), Append(1, record(2))])
    lines = list(journal.export_lines(1))
    with pytest.raises(JournalError, match="line 2"):
        journal.import_lines(lines[:2])
    assert [saved.number for saved in journal.sessions()] == [1] and journal.next_number() == 2


def test_holes_are_found(journal: Journal) -> None:
    journal.write([save(1), Append(1, record(1)), Append(1, record(2, 3, "update"))])
    assert journal.check() == []
    journal.write([Append(1, record(9))])
    assert journal.check() == ["session 1: events 5 to 8 are missing"]


def test_it_is_read_while_it_is_written(journal: Journal) -> None:
    found: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            found.append(len(journal.read(1, 1, 1 << 30)))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 301):
        journal.write([Append(1, record(number))])
    done.set()
    reader.join()
    assert found == sorted(found) and len(journal.read(1, 1, 1 << 30)) == 300


BATCHES = st.lists(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.integers(1, 4)), min_size=1, max_size=4), max_size=6
)


@given(batches=BATCHES, data=st.data())
def test_after_a_crash_a_prefix_is_there_at_least_up_to_the_last_commit(
    batches: list[list[tuple[int, int]]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A crash: the files as they are at any moment, and what was written after the last commit cut anywhere."""
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal.open(folder / "j")
    next = {1: 1, 2: 1}
    written: list[Record] = []
    committed = 0
    crash_after = data.draw(st.integers(0, len(batches)))
    size = 0
    for number, batch in enumerate(batches):
        changes = []
        for session, count in batch:
            changes.append(Append(session, record(next[session], count, "update")))
            next[session] += count
        if number == crash_after:
            size = (folder / "j-wal").stat().st_size if (folder / "j-wal").exists() else 0
        journal.write(changes)
        if number < crash_after:
            committed = number + 1
        written += [change.record for change in changes if change.session == 1]
    copy = _crashed(folder, data, size if committed < len(batches) else None)
    found = Journal.open(copy)
    seen = found.read(1, 1, 1 << 30)
    sure = sum(session == 1 for batch in batches[:committed] for session, _ in batch)
    assert seen == written[: len(seen)] and len(seen) >= sure
    assert found.check() == []
    found.close()
    journal.close()


def _crashed(folder: Path, data: st.DataObject, sure: int | None) -> Path:
    copy = folder / "copy"
    shutil.copy(folder / "j", copy)
    if (folder / "j-wal").exists():
        wal = (folder / "j-wal").read_bytes()
        cut = len(wal) if sure is None else data.draw(st.integers(min(sure, len(wal)), len(wal)))
        (folder / "copy-wal").write_bytes(wal[:cut])
    return copy
