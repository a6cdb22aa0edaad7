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

Problem = tuple[str, str]  # the dotted key, and what is wrong with it
MISSING = {  # what has no default
    "command": 'a command, as in command = "my-agent --acp"',
    "action": 'what to do, as in action = "ask"; allow and deny are the others',
}


def at_least(default: Any, least: float, *, above: bool = False) -> Any:
    """A field whose number is finite and at least (or `above`) `least`; `out_of_range` holds it to that."""
    return attrs.field(default=default, metadata={"least": least, "above": above})


class Unfit(Exception):
    """A value that does not fit; the text says what was expected and what is there."""


def problems(error: BaseException, where: tuple[str, ...]) -> Iterator[Problem]:
    """What cattrs' tree of errors says, flat."""
    match error:
        case ForbiddenExtraKeysError():
            known = [field.name for field in attrs.fields(error.cl)]
            for key in sorted(error.extra_fields):
                yield dotted(*where, key), f"unknown key; {_near(key, known)}"
        case ClassValidationError() | IterableValidationError():
            for inner in error.exceptions:
                yield from problems(inner, where + _step(inner))
        case KeyError():
            yield dotted(*where), f"is missing; expected {MISSING[where[-1]]}"
        case _:
            yield dotted(*where), str(error)


def _step(error: BaseException) -> tuple[str, ...]:
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return (note.name,)
        if isinstance(note, IterableValidationNote):
            return (str(note.index),)
    return ()


def _near(key: str, known: list[str]) -> str:
    found = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {found[0]}?" if found else f"expected one of {', '.join(known)}"


def dotted(*parts: str) -> str:
    bare = [part if part.replace("-", "").replace("_", "").isalnum() else f'"{part}"' for part in parts]
    return ".".join(bare)


def out_of_range(table: Any, where: tuple[str, ...]) -> Iterator[Problem]:
    """The numbers of a table, an instance of an attrs class, that are not as `at_least` wants them."""
    for field in attrs.fields(type(table)):
        value, least = getattr(table, field.name), field.metadata.get("least")
        if value is None or least is None:
            continue
        above = field.metadata["above"]
        if not (value > least if above else value >= least) or value in (float("inf"),):
            words = "above" if above else "of at least"
            yield dotted(*where, field.name), f"expected a finite number {words} {least}, not {value}"


_NAMES = {
    dict: "a table",
    list: "an array",
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "a boolean",
}


def unfit(expected: str, value: object) -> Unfit:
    shown = "" if isinstance(value, dict | list) else f" {value!r}"
    return Unfit(f"expected {expected}, not {_NAMES.get(type(value), 'a date or time')}{shown}")


def string(value: object, _: object) -> str:
    if isinstance(value, str) and "\0" not in value:
        return value
    raise unfit("a string", value)


def integer(value: object, _: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise unfit("a whole number", value)


def number(value: object, _: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise unfit("a number", value)


def boolean(value: object, _: object) -> bool:
    if isinstance(value, bool):
        return value
    raise unfit("true or false", value)


def choice(value: object, kind: type[enum.Enum]) -> enum.Enum:
    choices = [choice.value for choice in kind]
    if value in choices:
        return kind(value)
    raise unfit(f"one of {', '.join(choices)}", value)


def strings(value: object, _: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise unfit("an array of strings", value)
    return tuple(string(item, str) for item in value)


def string_table(value: object, _: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise unfit("a table", value)
    for key, item in value.items():
        if not isinstance(item, str) or not key or "=" in key or "\0" in key + item:
            raise Unfit(f"{key!r}: " + str(unfit("a string", item)))
    return dict(value)


def command(value: object, _: object) -> tuple[str, ...]:
    if not isinstance(value, str | list):
        raise unfit("a command: a string, or an array of strings", value)
    try:
        words = tuple(shlex.split(value)) if isinstance(value, str) else strings(value, str)
    except ValueError as error:
        raise Unfit(f"expected a command, but {value!r} has {str(error).lower()}") from error
    if not words or not words[0]:
        raise Unfit(f"expected a command, not the empty {value!r}")
    return words


def register(converter: cattrs.Converter, cls: type, structured: Callable[[Any, Any], Any]) -> None:
    """Register `cls` so that something else than a table is told as such, and not as missing keys."""

    def hook(value: Any, kind: Any) -> Any:
        if not isinstance(value, dict):
            raise unfit("a table", value)
        return structured(value, kind)

    converter.register_structure_hook(cls, hook)
