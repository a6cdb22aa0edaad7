"""Between raw JSON and the models of `acp`: the one place that knows cattrs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, get_origin

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from trio_broker.errors import BadMessage
from trio_broker.protocol.jsonrpc import INVALID_PARAMS, decode

T = TypeVar("T")


def structure(raw: bytes, cls: type[T]) -> T:
    """Raw JSON as a model. Raises BadMessage (-32602) that names every field which does not fit."""
    try:
        return _converter.structure(decode(raw), cls)
    except (cattrs.BaseValidationError, TypeError, ValueError) as error:
        sentence = cattrs.transform_error(error, path="params")
        raise BadMessage("; ".join(map(_by_wire_name, sentence)), rpc_code=INVALID_PARAMS) from error


def unstructure(value: Any) -> dict[str, Any]:
    """A model as JSON values, in camel case, without the optional fields that are not set."""
    unstructured: dict[str, Any] = _converter.unstructure(value)
    return unstructured


def _by_wire_name(sentence: str) -> str:
    """cattrs names our attributes; whoever sent the message knows its members only."""
    sentence, at, path = sentence.rpartition(" @ ")
    return sentence + at + ".".join(_camel(name) for name in path.split("."))


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.title() for word in rest)


def _exactly(cls: type[T]) -> Callable[[object, object], T]:
    """cattrs converts by calling the type, which turns 5 into "5": the wire takes no such liberties."""

    def hook(value: object, _: object) -> T:
        if type(value) is not cls:
            raise TypeError(f"expected {cls.__name__}, not {type(value).__name__}")
        return value

    return hook


def _structure_fn(cls: type[Any]) -> Callable[[Any, Any], Any]:
    fields: dict[str, Any] = {field.name: _override(field) for field in attrs.fields(cls)}
    structured = make_dict_structure_fn(cls, _converter, **fields)

    def hook(value: Any, kind: Any) -> Any:
        if not isinstance(value, dict):
            raise TypeError(f"expected an object, not {type(value).__name__}")
        return structured({key: item for key, item in value.items() if item is not None}, kind)

    return hook


def _override(field: attrs.Attribute[Any]) -> Any:
    hook = _lenient(field) if field.metadata.get("lenient") else None
    return override(rename=_camel(field.name), struct_hook=hook)


def _lenient(field: attrs.Attribute[Any]) -> Callable[[Any, Any], Any]:
    def hook(value: Any, kind: Any) -> Any:
        try:
            return _converter.structure(value, kind)
        except (cattrs.BaseValidationError, TypeError, ValueError):
            return getattr(field.default, "factory", lambda: field.default)()

    return hook


def _unstructure_fn(cls: type[Any]) -> Callable[[Any], dict[str, Any]]:
    fields: dict[str, Any] = {field.name: override(rename=_camel(field.name)) for field in attrs.fields(cls)}
    return make_dict_unstructure_fn(cls, _converter, _cattrs_omit_if_default=True, **fields)


def _is_object(kind: Any) -> bool:
    return get_origin(kind) is dict


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is list


def _list_hook(value: Any, kind: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"expected list, not {type(value).__name__}")
    return [_converter.structure(item, kind.__args__[0]) for item in value]


_converter = cattrs.Converter()
_converter.register_structure_hook(str, _exactly(str))
_converter.register_structure_hook(int, _exactly(int))
_converter.register_structure_hook(bool, _exactly(bool))
_converter.register_structure_hook_func(_is_object, _exactly(dict))
_converter.register_structure_hook_func(_is_list, _list_hook)
_converter.register_structure_hook_factory(attrs.has, _structure_fn)
_converter.register_unstructure_hook_factory(attrs.has, _unstructure_fn)
