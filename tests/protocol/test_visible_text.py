"""Hostile text: nothing in it is obeyed by a terminal or hidden by it, and what can be seen stays as it is."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.protocol.visible_text import escape_exact, escape_json, escape_line, escape_lines

UNSEEN = (
    *("\x00", "\x07", "\x08", "\t", "\n", "\r", "\x1b", "\x7f", "\x80", "\x85", "\x9b", "\x9f"),
    *("\u061c", "\u200e", "\u200f", "\u202a", "\u202b", "\u202c", "\u202d", "\u202e"),
    *("\u2066", "\u2067", "\u2068", "\u2069", "\u206a", "\u206f", "\u2028", "\u2029"),
    *("\xad", "\u034f", "\u200b", "\u200c", "\u200d", "\u2060", "\u2064", "\u2065", "\ufeff", "\u180e"),
    *("\u115f", "\u1160", "\u3164", "\uffa0", "\u17b4", "\u180b", "\ufff0", "\ufff9", "\ufffb"),
    *("\ufe00", "\ufe0e", "\ufe0f", "\U000e0001", "\U000e0041", "\U000e007f", "\U000e0100", "\U000e0fff"),
    *("\U0001d159", "\U0001d173", "\U0001bca0", "\U00013430", "\ud800", "\udfff", "\ufdd0", "\uffff"),
)
SEEN = (
    *(
        "plain",
        "Grüße",
        "漢字",
        "e\u0301",
        "שלום",
        "سلام",
        "👩\u200d💻",
        "❤\ufe0f",
        "👁\ufe0f\u200d🗨",
        "1\ufe0f\u20e3",
    ),
    *(
        "\u0645\u06cc\u200c\u062e\u0648",
        "क\u094d\u200dष",
        "🏳\ufe0f\u200d🌈",
        "🙂\u200d↔\ufe0f",
        "👍🏽",
        "a  b",
        "\\x1b",
    ),
)
TEXTS = st.text(
    st.one_of(st.characters(), st.characters(categories=("Cs", "Cf", "Cc")), st.sampled_from(UNSEEN))
)


@pytest.mark.parametrize("hidden", UNSEEN, ids=ascii)
def test_what_cannot_be_seen_is_written_out(hidden: str) -> None:
    code = ord(hidden)
    written = f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    assert escape_line(f"a{hidden}b") == escape_exact(f"a{hidden}b") == f"a{written}b"
    assert escape_line(f"é{hidden}漢") == f"é{written}漢", "beside other characters, too"
    if hidden not in "\n\t":
        assert escape_lines(f"a{hidden}b") == f"a{written}b"


@pytest.mark.parametrize("text", SEEN, ids=ascii)
def test_what_can_be_seen_stays(text: str) -> None:
    assert escape_line(text) == escape_lines(text) == escape_exact(text) == text


@pytest.mark.parametrize(
    "text", ["❤\u200d", "\u200d❤", "❤\ufe0f\ufe0f", "1\ufe0f", "a\u200d❤", "م\u200c", "❤\u200d\u200d❤"]
)
def test_a_joiner_or_selector_without_its_work_is_written_out(text: str) -> None:
    assert "\\u" in escape_line(text)


def test_lines_and_tabs_can_stay_and_pictures_can_be_drawn() -> None:
    assert escape_lines("a\tb\r\nc\rd\n\v") == "a\tb\nc\\x0dd\n\\x0b"
    assert escape_line("\x1b[2J\r\n\x7f\x9b", pictures=True) == "␛[2J␍␊␡\\x9b"
    assert escape_lines("\x1b\n\t", pictures=True) == "␛\n\t"


@pytest.mark.parametrize("blank", "\xa0\u1680\u2003\u202f\u205f\u2800\u3000")
def test_a_blank_that_is_no_space_is_written_out_in_a_command(blank: str) -> None:
    assert escape_exact(f"rm{blank}-rf x") == f"rm{ascii(blank)[1:-1]}-rf x"
    assert escape_line(f"10{blank}km") == f"10{blank}km"


@given(TEXTS)
def test_no_text_keeps_a_character_that_a_terminal_obeys(text: str) -> None:
    for shown in (
        escape_line(text),
        escape_exact(text),
        escape_lines(text).replace("\n", "").replace("\t", ""),
    ):
        kinds = {unicodedata.category(one) for one in shown if one not in "\u200c\u200d"}
        turning = {unicodedata.bidirectional(one) for one in shown}
        assert not kinds & {"Cc", "Cs", "Zl", "Zp"}
        assert not turning & {"RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI", "FSI", "PDI", "BN"} - {"BN"}
        shown.encode()


@given(TEXTS)
def test_what_was_made_visible_stays_as_it_is(text: str) -> None:
    assert escape_line(escape_line(text)) == escape_line(text)


@given(st.dictionaries(TEXTS, TEXTS), st.sampled_from([None, 1]))
def test_json_keeps_its_value_on_one_visible_line(value: dict[str, str], indent: int | None) -> None:
    raw = json.dumps(value, indent=indent, ensure_ascii=False).encode("utf-8", "replace")
    shown = escape_json(raw)
    assert json.loads(shown) == json.loads(raw)
    assert escape_line(shown.decode()) == shown.decode()


def test_a_carriage_return_between_the_members_of_json_moves_no_cursor() -> None:
    assert escape_json(b'{"a":1,\r"b":\t"\x7f"}') == b'{"a":1, "b": "\\u007f"}'
    assert escape_json('{"a":"\U000e0041\u202eé"}'.encode()) == '{"a":"\\udb40\\udc41\\u202eé"}'.encode()
