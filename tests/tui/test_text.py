"""Text: hostile characters are shown, and every line fits its cells."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.segment import Segment

from trio_broker.tui.text import (
    clip,
    clip_start,
    fit,
    format_duration,
    format_number,
    pad,
    visible,
    visible_lines,
    width_of,
    wrap,
)

TEXTS = st.text(st.one_of(st.characters(), st.sampled_from("a é漢👩‍💻\u0301\x1b\u202e\t\n")))


@given(TEXTS)
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    for shown in (visible(text), visible_lines(text).replace("\n", "")):
        assert not any(unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") for one in shown)
        assert not any(
            unicodedata.bidirectional(one) in ("RLO", "LRO", "RLE", "LRE", "RLI", "LRI", "FSI")
            for one in shown
        )


def test_an_escape_sequence_is_drawn() -> None:
    assert visible("\x1b[2Jgone\r\n\x9b") == "␛[2Jgone␍␊\\x9b"


@given(TEXTS.map(visible), st.integers(0, 40))
def test_clipped_and_padded_text_has_its_cells(text: str, width: int) -> None:
    assert width_of(clip(text, width)) <= width
    assert width_of(clip_start(text, width)) <= width
    assert width_of(pad(text, width)) == width


@given(TEXTS.map(visible_lines), st.integers(2, 40))
def test_wrapped_lines_fit_and_lose_no_word(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert all(width_of(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


@given(st.lists(TEXTS.map(visible)), st.integers(1, 60))
def test_a_line_is_made_exactly_as_wide_as_it_has_to_be(texts: list[str], width: int) -> None:
    assert sum(cell_len(part.text) for part in fit([Segment(text) for text in texts], width)) == width


def test_lengths_of_time_and_numbers_stay_short() -> None:
    assert [format_duration(seconds) for seconds in (None, -1, 4.9, 59, 190, 7500, 277200, 10**9)] == [
        "-", "0s", "4s", "59s", "3m10s", "2h05m", "3d05h", "ages",
    ]  # fmt: skip
    assert [format_number(number) for number in (None, 0, 950, 4_200, 45_000, 1_200_000)] == [
        "-",
        "0",
        "950",
        "4.2k",
        "45k",
        "1.2M",
    ]
