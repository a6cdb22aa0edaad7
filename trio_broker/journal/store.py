"""The SQLite file behind the logs: blocking, called in one thread to write and in others to read (see `keeper`).

One transaction a batch, in WAL mode: a crash of the broker loses nothing that was committed, and leaves a prefix of the
rest. With `full`, so does a power cut. A file that is damaged is put aside, not thrown away (RACES B18).
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from trio_broker.errors import JournalError
from trio_broker.journal import export
from trio_broker.journal.record import Record
from trio_broker.journal.schema import connect, put_aside

ROWS_PER_INSERT = 16  # records of one statement, at most
INSERTS = [
    "INSERT INTO record (session, first, count, at, kind, data) VALUES "  # noqa: S608  # only the number of rows is put in
    f"{', '.join(['(?, ?, ?, ?, ?, ?)'] * rows)} ON CONFLICT (session, first) DO NOTHING"
    for rows in range(ROWS_PER_INSERT + 1)
]
SAVE = (
    "INSERT INTO session (number, key, session_id, state, meta, created_at, updated_at)"
    " VALUES (?, CAST(? AS TEXT), CAST(? AS TEXT), ?, ?, ?, ?) ON CONFLICT (number) DO UPDATE"
    " SET key = excluded.key, session_id = excluded.session_id, state = excluded.state, meta = excluded.meta,"
    " updated_at = excluded.updated_at"
)
RESERVE = "INSERT INTO reserved (session, upto) VALUES (?, ?) ON CONFLICT (session) DO UPDATE SET upto = excluded.upto"
SESSIONS = """
SELECT s.number, s.key, s.session_id, s.state, s.meta, s.created_at, s.updated_at,
    coalesce((SELECT r.first + r.count - 1 FROM record r WHERE r.session = s.number ORDER BY r.first DESC LIMIT 1), 0),
    coalesce((SELECT sum(length(r.data)) FROM record r WHERE r.session = s.number), 0),
    coalesce((SELECT upto FROM reserved WHERE session = s.number), 0)
FROM session s ORDER BY s.number
"""
ORPHANED_LOGS = """
WITH RECURSIVE log (number) AS (
    SELECT min(session) FROM record
    UNION ALL SELECT (SELECT min(session) FROM record WHERE session > number) FROM log WHERE number IS NOT NULL
)
SELECT number FROM log WHERE number IS NOT NULL AND number NOT IN (SELECT number FROM session)
"""
LAST_TURN = """
SELECT max(first) FROM record INDEXED BY record_turn WHERE kind IN ('queued', 'started', 'ended', 'ask', 'answer')
"""
PROBES = (
    SESSIONS,
    LAST_TURN,
)  # what a broker begins with; damage they do not meet costs the events that it hit


@attrs.frozen
class Append:
    """Add a record to a session's log; one that is there already stays as it is."""

    session: int
    record: Record


@attrs.frozen
class Save:
    """Write what is known of a session; `state` is open or closed."""

    session: int
    key: str
    session_id: str
    state: str
    meta: dict[str, Any]
    updated_at: float


@attrs.frozen
class Delete:
    session: int


@attrs.frozen
class Reserve:
    """Of a session's log, no later broker is to give a number up to this one: it may have been told."""

    session: int
    upto: int


Change = Append | Save | Delete | Reserve
Step = tuple[str, Sequence[Any]]  # a statement and its values


def to_sql(batch: Iterable[Change]) -> Iterator[Step]:
    """The statements that make these changes. Neighbouring records are one: each has its price in turns of the GIL."""
    records: list[Append] = []
    for change in batch:
        if records and (len(records) == ROWS_PER_INSERT or not isinstance(change, Append)):
            yield _insert(records)
            records = []
        if isinstance(change, Append):
            records.append(change)
        elif isinstance(change, Save):
            yield SAVE, _values_of(change)
        elif isinstance(change, Reserve):
            yield RESERVE, (change.session, change.upto)
        else:
            for table, column in (("record", "session"), ("reserved", "session"), ("session", "number")):
                yield f"DELETE FROM {table} WHERE {column} = ?", (change.session,)  # noqa: S608  # names of ours
    if records:
        yield _insert(records)


def _insert(changes: list[Append]) -> Step:
    values: list[object] = []
    for change in changes:
        record = change.record
        values += (change.session, record.first, record.count, record.at, record.kind, record.data)
    return INSERTS[len(changes)], values


def _values_of(save: Save) -> Sequence[object]:
    names = _bytes(save.key), _bytes(save.session_id)
    created_at = save.updated_at  # of a new row; that of an old one stays
    return save.session, *names, save.state, json.dumps(save.meta), created_at, save.updated_at


def _bytes(text: str) -> bytes:
    """JSON may carry half a surrogate pair into a name, and sqlite3 refuses to make UTF-8 of that."""
    return text.encode("utf-8", "surrogatepass")


@attrs.frozen
class SavedSession:
    """A session in the journal: `last` is its newest event's number (0: none), `size` the bytes of its records.

    `reserved`: up to here numbers may have been told; 0 where none was that is not there (see `release`).
    """

    number: int
    key: str
    session_id: str
    state: str
    meta: dict[str, Any]
    created_at: float
    updated_at: float
    last: int
    size: int
    reserved: int = 0


@attrs.define(eq=False)
class Journal:
    """Make one with `open`. Every method blocks, and raises JournalError when the file can't be read or written."""

    path: Path
    _writer: sqlite3.Connection
    _reader: sqlite3.Connection
    _checkpointer: sqlite3.Connection
    moved_aside: Path | None = None
    _reading: threading.Lock = attrs.field(factory=threading.Lock)
    _file: int | None = None  # closed after the connections: its end gives back their locks, too (POSIX)

    @classmethod
    def open(cls, path: Path, *, full: bool = False) -> Journal:
        """Open the file, of mode 0600, making or migrating it. `full`: survive a power cut, at the price of fsyncs.

        One that is damaged is put `moved_aside`. Raises JournalError for one that a newer version or something else
        wrote, or that can't be opened; that one stays as it is.
        """
        try:
            try:
                return cls(path, *connect(path, PROBES, full=full))
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
            aside = put_aside(path)
            return cls(path, *connect(path, PROBES, full=full), aside)
        except (OSError, sqlite3.Error) as error:
            raise JournalError(
                f"{path}: {error}; is its directory writable, and the disk not full?"
            ) from error

    def write(self, batch: Sequence[Change]) -> None:
        """Make these changes, all or none."""
        statements = [*to_sql(batch)]
        with self._transaction() if len(statements) > 1 else self._statement() as cursor:
            for step in statements:
                cursor.execute(*step)

    def next_number(self) -> int:
        """A number that no session has, nor ever had."""
        (found,) = self._rows(
            "SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'session'), 0), "
            "coalesce((SELECT max(session) FROM record), 0), coalesce((SELECT max(session) FROM reserved), 0))"
        )
        return int(found[0]) + 1

    def sessions(self) -> list[SavedSession]:
        """All sessions, the oldest first."""
        rows = self._rows(SESSIONS)
        return [SavedSession(row[0], row[1], row[2], row[3], json.loads(row[4]), *row[5:]) for row in rows]

    def read(self, session: int, since: int, limit: int) -> list[Record]:
        """Records from the one that has number `since` on, cut to begin there: about `limit` bytes, at least one."""
        found: list[Record] = []
        size = 0
        with self._cursor() as cursor:
            cursor.execute(
                "SELECT first, count, at, kind, data FROM record WHERE session = ? AND first >= coalesce("
                "(SELECT max(first) FROM record WHERE session = ? AND first <= ?), 0) ORDER BY first",
                (session, session, since),
            )
            for row in cursor:
                record = Record(*row)
                if record.last < since:
                    continue
                found.append(record.slice_from(since))
                size += len(record.data)
                if size >= limit:
                    break
        return found

    def release(self) -> None:
        """Give back the numbers that are reserved: all that were ever told are in the journal.

        But not where the session itself is not: that keeps the next one from getting its number.
        """
        with self._statement() as cursor:
            cursor.execute("DELETE FROM reserved WHERE session IN (SELECT number FROM session)")

    def turns(self, session: int) -> list[Record]:
        """Its records of the kinds queued, started, ended, ask and answer, in order."""
        rows = self._rows(
            "SELECT first, count, at, kind, data FROM record"
            " WHERE session = ? AND kind IN ('queued', 'started', 'ended', 'ask', 'answer') ORDER BY first",
            session,
        )
        return [Record(*row) for row in rows]

    def prune(self, before: float, keep_bytes: int | None = None) -> int:
        """Delete the sessions that were closed before that time, and of each other the oldest records above a size.

        Returns how many sessions were deleted.
        """
        with self._transaction() as cursor:
            cursor.execute("SELECT number FROM session WHERE state = 'closed' AND updated_at < ?", (before,))
            old = [number for (number,) in cursor.fetchall()]
            for step in to_sql([Delete(number) for number in old]):
                cursor.execute(*step)
            if keep_bytes is not None:
                _trim_logs(cursor, keep_bytes)
        with self._translate_errors():  # a script: `execute` takes one step of it, which frees nothing
            self._writer.executescript("PRAGMA incremental_vacuum").close()
        return len(old)

    def export_lines(self, session: int, since: int = 1) -> Iterator[bytes]:
        """The session as NDJSON, from line `since` on: a line of facts, then one for each record."""
        saved = next((saved for saved in self.sessions() if saved.number == session), None)
        if saved is None:
            raise JournalError(f"there is no session of number {session} in {self.path}")
        if since == 1:
            facts = attrs.asdict(saved)
            del facts["reserved"]
            yield export.header_line(facts)
        before, first = max(0, since - 2), 1
        while records := self.read(session, first, 1 << 20):
            yield from map(export.record_line, records[before:])
            before, first = max(0, before - len(records)), records[-1].last + 1

    def delete_orphaned_records(self) -> None:
        """Delete records without a session: what was taken in by an import that a crash cut short."""
        found = self._rows(ORPHANED_LOGS)
        self.write([Delete(number) for (number,) in found])

    def check(self) -> list[str]:
        """What is wrong with the file: damaged pages, and numbers that are missing without a gap that says so."""
        found = [str(row[0]) for row in self._rows("PRAGMA quick_check") if row[0] != "ok"]
        holes = self._rows(
            "SELECT session, first + count, next FROM (SELECT session, first, count, lead(first) OVER"
            " (PARTITION BY session ORDER BY first) AS next FROM record) WHERE next <> first + count"
        )
        return found + [
            f"session {number}: events {first} to {next - 1} are missing" for number, first, next in holes
        ]

    def checkpoint(self) -> None:
        """Fold what is in the write-ahead log now into the file, beside a write. Two at once are not allowed.

        SQLite syncs the file when it has folded the last of the log, and then all of it; this does it each time.
        """
        with self._translate_errors():
            self._checkpointer.execute("PRAGMA wal_checkpoint(PASSIVE)").close()
            if self._file is None:
                self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            os.fsync(self._file)

    def close(self) -> None:
        """Fold the write-ahead log into the file, and close it."""
        self._checkpointer.close()
        with contextlib.suppress(sqlite3.Error):
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
        self._writer.close()
        with self._reading:
            self._reader.close()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @contextlib.contextmanager
    def _statement(self) -> Iterator[sqlite3.Cursor]:
        """For one change, which is a transaction by itself."""
        with self._translate_errors(), contextlib.closing(self._writer.cursor()) as cursor:
            yield cursor

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        with self._statement() as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                cursor.execute("COMMIT")
            finally:
                if self._writer.in_transaction:
                    cursor.execute("ROLLBACK")

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[sqlite3.Cursor]:
        with self._translate_errors(), self._reading, contextlib.closing(self._reader.cursor()) as cursor:
            yield cursor

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise JournalError(f"{self.path}: {error}") from error

    def _rows(self, query: str, *values: object) -> list[Any]:
        with self._cursor() as cursor:
            return cursor.execute(query, values).fetchall()


def _trim_logs(cursor: sqlite3.Cursor, keep: int) -> None:
    """Delete the oldest records of each log above `keep` bytes, never the newest one."""
    cursor.execute(
        "DELETE FROM record WHERE id IN (SELECT id FROM (SELECT id,"
        " sum(length(data)) OVER (PARTITION BY session ORDER BY first DESC) AS size,"
        " row_number() OVER (PARTITION BY session ORDER BY first DESC) AS age FROM record)"
        " WHERE size > ? AND age > 1)",
        (keep,),
    )
