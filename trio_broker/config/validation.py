"""Reading TOML tables into attrs classes, strictly: every value that does not fit is told with its dotted key."""

from __future__ import annotations

import difflib
import enum
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import cattrs
from cattrs.errors import (
    AttributeValidationNote,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import override

KeyPath = tuple[str, ...]  # the keys that lead to a value
Problem = tuple[KeyPath, str]  # and what is wrong with it
MISSING = {  # what has no default
    "command": 'a command, as in command = "my-agent --acp"',
    "action": 'what to do, as in action = "ask"; allow and deny are the others',
}


def at_least(default: Any, least: float, *, above: bool = False) -> Any:
    """A field whose number is finite and at least (or `above`) `least`, and whole if `default` is.

    `range_overrides` tells cattrs of it.
    """
    whole = isinstance(default, int)

    def structured(value: object, _: object) -> Any:
        number_of = integer if whole else number
        found = number_of(value, None)
        if not (found > least if above else found >= least) or found == float("inf"):
            words = "above" if above else "of at least"
            raise InvalidValue(f"expected a finite number {words} {least}, not {found}")
        return found

    return attrs.field(default=default, metadata={"hook": structured})


def range_overrides(cls: type) -> dict[str, Any]:
    """What cattrs is to be told of the fields of `cls` that are made by `at_least`."""
    fields = [field for field in attrs.fields(cls) if "hook" in field.metadata]
    return {field.name: override(struct_hook=field.metadata["hook"]) for field in fields}


class InvalidValue(Exception):
    """A value that does not fit; the text says what was expected and what is there."""


def problems(error: BaseException, where: KeyPath) -> Iterator[Problem]:
    """What cattrs' tree of errors says, flat."""
    match error:
        case ForbiddenExtraKeysError():
            known = [field.name for field in attrs.fields(error.cl)]
            for key in sorted(error.extra_fields):
                yield (*where, key), f"unknown key; {_suggestion(key, known)}"
        case ClassValidationError() | IterableValidationError():
            for inner in error.exceptions:
                yield from problems(inner, where + _step(inner))
        case KeyError():
            yield where, f"is missing; expected {MISSING[where[-1]]}"
        case _:
            yield where, str(error)


def drop_keys(raw: dict[str, Any], wheres: list[KeyPath]) -> bool:
    """Take out of nested tables what stands at these places, or the table that lacks it; whether anything was there."""
    return sum(_drop_key(raw, where) for where in wheres) > 0  # all of them, so no any()


def _drop_key(raw: dict[str, Any], where: KeyPath) -> bool:
    owner: dict[str, Any] | None = None
    found: Any = raw
    rest = [*where]
    while rest and isinstance(found, dict) and rest[0] in found:
        owner, key = found, rest.pop(0)
        found = found[key]
    if owner is None or (isinstance(found, dict) and len(rest) > 1):
        return False  # it went with a table around it
    del owner[key]
    return True


def _step(error: BaseException) -> KeyPath:
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return (note.name,)
        if isinstance(note, IterableValidationNote):
            return (str(note.index),)
    return ()


def _suggestion(key: str, known: list[str]) -> str:
    found = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {found[0]}?" if found else f"expected one of {', '.join(known)}"


def dotted(*parts: str) -> str:
    bare = [part if part.replace("-", "").replace("_", "").isalnum() else f'"{part}"' for part in parts]
    return ".".join(bare)


_NAMES = {
    dict: "a table",
    list: "an array",
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "a boolean",
}


def invalid_value(expected: str, value: object) -> InvalidValue:
    shown = "" if isinstance(value, dict | list) else f" {value!r}"
    return InvalidValue(f"expected {expected}, not {_NAMES.get(type(value), 'a date or time')}{shown}")


def string(value: object, _: object) -> str:
    if isinstance(value, str) and "\0" not in value:
        return value
    raise invalid_value("a string", value)


def integer(value: object, _: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise invalid_value("a whole number", value)


def number(value: object, _: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise invalid_value("a number", value)


def boolean(value: object, _: object) -> bool:
    if isinstance(value, bool):
        return value
    raise invalid_value("true or false", value)


def choice(value: object, kind: type[enum.Enum]) -> enum.Enum:
    choices = [choice.value for choice in kind]
    if value in choices:
        return kind(value)
    raise invalid_value(f"one of {', '.join(choices)}", value)


def strings(value: object, _: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise invalid_value("an array of strings", value)
    return tuple(string(item, str) for item in value)


def string_table(value: object, _: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise invalid_value("a table", value)
    for key, item in value.items():
        if not isinstance(item, str) or not key or "=" in key or "\0" in key + item:
            raise InvalidValue(f"{key!r}: " + str(invalid_value("a string", item)))
    return dict(value)


def command(value: object, _: object) -> tuple[str, ...]:
    if not isinstance(value, str | list):
        raise invalid_value("a command: a string, or an array of strings", value)
    try:
        words = tuple(shlex.split(value)) if isinstance(value, str) else strings(value, str)
    except ValueError as error:
        raise InvalidValue(f"expected a command, but {value!r} has {str(error).lower()}") from error
    if not words or not words[0]:
        raise InvalidValue(f"expected a command, not the empty {value!r}")
    return words


def register(converter: cattrs.Converter, cls: type, structured: Callable[[Any, Any], Any]) -> None:
    """Register `cls` so that something else than a table is told as such, and not as missing keys."""

    def hook(value: Any, kind: Any) -> Any:
        if not isinstance(value, dict):
            raise invalid_value("a table", value)
        return structured(value, kind)

    converter.register_structure_hook(cls, hook)
