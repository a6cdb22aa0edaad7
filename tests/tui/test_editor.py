"""The input line: what each key makes of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trio_broker.tui.editor import Editor
from trio_broker.tui.keys import Key

KEYS = ("left", "right", "home", "end", "up", "down", "backspace", "delete", "ctrl-w", "ctrl-k", "alt-enter")


def typed(editor: Editor, *keys: str) -> Editor:
    for key in keys:
        editor = editor.typed(Key(key, key if len(key) == 1 else ""))
    return editor


@given(st.lists(st.one_of(st.sampled_from(KEYS), st.characters(exclude_categories=["Cs"]))))
def test_the_cursor_stays_in_the_text(keys: list[str]) -> None:
    editor = typed(Editor(history=("one", "two\nlines")), *keys)
    assert 0 <= editor.cursor <= len(editor.text)


def test_a_character_with_what_combines_with_it_is_one_step() -> None:
    editor = Editor.of("ae\u0301")
    assert typed(editor, "backspace").text == "a"
    assert typed(editor, "left", "x").text == "axe\u0301"


def test_words_and_lines() -> None:
    editor = Editor.of("fix the tests")
    assert typed(editor, "ctrl-w").text == "fix the "
    assert typed(editor, "home", "ctrl-k").text == ""
    assert typed(editor, "alt-enter", "a", "up", "home", "X").text == "Xfix the tests\na"


def test_history_gives_back_what_was_being_typed() -> None:
    editor = Editor.of("new", ("first", "second"))
    assert typed(editor, "up").text == "second"
    assert typed(editor, "up", "up", "up").text == "first"
    assert typed(editor, "up", "up", "down", "down").text == "new"


def test_a_paste_of_several_lines_is_not_sent_by_them() -> None:
    assert Editor().typed(Key("paste", "a\nb")).text == "a\nb"
