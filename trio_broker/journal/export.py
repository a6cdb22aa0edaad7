"""A session as lines of NDJSON: what `sessions export` writes and `sessions import` reads.

The first line has the facts of the session, each other one a record. All is ASCII, with escapes for the rest: so a line
stays one line for whoever splits text by Unicode's rules, and half a surrogate pair, which agents do send, can be told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar

import msgspec

from trio_broker.errors import BadMessage, JournalError
from trio_broker.journal.record import Record
from trio_broker.protocol import jsonrpc

T = TypeVar("T")

FORMAT = 1

Positive = Annotated[int, msgspec.Meta(ge=1, lt=1 << 53)]


class SessionHeader(msgspec.Struct, frozen=True):
    """The facts that are taken over; the number and the state are the importer's own."""

    key: str
    session_id: str
    meta: dict[str, Any]
    updated_at: float
    created_at: float | None = None
    last: int = 0


class _Line(msgspec.Struct, frozen=True):
    first: Positive
    count: Positive
    at: float
    kind: Annotated[str, msgspec.Meta(min_length=1)]
    data: list[str] | dict[str, Any]


def header_line(facts: dict[str, Any]) -> bytes:
    """The first line, of at least the facts that `SessionHeader` names."""
    return json.dumps({"trio-broker": FORMAT, **facts}).encode() + b"\n"


def record_line(record: Record) -> bytes:
    """The line of one record; raw lines of updates stand in it as strings, anything else as the object it is."""
    header = {"first": record.first, "count": record.count, "at": record.at, "kind": record.kind}
    text = record.data.decode("utf-8", "replace")
    data = json.dumps(text.removesuffix("\n").split("\n")) if record.kind == "update" else _escaped(text)
    return f'{json.dumps(header)[:-1]}, "data": {data}}}\n'.encode()


def _escaped(raw: str) -> str:
    """The same JSON in ASCII: other characters stand in its strings only."""
    return re.sub(r"[^\x00-\x7f]+", lambda found: json.dumps(found[0])[1:-1], raw)


class ExportParser:
    """Reads what was exported, some lines at a time. Its methods raise JournalError, with the line that is wrong."""

    def __init__(self) -> None:
        self._head: SessionHeader | None = None
        self._at = self._last = 0  # the last line, and the last event in it

    def feed(self, lines: Iterable[bytes]) -> list[Record]:
        """The records of the next lines."""
        records: list[Record] = []
        for line in lines:
            self._at += 1
            if self._head is None:
                self._head = _read(self._at, line, _head)
            else:
                records.append(self._next(_read(self._at, line, _record)))
        return records

    def end(self) -> SessionHeader:
        """There are no more lines: the facts of the session, if it is there whole."""
        if self._head is None:
            raise JournalError("there is nothing to import: the file is empty")
        if self._head.last > self._last:
            raise _line_error(
                self._at, f"it ends at event {self._last} of {self._head.last}; the file is not there whole"
            )
        return self._head

    def _next(self, record: Record) -> Record:
        if record.first <= self._last:
            raise _line_error(self._at, f"event {record.first} comes after event {self._last}")
        self._last = record.last
        return record


def _read(at: int, line: bytes, make: Callable[[Any], T]) -> T:
    try:
        return make(jsonrpc.decode(line))
    except (ValueError, msgspec.ValidationError, BadMessage) as error:
        raise _line_error(at, str(error)) from error


def _line_error(at: int, why: str) -> JournalError:
    return JournalError(f"line {at} is not what `sessions export` writes: {why}", line=at)


def _head(value: Any) -> SessionHeader:
    if not isinstance(value, dict) or value.get("trio-broker") != FORMAT:
        raise ValueError(f"it is no export of a format that is known here ({FORMAT})")
    return msgspec.convert(value, SessionHeader)


def _record(value: Any) -> Record:
    line = msgspec.convert(value, _Line)
    return Record(line.first, line.count, line.at, line.kind, _data(line))


def _data(line: _Line) -> bytes:
    if isinstance(line.data, dict):
        if line.kind == "update":
            raise ValueError("the data of an update is a list of its lines")
        return jsonrpc.encode(line.data)
    if line.kind != "update" or len(line.data) != line.count:
        raise ValueError(f"{line.count} events of kind {line.kind} are not a list of {len(line.data)} lines")
    for text in line.data:
        if "\n" in text or not isinstance(jsonrpc.decode(text.encode()), dict):
            raise ValueError(f"this is not one line of an object: {text[:80]!r}")
    return "".join(f"{text}\n" for text in line.data).encode()
