"""What can be changed in the journal, and the statements of SQLite that do it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs

from trio_broker.journal.record import Record

ROWS = 16  # records of one statement, at most
INSERTS = [
    "INSERT INTO record (session, first, count, at, kind, data) VALUES "  # noqa: S608  # only the number of rows is put in
    f"{', '.join(['(?, ?, ?, ?, ?, ?)'] * rows)} ON CONFLICT (session, first) DO NOTHING"
    for rows in range(ROWS + 1)
]
SAVE = (
    "INSERT INTO session (number, key, session_id, state, meta, created_at, updated_at)"
    " VALUES (?1, CAST(?2 AS TEXT), CAST(?3 AS TEXT), ?4, ?5, ?6, ?6) ON CONFLICT (number) DO UPDATE"
    " SET key = excluded.key, session_id = excluded.session_id, state = ?4, meta = ?5, updated_at = ?6"
)
RESERVE = "INSERT INTO reserved (session, upto) VALUES (?, ?) ON CONFLICT (session) DO UPDATE SET upto = excluded.upto"


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


def steps(batch: Iterable[Change]) -> Iterator[Step]:
    """The statements that make these changes. Neighbouring records are one: each has its price in turns of the GIL."""
    records: list[Append] = []
    for change in batch:
        if records and (len(records) == ROWS or not isinstance(change, Append)):
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
    meta = json.dumps(save.meta)
    return save.session, _bytes(save.key), _bytes(save.session_id), save.state, meta, save.updated_at


def _bytes(text: str) -> bytes:
    """JSON may carry half a surrogate pair into a name, and sqlite3 refuses to make UTF-8 of that."""
    return text.encode("utf-8", "surrogatepass")
