"""The SQLite file: made, migrated, private, and put aside when it is damaged."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from trio_broker.errors import JournalError
from trio_broker.journal import schema
from trio_broker.journal.record import Record
from trio_broker.journal.schema import VERSION
from trio_broker.journal.store import Append, Journal, Reserve, Save, SavedSession


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
def journal(path: Path) -> Iterator[Journal]:
    with contextlib.closing(Journal.open(path)) as journal:
        yield journal


def test_it_and_its_side_files_are_private(journal: Journal, path: Path) -> None:
    journal.write([save(1), Append(1, record(1))])
    files = list(path.parent.iterdir())
    assert len(files) == 3 and all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_b18_a_damaged_file_is_put_aside(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database at all" * 100)
    with contextlib.closing(Journal.open(path)) as journal:
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
    with contextlib.closing(Journal.open(path)) as again:
        assert again.moved_aside is None


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


@pytest.mark.parametrize("content", ["nothing", "an empty database"])
def test_an_empty_file_becomes_a_journal(path: Path, content: str) -> None:
    path.parent.mkdir()
    path.touch(mode=0o600)
    if content == "an empty database":
        other = sqlite3.connect(path)
        other.execute("PRAGMA journal_mode = WAL")
        other.close()
    journal = Journal.open(path)
    journal.write([save(1), Append(1, record(1))])
    journal.close()
    with contextlib.closing(Journal.open(path)) as again:
        assert again.read(1, 1, 100) == [record(1)]


# As version 1 made it; never to be changed, for such files are out there.
VERSION_1 = """
CREATE TABLE session (
    number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, session_id TEXT NOT NULL, state TEXT NOT NULL,
    meta TEXT NOT NULL, created_at REAL NOT NULL, updated_at REAL NOT NULL
);
CREATE TABLE record (
    id INTEGER PRIMARY KEY, session INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL,
    at REAL NOT NULL, kind TEXT NOT NULL, data BLOB NOT NULL
);
CREATE UNIQUE INDEX record_number ON record (session, first);
CREATE INDEX record_turn ON record (session, first) WHERE kind IN ('queued', 'started', 'ended', 'ask', 'answer');
INSERT INTO session VALUES (3, 'k', 's', 'open', '{"agent": "a"}', 1.0, 2.0);
INSERT INTO record VALUES (1, 3, 1, 1, 1.5, 'started', CAST('{"text":"1"}' AS BLOB));
INSERT INTO record VALUES (2, 3, 2, 2, 1.5, 'update', CAST('{"n":2}' || char(10) || '{"n":3}' || char(10) AS BLOB));
PRAGMA user_version = 1;
"""


def by_hand(path: Path, script: str) -> None:
    path.parent.mkdir(exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript(script)


def test_a_file_of_version_1_is_read_and_written(path: Path) -> None:
    by_hand(path, VERSION_1)
    journal = Journal.open(path)
    assert journal.sessions() == [SavedSession(3, "k", "s", "open", {"agent": "a"}, 1.0, 2.0, 3, 28)]
    journal.write([Append(3, record(4))])
    assert journal.read(3, 1, 1 << 20) == [record(1, 1, "started"), record(2, 2, "update"), record(4)]
    assert journal.turns(3) == [record(1, 1, "started")] and journal.check() == []
    journal.write([Reserve(3, 50)])
    journal.close()
    with contextlib.closing(Journal.open(path)) as again:
        assert [saved.reserved for saved in again.sessions()] == [50]


def test_a_migration_that_fails_leaves_the_file_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand(path, VERSION_1)
    with monkeypatch.context() as next_version:
        next_version.setattr(schema, "VERSION", 3)
        next_version.setitem(schema.MIGRATIONS, 2, "DELETE FROM record; CREATE TABLE session (twice);")
        with pytest.raises(JournalError, match="already exists"):
            Journal.open(path)
        next_version.setitem(schema.MIGRATIONS, 2, "ALTER TABLE session ADD COLUMN colour TEXT;")
        with contextlib.closing(Journal.open(path)) as journal:
            assert len(journal.read(3, 1, 1 << 20)) == 2
    with pytest.raises(JournalError, match=r"its version is 3, this one knows 2"):
        Journal.open(path)


def test_it_is_private_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        with contextlib.closing(Journal.open(path)) as journal:
            journal.write([save(1)])
            modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {0o600} and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
