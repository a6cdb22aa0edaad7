"""The form of a question while a person fills it in: the field that is asked, what is typed, and the values so far.

A form is filled in field by field, then confirmed as a whole. Each value is checked before the next field is asked, so
the values of a complete form fit. Going back keeps what was typed, and checks it when the field is passed again.

Pure, and without knowledge of requests: `focus` decides when keys get here, and what is sent.
"""

from __future__ import annotations

from typing import Any

import attrs

from trio_broker.errors import Misuse
from trio_broker.protocol.elicitation.field import Field, value_text
from trio_broker.protocol.elicitation.form import Form
from trio_broker.tui.input import Editor, Key
from trio_broker.tui.text import clip, visible, visible_lines

NEXT_KEYS = ("enter", "tab")
LABEL_WIDTH = 24  # cells of a field's name before the cursor


@attrs.frozen(eq=False)
class FormInput:
    """`texts`: what stands in each field. `values`: of the fields before `index`, None for one that is left out.

    `error`: why the text of the present field was refused.
    """

    form: Form
    texts: tuple[str, ...]
    values: tuple[Any, ...] = ()
    editor: Editor = attrs.field(factory=Editor)
    error: str = ""

    @classmethod
    def of(cls, schema: object) -> FormInput:
        """The form of a `requestedSchema` at its first field, with its defaults in the fields."""
        form = Form.of(schema)
        texts = tuple("" if field.default is None else value_text(field.default) for field in form.fields)
        return cls(form, texts, editor=Editor.with_text(texts[0] if texts else ""))

    @property
    def index(self) -> int:
        return len(self.values)

    @property
    def field(self) -> Field | None:
        """The field that is asked; None when all are filled in, and the whole has to be confirmed."""
        return self.form.fields[self.index] if self.index < len(self.form.fields) else None

    @property
    def content(self) -> dict[str, Any]:
        """The values by the names of their fields, without those that are left out."""
        filled = zip(self.form.fields, self.values, strict=False)
        return {field.name: value for field, value in filled if value is not None}

    def handle_key(self, key: Key) -> FormInput:
        """The form after this key: the next field, the one before, or another text."""
        field = self.field
        is_first_line = "\n" not in self.editor.text[: self.editor.cursor]
        if key.name == "backtab" or (key.name == "up" and is_first_line):
            return self._go_back()
        if field is None:
            return self
        if key.name in NEXT_KEYS:
            return self._go_on(field)
        editor = self.editor.handle_key(key)
        return self if editor == self.editor else attrs.evolve(self, editor=editor, error="")

    def _go_on(self, field: Field) -> FormInput:
        try:
            value = _read_value(field, self.editor.text)
        except Misuse as error:
            return attrs.evolve(self, error=error.message)
        return self._move_to((*self.values, value))

    def _go_back(self) -> FormInput:
        return self._move_to(self.values[:-1]) if self.values else self

    def _move_to(self, values: tuple[Any, ...]) -> FormInput:
        texts = list(self.texts)
        if self.field is not None:
            texts[self.index] = self.editor.text
        text = texts[len(values)] if len(values) < len(texts) else ""
        return FormInput(self.form, tuple(texts), values, Editor.with_text(text))

    @property
    def label(self) -> str:
        """The words before the cursor; ours come first."""
        field = self.field
        name = "" if field is None else clip(visible(field.name), LABEL_WIDTH)
        return f"field {self.index + 1} of {len(self.form.fields)}, {name} > "

    def lines(self) -> list[tuple[str, str]]:
        """What is asked, or all values, as lines that are safe to print, each with the name of its style."""
        field = self.field
        return self._value_lines() if field is None else _field_lines(field)

    def _value_lines(self) -> list[tuple[str, str]]:
        if not self.form.fields:
            return [("the form has no fields: y accepts it as it is", "label")]
        lines = [("the answer:", "label")]
        for field, value in zip(self.form.fields, self.values, strict=True):
            name = visible(field.name)
            if value is None:
                lines.append((f"{name}: left out", "context"))
            else:
                lines.append((f"{name} = {visible(value_text(value))}", "title"))
        return lines


def _read_value(field: Field, text: str) -> Any:
    """The value of a text; None if the field is left out. Raises Misuse."""
    if field.default is not None and text == value_text(field.default):
        return field.default  # also where these words would be read as something else
    if text.strip():
        return field.parse_line(text)
    if field.required:
        raise Misuse(f"field {field.name!r} is required: {field.expected}", field=field.name)
    return None


def _field_lines(field: Field) -> list[tuple[str, str]]:
    how = "required" if field.required else "optional"
    lines = [(f"{visible(field.title)} ({visible(field.expected)}, {how})", "title")]
    if field.description:
        lines += [(line, "label") for line in visible_lines(field.description).split("\n")]
    for number, choice in enumerate(field.choices, 1):
        more = f": {choice.description}" if choice.description else ""
        lines.append((f"{number}) {visible(choice.title + more)}", "input"))
    return lines
