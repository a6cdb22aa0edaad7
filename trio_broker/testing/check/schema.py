"""What the published schema of ACP v1 says of one value, in sentences for whoever wrote the agent.

`schema/acp-v1.json` is that schema without its prose (Apache License 2.0, beside it). It is read by ourselves, so that
`pip install trio-broker` is all a check needs; jsonschema would bring four packages, one of them compiled, for the ten
keywords that this schema has, and says of a union only that none of its parts fits. tests/testing/check/test_schema.py
holds the two together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

Schema = Mapping[str, Any]
SCHEMA_FILE = Path(__file__).parent / "schema" / "acp-v1.json"
MAX_SHOWN = 60  # characters of a value that does not fit
TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "number": (int, float),
    "integer": int,
}


@cache
def definitions() -> Mapping[str, Schema]:
    """The types of the schema, by name."""
    found: Mapping[str, Schema] = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))["$defs"]
    return found


@cache
def methods(side: str, kind: str) -> Mapping[str, str]:
    """Method to the name of its type. `side` handles it, agent or client; `kind`: Request, Response, Notification."""
    return {
        schema["x-method"]: name
        for name, schema in definitions().items()
        if schema.get("x-side") in (side, "protocol") and name.endswith(kind)
    }


def problems(value: object, name: str) -> list[str]:
    """What is wrong with a value of that type, each with the place where; empty if it fits."""
    return list(_problems(value, definitions()[name], ""))


def _problems(value: object, schema: Schema, at: str) -> Iterator[str]:
    if "$ref" in schema:
        yield from _problems(value, definitions()[schema["$ref"].rpartition("/")[2]], at)
    if "type" in schema and not _has_type(value, schema["type"]):
        yield _located(at, f"{_short(value)} is no {_type_names(schema['type'])}")
        return  # the rest would say so too
    if "const" in schema and not _equal(value, schema["const"]):
        yield _located(at, f"{_short(value)} is not {_short(schema['const'])}")
    if "enum" in schema and not any(_equal(value, one) for one in schema["enum"]):
        yield _located(at, f"{_short(value)} is none of {', '.join(map(_short, schema['enum']))}")
    yield from _in_bounds(value, schema, at)
    if isinstance(value, dict):
        yield from _in_object(value, schema, at)
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from _problems(item, schema["items"], f"{at}[{index}]")
    yield from _in_unions(value, schema, at)


def _in_bounds(value: object, schema: Schema, at: str) -> Iterator[str]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value < schema.get("minimum", value):
            yield _located(at, f"{value} is less than {schema['minimum']}")
        if value > schema.get("maximum", value):
            yield _located(at, f"{value} is more than {schema['maximum']}")
    if isinstance(value, str) and len(value) < schema.get("minLength", 0):
        yield _located(at, f"{_short(value)} is too short")


def _in_object(value: dict[str, object], schema: Schema, at: str) -> Iterator[str]:
    for name in schema.get("required", ()):
        if name not in value:
            yield _located(at, f"{name} is missing")
    known = schema.get("properties", {})
    more = schema.get("additionalProperties", True)
    for name, item in value.items():
        if name in known:
            yield from _problems(item, known[name], f"{at}.{name}" if at else name)
        elif isinstance(more, dict):
            yield from _problems(item, more, f"{at}.{name}" if at else name)
        elif not more:
            yield _located(at, f"{name} is not allowed here")


def _in_unions(value: object, schema: Schema, at: str) -> Iterator[str]:
    for part in schema.get("allOf", ()):
        yield from _problems(value, part, at)
    if "not" in schema and not list(_problems(value, schema["not"], at)):
        yield _located(at, f"{_short(value)} is what it must not be")
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            found = [list(_problems(value, part, at)) for part in schema[keyword]]
            fitting = sum(not one for one in found)
            if not fitting:
                yield from _nearest(value, schema, schema[keyword], found, at)
            elif fitting > 1 and keyword == "oneOf":
                yield _located(at, f"{_short(value)} fits {fitting} types that exclude each other")


def _nearest(
    value: object, schema: Schema, parts: Sequence[Schema], found: Sequence[list[str]], at: str
) -> Iterator[str]:
    """The problems of the part that was meant: that of the tag, else the one with the fewest."""
    tag = schema.get("discriminator", {}).get("propertyName")
    if tag is None or not isinstance(value, dict):
        constants = [part["const"] for part in parts if "const" in part]
        if len(constants) == len(parts):
            yield _located(at, f"{_short(value)} is none of {', '.join(map(_short, constants))}")
        else:
            yield from min(found, key=len)
        return
    tags = [part.get("properties", {}).get(tag, {}).get("const") for part in parts]
    if value.get(tag) in tags:
        yield from found[tags.index(value[tag])]
    else:
        word = f"{tag} is missing" if tag not in value else f"{_short(value[tag])} is no {tag} of ACP v1"
        yield _located(at, f"{word}; there are {', '.join(str(one) for one in tags if one)}")


def _has_type(value: object, type_name: str | Sequence[str]) -> bool:
    if not isinstance(type_name, str):
        return any(_has_type(value, one) for one in type_name)
    if type_name == "null":
        return value is None
    if isinstance(value, bool):
        return type_name == "boolean"
    if type_name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, TYPES[type_name])


def _equal(value: object, constant: object) -> bool:
    return value == constant and isinstance(value, bool) == isinstance(constant, bool)


def _type_names(types: str | Sequence[str]) -> str:
    return types if isinstance(types, str) else " or ".join(types)


def _located(at: str, what: str) -> str:
    return f"{at}: {what}" if at else what


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"
