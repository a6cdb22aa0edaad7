"""The input line: what each key makes of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trio_broker.tui.editor import Editor
from trio_broker.tui.keys import Key

KEYS = ("left", "right", "home", "end", "up", "down", "backspace", "delete", "ctrl-w", "ctrl-k", "alt-enter")


def type_keys(editor: Editor, *keys: str) -> Editor:
    for key in keys:
        editor = editor.handle_key(Key(key, key if len(key) == 1 else ""))
    return editor


@given(st.lists(st.one_of(st.sampled_from(KEYS), st.characters(exclude_categories=["Cs"]))))
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
