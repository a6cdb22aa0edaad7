"""Keyboard input: which keys stand in the bytes of a terminal, and what the editor makes of each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.tui.input import Editor, Key, KeyDecoder

SEQUENCES: tuple[bytes, ...] = (
    b"\x1b",
    b"\x1b[A",
    b"\x1b[1;5C",
    b"\x1bOP",
    b"\x1b[13;2u",
    b"\x1b[200~",
    b"\x1b[201~",
    b"\x1b[",
    b"\x1bx",
)
SEQUENCES += (
    "ü".encode(),
    "漢".encode(),
    "👩‍💻".encode(),
    b"\xff",
    b"\x03",
    b"\r",
    b"\x1b[<0;3;4M",
    b"\x1b\x1b",
)
STREAMS = st.lists(
    st.one_of(st.sampled_from(SEQUENCES), st.binary(max_size=4), st.text(max_size=3).map(str.encode))
)


def whole(data: bytes) -> list[Key]:
    keys = KeyDecoder()
    return [*keys.feed(data), *keys.flush()]


@given(STREAMS.map(b"".join), st.data())
def test_any_split_of_the_bytes_gives_the_same_keys(data: bytes, draw: st.DataObject) -> None:
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=8)))
    keys, found = KeyDecoder(), []
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        found += keys.feed(data[start:end])
    assert [*found, *keys.flush()] == whole(data)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])))
def test_text_is_typed_as_it_is(text: str) -> None:
    assert "".join(key.text for key in whole(text.encode())) == text


@given(st.text(st.characters(exclude_characters="\x1b\r", exclude_categories=["Cs"]), max_size=50))
def test_a_paste_is_one_key_and_none_of_it_is_a_command(text: str) -> None:
    assert whole(b"\x1b[200~" + text.encode() + b"\x1b[201~q") == [Key("paste", text), Key("q", "q")]


NAMES = {
    b"\x1b": "esc",
    b"\r": "enter",
    b"\n": "ctrl-j",
    b"\t": "tab",
    b"\x1b[Z": "backtab",
    b"\x7f": "backspace",
    b"\x03": "ctrl-c",
    b"\x1b[A": "up",
    b"\x1bOA": "up",
    b"\x1b[5~": "pageup",
    b"\x1b[H": "home",
    b"\x1b[4~": "end",
    b"\x1b[1;5D": "ctrl-left",
    b"\x1b\r": "alt-enter",
    b"\x1b[13;2u": "shift-enter",
    b"\x1b[27;2;13~": "shift-enter",
    b"\x1bb": "alt-b",
    b"\x1b[": "alt-[",
}


@pytest.mark.parametrize("data", NAMES)
def test_names(data: bytes) -> None:
    assert [key.name for key in whole(data)] == [NAMES[data]]


@pytest.mark.parametrize(
    "data", [b"\x1b[<0;3;4M", b"\x1b[?62;c", b"\x1b[I", b"\x1b[99~", b"\x1b[" + b"1" * 5000 + b"A"]
)
def test_what_is_no_key_is_no_command(data: bytes) -> None:
    assert all(key.text in ("", "1", "A") and key.name in ("1", "A") for key in whole(data))


def test_a_lone_escape_waits_and_a_paste_does_not_end_by_waiting() -> None:
    keys = KeyDecoder()
    assert keys.feed(b"\x1b") == [] and keys.pending
    assert keys.feed(b"[A") == [Key("up")] and not keys.pending
    assert keys.feed(b"\x1b[200~ab") == [] and not keys.pending
    assert keys.flush() == []
    assert keys.feed(b"c\x1b[201~") == [Key("paste", "abc")]


EDITOR_KEYS = (
    "left",
    "right",
    "home",
    "end",
    "up",
    "down",
    "backspace",
    "delete",
    "ctrl-w",
    "ctrl-k",
    "alt-enter",
)


def type_keys(editor: Editor, *keys: str) -> Editor:
    for key in keys:
        editor = editor.handle_key(Key(key, key if len(key) == 1 else ""))
    return editor


@given(st.lists(st.one_of(st.sampled_from(EDITOR_KEYS), st.characters(exclude_categories=["Cs"]))))
def test_the_cursor_stays_in_the_text(keys: list[str]) -> None:
    editor = type_keys(Editor(history=("one", "two\nlines")), *keys)
    assert 0 <= editor.cursor <= len(editor.text)


def test_a_character_with_what_combines_with_it_is_one_step() -> None:
    editor = Editor.with_text("ae\u0301")
    assert type_keys(editor, "backspace").text == "a"
    assert type_keys(editor, "left", "x").text == "axe\u0301"


def test_words_and_lines() -> None:
    editor = Editor.with_text("fix the tests")
    assert type_keys(editor, "ctrl-w").text == "fix the "
    assert type_keys(editor, "home", "ctrl-k").text == ""
    assert type_keys(editor, "alt-enter", "a", "up", "home", "X").text == "Xfix the tests\na"


def test_history_gives_back_what_was_being_typed() -> None:
    editor = Editor.with_text("new", ("first", "second"))
    assert type_keys(editor, "up").text == "second"
    assert type_keys(editor, "up", "up", "up").text == "first"
    assert type_keys(editor, "up", "up", "down", "down").text == "new"


def test_a_paste_of_several_lines_is_not_sent_by_them() -> None:
    assert Editor().handle_key(Key("paste", "a\nb")).text == "a\nb"
