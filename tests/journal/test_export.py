"""Sessions as lines of NDJSON: what was written is read again, and nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.errors import JournalError
from trio_broker.journal.export import ExportParser, SessionHeader, header_line, record_line
from trio_broker.journal.record import Record
from trio_broker.protocol import jsonrpc

FACTS: dict[str, Any] = {"key": "k", "session_id": "s", "meta": {}, "updated_at": 2.0, "created_at": 1.0}
NOTE: dict[str, Any] = {"first": 1, "count": 1, "at": 1.5, "kind": "note", "data": {}}
UPDATE = NOTE | {"kind": "update", "data": ["{}"]}

TEXTS = st.text(st.characters(codec=None) | st.sampled_from("\ud83d\u2028\x85\x00\r\n😀"), max_size=8)
VALUES = st.recursive(
    st.none() | st.integers() | TEXTS, lambda inner: st.lists(inner, max_size=3), max_leaves=5
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=3).map(jsonrpc.encode)


def parse(lines: list[bytes]) -> tuple[SessionHeader, list[Record]]:
    """All at once; what comes line by line is the same."""
    whole, bit_by_bit = ExportParser(), ExportParser()
    records = whole.feed(lines)
    assert [one for line in lines for one in bit_by_bit.feed([line])] == records
    head = whole.end()
    assert bit_by_bit.end() == head
    return head, records


@st.composite
def logs(draw: st.DrawFn) -> list[Record]:
    """Records in order, some numbers left out as pruning does."""
    records: list[Record] = []
    for _ in range(draw(st.integers(0, 6))):
        first = (records[-1].last if records else 0) + draw(st.integers(1, 3))
        if draw(st.booleans()):
            lines = draw(st.lists(OBJECTS, min_size=1, max_size=3))
            records.append(
                Record(first, len(lines), 1.25, "update", b"".join(b"%b\n" % one for one in lines))
            )
        else:
            records.append(Record(first, 1, 2.5, "ask", draw(OBJECTS)))
    return records


@given(key=TEXTS, records=logs())
def test_what_is_exported_is_imported_byte_for_byte(key: str, records: list[Record]) -> None:
    facts = FACTS | {"key": key, "last": records[-1].last if records else 0}
    lines = [header_line(facts), *map(record_line, records)]
    assert all(
        line.isascii() and line.decode().splitlines(keepends=True) == [line.decode()] for line in lines
    )
    head, found = parse(lines)
    assert (head.key, found) == (key, records)


def test_the_file_is_for_people_and_other_programs_too() -> None:
    update = Record(1, 2, 1.5, "update", b'{"a":1}\n{"a":2}\n')
    ask = Record(3, 1, 1.5, "ask", '{"title": "é", "size": 1e999}'.encode())
    assert json.loads(record_line(update))["data"] == ['{"a":1}', '{"a":2}']
    assert b'"data": {"title": "\\u00e9", "size": 1e999}}\n' in record_line(ask)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "empty"),
        ([b""], "line 1 "),
        ([b"no json"], "line 1 "),
        ([b"[" * 100_000], "line 1 "),
        ([b"[]"], "line 1 .*format"),
        ([b'{"trio-broker": 99}'], "line 1 .*format"),
        ([b'{"trio-broker": 1}'], "line 1 .*key"),
        ([FACTS | {"meta": []}], "line 1 .*meta"),
        ([FACTS, b"{}"], "line 2 .*first"),
        ([FACTS, b"[]"], "line 2 "),
        ([FACTS, NOTE | {"first": 0}], "line 2 .*first"),
        ([FACTS, NOTE | {"first": 10**30}], "line 2 .*first"),
        ([FACTS, NOTE | {"first": True}], "line 2 .*first"),
        ([FACTS, NOTE | {"count": -1}], "line 2 .*count"),
        ([FACTS, NOTE | {"at": float("nan")}], "line 2 .*NaN"),
        ([FACTS, NOTE | {"data": "text"}], "line 2 .*data"),
        ([FACTS, NOTE | {"data": ["{}"]}], "line 2 .*kind note"),
        ([FACTS, NOTE, NOTE], "line 3 .*event 1 comes after event 1"),
        ([FACTS, UPDATE | {"count": 2, "data": ["{}", "{}"]}, NOTE | {"first": 2}], "line 3 .*after event 2"),
        ([FACTS, UPDATE | {"data": "abc"}], "line 2 .*data"),
        ([FACTS, UPDATE | {"data": {}}], "line 2 .*list"),
        ([FACTS, UPDATE | {"count": 2}], "line 2 .*2 events"),
        ([FACTS, UPDATE | {"data": ["{\n}"]}], "line 2 .*one line"),
        ([FACTS, UPDATE | {"data": ["no json"]}], "line 2 "),
        ([FACTS, UPDATE | {"data": ["\ud83d"]}], "line 2 "),
        ([FACTS | {"last": 3}, NOTE], "line 2 .*ends at event 1 of 3"),
    ],
)
def test_anything_else_is_refused_with_its_line(lines: list[Any], says: str) -> None:
    with pytest.raises(JournalError, match=says):
        parse([line if isinstance(line, bytes) else encoded(line) for line in lines])


def encoded(line: dict[str, Any]) -> bytes:
    return header_line(line) if "key" in line else json.dumps(line).encode()
