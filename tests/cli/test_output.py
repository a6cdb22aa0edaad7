"""Output on a terminal: durations and columns."""

from __future__ import annotations

import pytest

from trio_broker.cli.output import format_duration, table


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0, "0.0s"), (4.21, "4.2s"), (60, "1m00s"), (190, "3m10s"), (7500.9, "2h05m")],
)
def test_a_length_of_time_is_told_in_its_two_largest_units(seconds: float | None, text: str) -> None:
    assert format_duration(seconds) == text


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table(["A", "LONG"], [["wide", "x"], ["", "y"]]) == "A     LONG\nwide  x\n      y"


def test_columns_line_up_whatever_the_width_of_a_character() -> None:
    told = table(["A", "B"], [["会話/日本", "x"], ["e\u0301te\u0301", "y"], ["🎉", "z"]])
    assert told == "A          B\n会話/日本  x\ne\u0301te\u0301        y\n🎉         z"
