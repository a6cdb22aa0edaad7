"""The schema inside the package is the published one, and what is found wrong is what jsonschema finds."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
from jsonschema import Draft202012Validator

from trio_broker.testing.check import schema

PUBLISHED = json.loads(
    (Path(__file__).parents[2] / "protocol/schema/schema.json").read_text(encoding="utf-8")
)
PROSE = ("description", "title", "default")
KEPT = ("x-side", "x-method")


def without_prose(value: Any, *, names: bool = False) -> Any:
    """What is there for people and generators is left out; `names`: these keys are of properties, not of the schema."""
    if isinstance(value, list):
        return [without_prose(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: without_prose(item, names=key in ("properties", "$defs") and not names)
        for key, item in value.items()
        if names or not (key in PROSE or (key.startswith("x-") and key not in KEPT))
    }


def test_it_is_the_published_one_without_its_prose() -> None:
    assert schema.definitions() == without_prose(PUBLISHED)["$defs"], (
        "write it anew: see write() in this file"
    )


def write() -> None:
    """Make the package's copy anew after tests/protocol/schema was: a type a line, so that a change can be read."""
    types = without_prose(PUBLISHED)["$defs"].items()
    lines = [f"{json.dumps(name)}: {json.dumps(one, separators=(',', ':'))}" for name, one in types]
    schema.SCHEMA_FILE.write_text('{"$defs": {\n' + ",\n".join(lines) + "\n}}\n", encoding="utf-8")


TEXT = {"type": "text", "text": "hello"}
CALL = {
    "toolCallId": "1",
    "title": "Read",
    "kind": "read",
    "status": "pending",
    "locations": [{"path": "/a", "line": 1}],
}
DIFF = {"type": "diff", "path": "/a", "oldText": None, "newText": "b"}
OPTION = {"optionId": "yes", "name": "Yes", "kind": "allow_once"}
SELECT = {
    "id": "m",
    "name": "Model",
    "type": "select",
    "currentValue": "a",
    "options": [{"value": "a", "name": "A"}],
}
FORM = {"type": "object", "properties": {"n": {"type": "string", "default": "x"}}, "required": ["n"]}
GOOD: list[tuple[str, Any]] = [
    (
        "SessionNotification",
        {"sessionId": "s", "update": {"sessionUpdate": "agent_message_chunk", "content": TEXT}},
    ),
    (
        "SessionNotification",
        {"sessionId": "s", "update": {"sessionUpdate": "tool_call", **CALL, "content": [DIFF]}},
    ),
    (
        "SessionNotification",
        {"sessionId": "s", "update": {"sessionUpdate": "usage_update", "used": 1, "size": 2}},
    ),
    ("RequestPermissionRequest", {"sessionId": "s", "toolCall": CALL, "options": [OPTION]}),
    (
        "InitializeResponse",
        {
            "protocolVersion": 1,
            "agentCapabilities": {"loadSession": True},
            "authMethods": [{"id": "a", "name": "b"}],
        },
    ),
    ("NewSessionResponse", {"sessionId": "s", "configOptions": [SELECT], "modes": None}),
    ("PromptResponse", {"stopReason": "end_turn"}),
    ("ListSessionsResponse", {"sessions": [{"sessionId": "s", "cwd": "/"}], "nextCursor": None}),
    (
        "CreateElicitationRequest",
        {"sessionId": "s", "mode": "form", "message": "?", "requestedSchema": FORM},
    ),
    ("Error", {"code": -32601, "message": "no", "data": [1]}),
]
ODD = st.sampled_from(
    [None, True, 0, -1, 1.0, 1.5, 2**70, "", "x", [], {}, [1], {"type": "text"}, ["s", "s"]]
)


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": PUBLISHED["$defs"]})


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_what_fits_has_no_problem(name: str, value: Any) -> None:
    assert schema.problems(value, name) == []
    assert validator(name).is_valid(value)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places(item, (*at, key))
    return found


@hypothesis.given(data=st.data(), example=st.sampled_from(GOOD))
@hypothesis.settings(max_examples=400)
def test_what_jsonschema_finds_wrong_is_found_wrong(data: st.DataObject, example: tuple[str, Any]) -> None:
    name, value = example[0], copy.deepcopy(example[1])
    *way, last = data.draw(st.sampled_from(places(value)[1:]))
    inner = value
    for key in way:
        inner = inner[key]
    if data.draw(st.booleans()):
        del inner[last]
    else:
        inner[last] = data.draw(ODD)
    assert bool(schema.problems(value, name)) == (not validator(name).is_valid(value)), value


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PromptResponse", {"stopReason": "done"}, 'stopReason: "done" is none of "end_turn", '),
        ("PromptResponse", {}, "stopReason is missing"),
        (
            "SessionNotification",
            {"sessionId": "s", "update": {"sessionUpdate": "shout"}},
            'update: "shout" is no sessionUpdate of ACP v1; there are user_message_chunk, ',
        ),
        (
            "SessionNotification",
            {"sessionId": "s", "update": {"sessionUpdate": "tool_call", "toolCallId": "1"}},
            "update: title is missing",
        ),
        (
            "RequestPermissionRequest",
            {"sessionId": 1, "toolCall": CALL, "options": [OPTION]},
            "sessionId: 1 is no string",
        ),
        (
            "RequestPermissionRequest",
            {"sessionId": "s", "toolCall": CALL, "options": [{**OPTION, "kind": "maybe"}]},
            'options[0].kind: "maybe" is none of "allow_once"',
        ),
    ],
)
def test_a_problem_says_where_and_what(name: str, value: Any, says: str) -> None:
    assert schema.problems(value, name)[0].startswith(says)


def test_methods_know_their_types() -> None:
    assert schema.methods("client", "Request")["session/request_permission"] == "RequestPermissionRequest"
    assert schema.methods("client", "Notification")["session/update"] == "SessionNotification"
    assert schema.methods("agent", "Response")["session/prompt"] == "PromptResponse"
