"""A record: a run of numbered events that can be cut at any of its numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.journal.record import Record


def lines(first: int, count: int) -> bytes:
    return b"".join(b'{"n":%d}\n' % number for number in range(first, first + count))


def test_a_record_is_cut_at_any_of_its_numbers() -> None:
    record = Record(5, 3, 0.0, "update", lines(5, 3))
    assert [record.slice_from(number).data for number in (1, 5, 6, 7)] == [
        lines(5, 3), lines(5, 3), lines(6, 2), lines(7, 1),
    ]  # fmt: skip


@given(st.integers(1, 1000), st.integers(1, 20), st.data())
def test_a_slice_keeps_the_last_number_and_the_lines_behind_the_cut(
    first: int, count: int, data: st.DataObject
) -> None:
    record = Record(first, count, 1.5, "update", lines(first, count), plain=True)
    number = data.draw(st.integers(first, record.last))
    part = record.slice_from(number)
    assert (part.first, part.last, part.at, part.plain) == (number, record.last, 1.5, True)
    assert part.data == lines(number, record.last - number + 1)


def test_a_slice_of_a_gap_keeps_its_object() -> None:
    gap = Record(6, 15, 1.5, "gap", b'{"from":6,"to":20}')
    assert gap.slice_from(20) == Record(20, 1, 1.5, "gap", gap.data)


def test_an_update_has_no_slice_behind_its_last_number() -> None:
    with pytest.raises(ValueError, match="not found"):
        Record(5, 1, 0.0, "update", lines(5, 1)).slice_from(7)
