"""One field of a form (ACP, `elicitation/create`): the values that fit it, and the value that a person's words mean.

An agent's schema is read leniently: a member of a wrong type counts as absent, and a field of an unknown type takes any
value that ACP can carry. Values are checked strictly.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import attrs

from trio_broker.errors import BadMessage, Misuse
from trio_broker.protocol import jsonrpc

BOOLEANS = {"true": True, "yes": True, "false": False, "no": False}
INTEGERS = range(-(2**63), 2**63)  # ACP: int64
FORMATS = {  # the ones of ACP; a value of any other format is not checked here
    "email": ("an e-mail address", re.compile(r"[^@\s]+@[^@\s]+")),
    "uri": ("a URI", re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")),
    "date": ("a date like 2026-12-31", re.compile(r"\d{4}-\d\d-\d\d")),
    "date-time": (
        "a time like 2026-12-31T23:59:00Z",
        re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)?"),
    ),
}
SHOWN = 60  # characters of a wrong value in an error
PATTERN_MEMORY = 1024 * 1024  # bytes for one compiled pattern: agents write them

Object = dict[str, Any]


@attrs.frozen
class Choice:
    """One value of an enum, with its name for people."""

    value: Any
    title: str
    description: str | None = None


@attrs.frozen
class Field:
    """One field of a form; `schema` is the agent's."""

    name: str
    schema: Object
    required: bool = False

    @property
    def type(self) -> str:
        """One of ACP's types; `other` for a type that ACP does not have."""
        type = self.schema.get("type")
        if type in ("string", "number", "integer", "boolean", "array"):
            return str(type)
        return "string" if type is None and self.choices else "other"

    @property
    def title(self) -> str:
        return text_or_none(self.schema.get("title")) or self.name

    @property
    def description(self) -> str | None:
        return text_or_none(self.schema.get("description"))

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """The values that can be chosen; empty for a field that takes others as well."""
        if self.schema.get("type") == "array":
            items = self.schema.get("items")
            return tuple(_choices(items)) if isinstance(items, dict) else ()
        if self.schema.get("type") == "boolean":
            return (Choice(True, "Yes"), Choice(False, "No"))
        return tuple(_choices(self.schema))

    @property
    def default(self) -> Any:
        """The value of a form that is sent as it stands; None if there is none, or one that does not fit."""
        value = self.schema.get("default")
        return None if value is None or self.fault(value) is not None else value

    @property
    def expected(self) -> str:
        """The values that fit, in words."""
        if self.type == "array":
            return f"{_range_text(self._size, 'value', 'any number of values')}{self._choice_text(' of ')}"
        if self.type == "boolean":
            return "true or false"
        if self.choices:
            return self._choice_text("one of ")
        if self.type in ("integer", "number"):
            noun = "an integer" if self.type == "integer" else "a number"
            return noun + _between(self._limit("minimum"), self._limit("maximum"))
        if self.type == "string":
            return self._string_text()
        return "a text, a number, true, false, or a list of texts"

    def _string_text(self) -> str:
        noun = FORMATS[self._format][0] if self._format else "a text"
        low, high = self._size
        size = f" of {_range_text((low, high), 'character', '')}" if low or high is not None else ""
        pattern = f" that matches {self._pattern}" if self._pattern else ""
        return noun + size + pattern

    def _choice_text(self, word: str) -> str:
        return word + ", ".join(option_id(choice.value) for choice in self.choices) if self.choices else ""

    @property
    def _format(self) -> str | None:
        found = text_or_none(self.schema.get("format"))
        return found if found in FORMATS else None

    @property
    def _pattern(self) -> str | None:
        return text_or_none(self.schema.get("pattern"))

    @property
    def _size(self) -> tuple[int, int | None]:
        """How many characters a string, or values a list, has at least and at most."""
        what = "Items" if self.type == "array" else "Length"
        low, high = self._limit(f"min{what}"), self._limit(f"max{what}")
        return math.ceil(low or 0), None if high is None else math.floor(high)

    def _limit(self, name: str) -> float | None:
        value = self.schema.get(name)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    def fault(self, value: Any) -> str | None:
        """What is wrong with this value, as a sentence about the field; None if it fits."""
        if self._fits(value):
            return None
        return f"field {self.name!r} expects {self.expected}, not {_shown(value)}"

    def _fits(self, value: Any) -> bool:
        if self.type == "array":
            return self._fits_list(value)
        if self.choices:
            return any(_same(choice.value, value) for choice in self.choices)
        if self.type in ("integer", "number"):
            return self._fits_number(value)
        if self.type == "string":
            return isinstance(value, str) and self._fits_string(value)
        return _is_carried(value)

    def _fits_list(self, value: Any) -> bool:
        if not _is_list_of_texts(value) or not _is_within(len(value), *self._size):
            return False
        return (
            all(any(_same(choice.value, one) for choice in self.choices) for one in value) or not self.choices
        )

    def _fits_number(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if self.type == "integer" and (value != math.floor(value) or math.floor(value) not in INTEGERS):
            return False
        return _is_within(value, self._limit("minimum"), self._limit("maximum"))

    def _fits_string(self, value: str) -> bool:
        if not _is_within(len(value), *self._size):
            return False
        if self._format and not FORMATS[self._format][1].fullmatch(value):
            return False
        return self._pattern is None or _matches(self._pattern, value)

    def parse(self, texts: Sequence[str]) -> Any:
        """The value that these words of a person mean, one of them unless it is a list. Raises Misuse."""
        if self.type == "array":
            value: Any = [one for text in texts for one in self._parse_items(text)]
        elif len(texts) > 1:
            raise Misuse(f"field {self.name!r} takes one value, and {len(texts)} were given", field=self.name)
        else:
            value = self._parse_one(texts[0])
        if (fault := self.fault(value)) is not None:
            raise Misuse(fault, field=self.name)
        return value

    def parse_line(self, line: str) -> Any:
        """The value that a typed line means. The number of a choice stands for it, unless it is a value itself.

        Raises Misuse.
        """
        ids = [option_id(choice.value) for choice in self.choices]
        if not ids or line.strip() in ids:
            return self.parse([line.strip() if ids else line])
        words = line.split(",") if self.type == "array" else [line]
        return self.parse([_value_of_number(ids, word.strip()) for word in words])

    def _parse_items(self, text: str) -> list[str]:
        """One value, or several with commas between them."""
        if any(choice.value == text for choice in self.choices):
            return [text]
        parts = [part.strip() for part in text.split(",")] if text.strip() else []
        return [str(self._chosen(part)) for part in parts]

    def _parse_one(self, text: str) -> Any:
        if self.type == "boolean":
            return BOOLEANS.get(text.strip().lower(), text)
        if self.choices:
            return self._chosen(text)
        if self.type in ("integer", "number"):
            return _number(text.strip())
        return text

    def _chosen(self, text: str) -> Any:
        """The value of that id, or with that title; the text itself if there is none."""
        for name in (lambda choice: option_id(choice.value), lambda choice: choice.title):
            found = [choice.value for choice in self.choices if name(choice) == text]
            if len(found) == 1:
                return found[0]
        return text


def option_id(value: Any) -> str:
    """A value of an enum as the id of an option: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else jsonrpc.encode(value).decode()


def _value_of_number(ids: list[str], word: str) -> str:
    is_number = word not in ids and word.isascii() and word.isdigit() and len(word) < 6
    return ids[int(word) - 1] if is_number and 1 <= int(word) <= len(ids) else word


def value_text(value: Any) -> str:
    """A value as a person writes it."""
    return ", ".join(map(str, value)) if isinstance(value, list) else option_id(value)


def _choices(schema: Object) -> Iterator[Choice]:
    """Those of an `enum`, with `enumNames` if it has them, or of the consts in `oneOf` or `anyOf`; each value once."""
    seen: list[Any] = []
    for choice in (*_titled(schema), *_untitled(schema)):
        if isinstance(choice.value, str | int | float) and not any(_same(choice.value, one) for one in seen):
            seen.append(choice.value)
            yield choice


def _titled(schema: Object) -> Iterator[Choice]:
    for name in ("oneOf", "anyOf"):
        options = schema.get(name)
        for one in options if isinstance(options, list) else ():
            if isinstance(one, dict) and "const" in one:
                title = text_or_none(one.get("title")) or option_id(one["const"])
                yield Choice(one["const"], title, text_or_none(one.get("description")))


def _untitled(schema: Object) -> Iterator[Choice]:
    values, names = schema.get("enum"), schema.get("enumNames")
    values = values if isinstance(values, list) else []
    names = names if isinstance(names, list) and len(names) == len(values) else values
    for value, name in zip(values, names, strict=True):
        yield Choice(value, text_or_none(name) or option_id(value))


def text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _is_within(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_carried(value: Any) -> bool:
    """Whether ACP has a place for such a value in the content of an answer."""
    return isinstance(value, str | int | float) or _is_list_of_texts(value)


def _number(text: str) -> Any:
    """The number; the text itself if it is not one."""
    try:
        value = jsonrpc.decode(text.encode())
    except (BadMessage, UnicodeEncodeError):
        return text
    return value if isinstance(value, int | float) and not isinstance(value, bool) else text


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else jsonrpc.encode(value).decode("utf-8", "replace")
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _between(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" from {low} to {high}"
    return f" of at least {low}" if low is not None else "" if high is None else f" of at most {high}"


def _range_text(size: tuple[int, int | None], noun: str, free: str) -> str:
    low, high = size
    nouns = f"{noun}s"
    if high is None:
        return f"at least {low} {noun if low == 1 else nouns}" if low else free
    if low == high:
        return f"{low} {noun if low == 1 else nouns}"
    return f"{low} to {high} {nouns}" if low else f"up to {high} {noun if high == 1 else nouns}"


def _matches(pattern: str, text: str) -> bool:
    """Whether the text has a match, in linear time; a pattern that such an engine refuses is left to the agent."""
    import re2  # late: most forms have none, and the command line starts without it

    options = re2.Options()
    options.log_errors, options.max_mem = False, PATTERN_MEMORY
    try:
        return re2.compile(pattern, options).search(text) is not None
    except re2.error:
        return True
