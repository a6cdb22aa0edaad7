"""Every message of ACP, one example a file in golden/, against the published schema and through what the broker has.

A file is one frame, named after its definition in the schema, and after its variant where it has some:
`SessionNotification.tool_call.json`. Each has all members of its definition, `_meta` among them, and one that no schema
knows. What the broker does with them on the way is in tests/behaviour/test_messages_pass_through.py.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import attrs
import pytest
from jsonschema import Draft202012Validator

from trio_broker.protocol import acp, jsonrpc
from trio_broker.protocol.codec import structure, unstructure
from trio_broker.protocol.jsonrpc import Kind, Message

HERE = Path(__file__).parent
DEFS = json.loads((HERE / "schema" / "schema.json").read_text(encoding="utf-8"))["$defs"]
FILES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((HERE / "golden").glob("*.json"))}
MESSAGES = {name: shape["x-method"] for name, shape in DEFS.items() if "x-method" in shape}
MODELS = {cls.__name__: cls for cls in vars(acp).values() if isinstance(cls, type) and attrs.has(cls)}
KINDS = {"Request": Kind.REQUEST, "Response": Kind.RESPONSE, "Notification": Kind.NOTIFICATION}

each_file = pytest.mark.parametrize("name", FILES)


def definition(name: str) -> str:
    return name.partition(".")[0]


def line_of(name: str) -> bytes:
    """The frame as it stands in the file, on one line: every other byte is as it was."""
    return " ".join(map(str.strip, FILES[name].splitlines())).encode()


def body_of(message: Message) -> bytes:
    return message.params if message.result is None else message.result


def test_every_message_of_the_schema_has_a_file_and_every_file_a_message() -> None:
    assert {definition(name) for name in FILES} == MESSAGES.keys()


def test_every_kind_of_update_has_a_file() -> None:
    kinds = {one["properties"]["sessionUpdate"]["const"] for one in DEFS["SessionUpdate"]["oneOf"]}
    assert {f"SessionNotification.{kind}" for kind in kinds} <= FILES.keys()


@each_file
def test_it_is_what_the_schema_says(name: str) -> None:
    frame, of = json.loads(FILES[name]), definition(name)
    body = frame["result"] if "result" in frame else frame["params"]
    validator = Draft202012Validator({"$ref": f"#/$defs/{of}", "$defs": DEFS})
    assert [error.message for error in validator.iter_errors(body)] == []
    assert frame["jsonrpc"] == "2.0" and frame.get("method", MESSAGES[of]) == MESSAGES[of]
    assert DEFS[of].get("properties", {}).keys() <= body.keys()
    assert "exampleNew" in body and "_meta" in body


@each_file
def test_its_envelope_is_read_and_the_rest_stays_byte_for_byte(name: str) -> None:
    line, frame = line_of(name), json.loads(FILES[name])
    message = jsonrpc.parse_envelope(line)
    assert message.raw == line
    assert message.kind is next(kind for word, kind in KINDS.items() if definition(name).endswith(word))
    assert message.id == (b"7" if "id" in frame else None) and message.method == frame.get("method")
    assert line.endswith(body_of(message) + b" }")
    assert message.session_id == frame.get("params", {}).get("sessionId")
    assert jsonrpc.decode(body_of(message)) == frame.get("params", frame.get("result"))


@each_file
def test_it_goes_out_again_with_its_body_byte_for_byte(name: str) -> None:
    message = jsonrpc.parse_envelope(line_of(name))
    made: dict[Kind, Callable[[], bytes]] = {
        Kind.REQUEST: lambda: jsonrpc.request(8, message.method or "", message.params),
        Kind.NOTIFICATION: lambda: jsonrpc.notification(message.method or "", message.params),
        Kind.RESPONSE: lambda: jsonrpc.response(b'"8"', message.result or b""),
    }
    again = made[message.kind]()
    assert again.endswith(body_of(message) + b"}\n")
    assert json.loads(again) == json.loads(FILES[name]) | {
        Kind.REQUEST: {"id": 8}, Kind.NOTIFICATION: {}, Kind.RESPONSE: {"id": "8"}
    }[message.kind]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in FILES if definition(name) in MODELS])
def test_a_model_keeps_what_it_has_and_all_that_is_in_it(name: str) -> None:
    body, cls = body_of(jsonrpc.parse_envelope(line_of(name))), MODELS[definition(name)]
    told = unstructure(structure(body, cls))
    assert told == kept(json.loads(body), cls)
    assert structure(jsonrpc.encode(told), cls) == structure(body, cls)


def test_every_model_of_a_message_is_tried() -> None:
    parts = {"Implementation", "SessionInfo", "PermissionOption", "EnvVariable"}  # of messages that are
    assert {definition(name) for name in FILES} & MODELS.keys() == MODELS.keys() - parts


def kept(value: Any, cls: Any) -> Any:
    """What a model of JSON keeps: the members that it has, and whole whatever is no model."""
    if isinstance(cls, types.UnionType):
        [cls] = [one for one in get_args(cls) if one is not type(None)]
    if isinstance(value, list):
        return [kept(item, *get_args(cls)) for item in value]
    if not attrs.has(cls):
        return value
    names = {jsonrpc_name(name): hint for name, hint in get_type_hints(cls).items()}
    return {name: kept(value[name], hint) for name, hint in names.items()}


def jsonrpc_name(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(map(str.capitalize, rest))
