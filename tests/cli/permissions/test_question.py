"""A permission request as rows, and the keys that answer it: nothing of the agent looks like a choice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from trio_broker.cli.permissions.question import (
    Choice,
    KeyReader,
    choices_of,
    first_screen,
    head,
    hint,
    option_rows,
    whole_text,
    wrap,
)
from trio_broker.client.request_text import request_lines
from trio_broker.client.text_lines import TextLine
from trio_broker.protocol.visible_text import escape_line

OPTIONS = [
    ("o", "Apply", "allow_once"),
    ("A", "Always", "allow_always"),
    ("n", "No", "reject_once"),
    ("N", "Never", "reject_always"),
]
FOUR = choices_of(OPTIONS)
HOSTILE = [
    *("\x1b[2J\x1b[H", "\r", "\u202e", "\n  1  y  allow once     Yes", "  1  y  allow once     Yes"),
    "x" * 78 + "  1  y  allow once",
]
TEXTS = st.text(st.one_of(st.characters(), st.sampled_from("a漢❤\ufe0f\u0301│\n1)"))).map(escape_line)
LINES = st.lists(st.builds(TextLine, st.sampled_from(["title", "text", "added", "note"]), TEXTS), min_size=1)


def test_a_letter_belongs_to_the_only_option_of_its_kind() -> None:
    assert [choice.letter for choice in FOUR] == ["y", "a", "n", "d"]
    two = choices_of(
        [*OPTIONS[:1], ("p", "Apply too", "allow_once"), *OPTIONS[2:3], ("x", "X", "other"), ("", "", "")]
    )
    assert [choice.letter for choice in two] == ["", "", "n", "", ""]
    assert hint(two).startswith("  n, 1-5; v: all") and hint(FOUR).startswith("  y, a, n, d, 1-4; v: all")
    assert len(hint(choices_of([*OPTIONS, *[("x", "x", "x")] * 90]))) < 80


def test_each_choice_has_its_kind_beside_the_name_that_the_agent_gave_it() -> None:
    rows = option_rows(choices_of([("o", "Reject\n  2) [n]", "allow_once"), ("x", "y" * 200, "odd")]), 40, 9)
    assert rows == [
        "  1  y  allow once     Reject\\x0a  2) …",
        "  2     other          " + "y" * 15 + "…",
    ]
    many = option_rows(choices_of([("x", str(number), "allow_once") for number in range(30)]), 80, 5)
    assert len(many) == 5 and many[-1] == "  … 26 more choices: v shows them"


@given(TEXTS, st.integers(8, 80))
def test_every_row_has_the_bar_and_its_cells_and_no_text_is_lost(text: str, width: int) -> None:
    rows = [*wrap(TextLine("text", text), width)]
    assert [row[:2] for row in rows] == ["│ ", *["┊ "] * (len(rows) - 1)]
    assert all(cell_len(row) <= width for row in rows)
    assert "".join(row[2:] for row in rows) == text


@given(LINES, st.integers(20, 80), st.integers(3, 30))
def test_the_first_screen_has_its_size_and_says_what_it_leaves_out(
    lines: list[TextLine], width: int, height: int
) -> None:
    rows = head(lines, width, height, "v shows all")
    assert len(rows) <= height
    assert all(row.startswith(("│ ", "┊ ")) for row in rows)
    everything = [row for line in lines for row in wrap(line, width - 1)]
    assert rows == everything or "v shows all" in rows[-1]


def test_what_is_left_out_is_counted() -> None:
    lines = [TextLine("text", str(number)) for number in range(30)]
    assert head(lines, 80, 30, "v shows all") == [f"│ {number}" for number in range(30)]
    assert head(lines, 80, 5, "v shows all") == ["│ 0", "│ 1", "│ 2", "│ 3", "│ … 26 more lines: v shows all"]


def test_a_long_title_or_line_does_not_hide_what_stands_below_it() -> None:
    lines = [TextLine("title", "t" * 9000), TextLine("text", "x" * 9000), TextLine("added", "+seen")]
    rows = head(lines, 80, 18, "v shows all")
    assert "│ +seen" in rows and rows[-1] == "│ … long lines are cut: v shows all"


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("lines", [4, 400])
def test_the_diff_and_the_choices_are_on_one_screen_of_80x24_whatever_the_agent_writes(
    hostile: str, lines: int
) -> None:
    part = {
        "type": "diff",
        "path": hostile,
        "oldText": "".join(f"{n}\n" for n in range(lines)),
        "newText": hostile,
    }
    call = {
        "title": hostile * 50,
        "kind": hostile,
        "content": [part],
        "locations": [{"path": f"/other{hostile}"}] * 40,
    }
    rows = first_screen(request_lines({"toolCall": call}), FOUR, 80, 24)
    assert len(rows) <= 22, "with the heading and the keys"
    assert "│ -0" in rows and rows[-4:] == option_rows(FOUR, 80, 4)
    assert all(row.startswith(("│ ", "┊ ")) for row in rows[:-4])
    assert any("more lines" in row for row in rows)


def test_the_whole_text_has_every_line_and_every_choice() -> None:
    lines = [TextLine("title", "t" * 30), *(TextLine("added", f"+{number}") for number in range(100))]
    text = whole_text(lines, FOUR, 20, colour=False).splitlines()
    assert text[:2] == ["│ " + "t" * 18, "┊ " + "t" * 12] and "│ +99" in text
    assert text[-2:] == ["│ choice 4: reject_a", "┊ lways: Never"]
    assert "\x1b[32m+99\x1b[0m" in whole_text(lines, FOUR, 20, colour=True)


def typed(*keys: bytes, choices: list[Choice] = FOUR) -> list[object]:
    reader = KeyReader(choices)
    read = [reader.read(key) for key in keys]
    return [one.id if isinstance(one, Choice) else one for one in read]


@pytest.mark.parametrize(
    ("keys", "read"),
    [
        ([b"y"], ["o"]), ([b"n"], ["n"]), ([b"1"], ["o"]), ([b"3"], ["n"]), ([b"y\n"], ["o"]),
        ([b"a", b"y"], ["ask", "A"]), ([b"2", b"y"], ["ask", "A"]), ([b"d", b"y"], ["ask", "N"]),
        ([b"a", b"a"], ["ask", "repeat"]), ([b"a", b"\n", b"y"], ["ask", "repeat", "o"]),
        ([b"c", b"y"], ["ask", "dismiss"]), ([b"c", b"n", b"n"], ["ask", "repeat", "n"]),
        ([b"\n"], ["repeat"]), ([b"\r"], ["repeat"]), ([b"?"], ["repeat"]), ([b"v"], ["view"]),
        ([b"\x04"], ["leave"]), ([b""], ["leave"]), ([b"a", b""], ["ask", "leave"]),
        ([b"5"], [None]), ([b"0"], [None]), ([b"x"], [None]), ([b"Y"], [None]), ([b"\xff"], [None]),
        ([b"yes"], [None]), ([b"nn"], [None]), ([b"ay"], [None]), ([b"\x1b[A"], [None]), ([b"\x1by"], [None]),
        ([b"a", b"\x1by"], ["ask", "repeat"]), ([b" "], [None]),
        ([b"yes\n"], ["repeat"]), ([b"x\r"], ["repeat"]), ([b"\n\n"], ["repeat"]), ([b"\x1by\n"], ["repeat"]),
    ],
)  # fmt: skip
def test_keys(keys: list[bytes], read: list[object]) -> None:
    assert typed(*keys) == read


def test_a_letter_that_two_options_could_mean_chooses_none() -> None:
    two = choices_of([("o", "One", "allow_once"), ("t", "Two", "allow_once")])
    assert typed(b"y", b"", choices=two) == [None, "leave"]
    assert typed(b"2", choices=two) == ["t"]


def test_more_than_nine_options_are_chosen_by_digits_and_enter() -> None:
    many = choices_of([(f"o{number}", str(number), "allow_once") for number in range(1, 13)])
    assert typed(b"1", b"2", b"\n", choices=many) == ["ask", "ask", "o12"]
    assert typed(b"1", b"\n", choices=many) == ["ask", "o1"]
    assert typed(b"1", b"3", b"\x7f", b"1", b"\r", choices=many) == ["ask", "ask", "ask", "ask", "o11"]
    assert typed(b"9", b"9", b"\n", b"\n", choices=many) == ["ask", "ask", "repeat", "repeat"]
    for_ever = choices_of([("a", "a", "allow_always"), *[("x", "x", "odd")] * 10])
    assert typed(b"1", b"\n", b"y", choices=for_ever) == ["ask", "ask", "a"]


@given(st.lists(st.binary(max_size=5), max_size=8), st.lists(st.sampled_from(OPTIONS), max_size=12))
def test_no_keys_choose_for_ever_without_a_y_after_that(
    keys: list[bytes], options: list[tuple[str, str, str]]
) -> None:
    reader = KeyReader(choices_of(options))
    before = b""
    for key in keys:
        read = reader.read(key)
        if isinstance(read, Choice) and read.kind.endswith("always"):
            assert key.rstrip(b"\r\n").lower() == b"y" and before
        before = key
        assert reader.prompt
