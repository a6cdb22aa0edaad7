"""A form is filled in field by field: what keys do, which values result, and what is on the screen."""

from __future__ import annotations

from typing import Any

import pytest

from trio_broker.tui.input import Key
from trio_broker.tui.question.form import FormInput

SCHEMA: dict[str, Any] = {
    "properties": {
        "name": {"type": "string", "minLength": 2},
        "count": {"type": "integer", "maximum": 9, "default": 3},
        "size": {"oneOf": [{"const": "s", "title": "Small"}, {"const": "l", "title": "Large"}]},
        "tags": {"type": "array", "items": {"enum": ["a", "b,c"]}, "default": ["b,c"]},
    },
    "required": ["name"],
}


def press(form: FormInput, *keys: str) -> FormInput:
    for key in keys:
        form = form.handle_key(Key(key, key if len(key) == 1 else ""))
    return form


def test_all_fields_one_after_the_other() -> None:
    form = press(FormInput.of(SCHEMA), *"ab", "enter", "enter", "2", "enter", "enter")
    assert form.field is None
    assert form.content == {"name": "ab", "count": 3, "size": "l", "tags": ["b,c"]}
    assert [text for text, _ in form.lines()] == [
        "the answer:", "name = ab", "count = 3", "size = l", "tags = b,c",
    ]  # fmt: skip


def test_a_wrong_value_stays_with_its_error_until_it_is_corrected() -> None:
    form = press(FormInput.of(SCHEMA), "a", "enter")
    assert (form.index, form.editor.text) == (0, "a")
    assert form.error.startswith("field 'name' expects a text of at least 2 characters")
    form = press(form, "b")
    assert form.error == ""
    assert press(form, "enter").index == 1


def test_a_required_field_cannot_be_left_out_and_an_optional_one_can() -> None:
    form = press(FormInput.of(SCHEMA), "enter")
    assert form.index == 0 and "'name' is required" in form.error
    form = press(form, *"ab", "enter", "ctrl-u", "enter", "enter", "ctrl-u", "enter")
    assert form.content == {"name": "ab"}
    assert ("count: left out", "context") in form.lines()


@pytest.mark.parametrize("back", ["up", "backtab"])
def test_the_field_before_can_be_corrected_and_what_was_typed_stays(back: str) -> None:
    form = press(FormInput.of(SCHEMA), *"ab", "enter", "x", back)
    assert (form.index, form.editor.text) == (0, "ab")
    form = press(form, "c", "enter")
    assert (form.index, form.editor.text) == (1, "3x")
    assert press(form, "enter").error.startswith("field 'count' expects an integer")
    done = press(form, "backspace", "enter", "enter", "enter")
    assert done.content["name"] == "abc" and press(done, back).index == 3


def test_hostile_text_is_spelled_out() -> None:
    evil = "\x1b[2J\u202ex\ny"
    field = {
        "title": evil,
        "description": evil,
        "oneOf": [{"const": evil, "title": evil, "description": evil}],
    }
    form = FormInput.of({"properties": {evil: field, "n": {"type": "integer"}}})
    for seen in (form, press(form, "1", "enter", "enter")):
        for text in (seen.label, *(line for line, _ in seen.lines())):
            assert not set(text) & {"\x1b", "\u202e", "\n"}


@pytest.mark.parametrize("schema", [None, 7, {}, {"properties": []}])
def test_a_form_without_fields_only_has_to_be_confirmed(schema: object) -> None:
    form = FormInput.of(schema)
    assert form.field is None and form.content == {}
    assert press(form, "enter", "x", "up").content == {}
