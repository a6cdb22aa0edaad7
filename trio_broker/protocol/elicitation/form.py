"""Forms that agents ask people to fill in (ACP, `elicitation/create` in mode `form`). Pure.

A form is read leniently, because agents write its schema. An answer is checked strictly, because people and scripts
write it: `Form.check` raises an error that names the field and the values that fit.

A form that is one choice (a single field that is an enum or a boolean) is also a list of options, so that a client
without forms can show it as a permission request. The option ids are the values. Every value is of kind `allow_once`,
`false` too: a kind says what happens to the agent's request, and only `decline` refuses it.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import attrs

from trio_broker.errors import Misuse
from trio_broker.protocol.elicitation.field import Choice, Field, option_id, text_or_none, value_text

FORM, URL = "form", "url"
ACCEPT, DECLINE, CANCEL = "accept", "decline", "cancel"

Object = dict[str, Any]


@attrs.frozen
class Form:
    """The fields that an agent asks for."""

    fields: tuple[Field, ...] = ()
    title: str | None = None
    description: str | None = None

    @classmethod
    def of(cls, schema: object) -> Form:
        """Read a `requestedSchema`; anything that is not one is a form without fields."""
        members = schema if isinstance(schema, dict) else {}
        properties = members.get("properties")
        required = members.get("required")
        names = required if isinstance(required, list) else ()
        fields = properties.items() if isinstance(properties, dict) else ()
        found = tuple(
            Field(name, one if isinstance(one, dict) else {}, name in names) for name, one in fields
        )
        return cls(found, text_or_none(members.get("title")), text_or_none(members.get("description")))

    def field(self, name: str) -> Field:
        """The field of that name. Raises Misuse, which lists the names."""
        for field in self.fields:
            if field.name == name:
                return field
        known = ", ".join(field.name for field in self.fields)
        names = f"its fields are {known}" if known else "it has none"
        raise Misuse(f"the form has no field {name!r}; {names}", field=name)

    def check(self, content: Object) -> None:
        """Raises Misuse if these values do not fill in the form; a form without fields takes whatever ACP carries."""
        for name, value in content.items():
            field = self.field(name) if self.fields else Field(name, {})
            if (fault := field.fault(value)) is not None:
                raise Misuse(fault, field=name)
        for field in self.fields:
            if field.required and field.name not in content:
                raise Misuse(f"field {field.name!r} is required: {field.expected}", field=field.name)

    def defaults(self) -> Object:
        """The values of the form as it stands."""
        return {field.name: field.default for field in self.fields if field.default is not None}

    def unset(self) -> list[Field]:
        """The required fields that have no default: without them the form can't be accepted as it stands."""
        return [field for field in self.fields if field.required and field.default is None]

    def summary(self) -> str:
        """The fields and what fits them, one a line."""
        lines = [
            f"  {field.name}: {field.expected}"
            + ("" if field.default is None else f" [{value_text(field.default)}]")
            + (", required" if field.required else "")
            for field in self.fields
        ]
        return "\n".join(lines)

    # One choice as options

    @cached_property
    def _values(self) -> dict[str, Choice]:
        """By option id; empty unless the form is one choice, and each value has an id of its own."""
        if len(self.fields) != 1 or self.fields[0].type == "array":
            return {}
        choices = self.fields[0].choices
        found = {option_id(choice.value): choice for choice in choices}
        return found if len(found) == len(choices) else {}

    @property
    def _decline_id(self) -> str:
        id = DECLINE
        while id in self._values:
            id = f"_{id}"
        return id

    @cached_property
    def options(self) -> list[Object]:
        """The options of a permission request that asks the same; empty if the form is not a single choice."""
        values = [
            {"optionId": id, "name": choice.title, "kind": "allow_once"}
            for id, choice in self._values.items()
        ]
        decline = {"optionId": self._decline_id, "name": "Decline", "kind": "reject_once"}
        return [*values, decline] if values else []

    def content_of(self, option: str) -> Object | None:
        """The filled-in form that an option stands for; None for the one that declines."""
        if option == self._decline_id:
            return None
        return {self.fields[0].name: self._values[option].value}

    def as_tool_call(self, id: str, message: str) -> Object:
        """The tool call of that permission request."""
        call = {"toolCallId": id, "title": message, "kind": "other", "status": "pending"}
        lines = [self.title, self.description]
        if self.fields:
            field = self.fields[0]
            lines += [text_or_none(field.schema.get("title")), field.description]
            lines += [f"{one.title}: {one.description}" for one in field.choices if one.description]
        text = "\n".join(line for line in lines if line)
        content = {"content": [{"type": "content", "content": {"type": "text", "text": text}}]}
        return call | (content if text else {})
