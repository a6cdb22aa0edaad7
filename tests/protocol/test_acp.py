from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from trio_broker.errors import BadMessage
from trio_broker.protocol import acp
from trio_broker.protocol.codec import structure, unstructure
from trio_broker.protocol.jsonrpc import INVALID_PARAMS, PARSE_ERROR, decode, encode

SCHEMA = json.loads(Path(__file__).with_name("schema").joinpath("schema.json").read_text(encoding="utf-8"))
DEFS = SCHEMA["$defs"]

RECEIVED: list[type[Any]] = [
    acp.Implementation,
    acp.InitializeRequest,
    acp.InitializeResponse,
    acp.NewSessionRequest,
    acp.NewSessionResponse,
    acp.PromptRequest,
    acp.PromptResponse,
    acp.CancelNotification,
    acp.CloseSessionRequest,
    acp.ListSessionsRequest,
    acp.PermissionOption,
    acp.RequestPermissionRequest,
]
SENT: list[type[Any]] = [acp.SessionInfo, acp.ListSessionsResponse]
MODELS = [pytest.param(cls, id=cls.__name__) for cls in RECEIVED + SENT]


def wire_name(name: str) -> str:
    return re.sub("_([a-z])", lambda found: found[1].upper(), name)


def errors(name: str, value: object) -> list[str]:
    validator = Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": DEFS})
    return [error.message for error in validator.iter_errors(value)]


def test_every_model_is_here() -> None:
    found = {value for value in vars(acp).values() if isinstance(value, type) and attrs.has(value)}
    assert found == {*RECEIVED, *SENT}


class TestAgainstThePublishedSchema:
    def test_the_schema_is_one(self) -> None:
        Draft202012Validator.check_schema(SCHEMA)

    @pytest.mark.parametrize("cls", MODELS)
    def test_every_field_is_in_the_schema(self, cls: type[Any]) -> None:
        assert {wire_name(field.name) for field in attrs.fields(cls)} <= DEFS[cls.__name__][
            "properties"
        ].keys()

    @pytest.mark.parametrize("cls", MODELS)
    def test_what_we_require_is_required(self, cls: type[Any]) -> None:
        ours = {wire_name(field.name) for field in attrs.fields(cls) if field.default is attrs.NOTHING}
        assert ours <= set(DEFS[cls.__name__].get("required", []))

    @pytest.mark.parametrize("cls", [pytest.param(cls, id=cls.__name__) for cls in RECEIVED])
    def test_we_are_lenient_where_the_schema_is(self, cls: type[Any]) -> None:
        properties = DEFS[cls.__name__]["properties"]
        for field in attrs.fields(cls):
            told = properties[wire_name(field.name)].get("x-deserialize-default-on-error", False)
            assert field.metadata.get("lenient", False) == told, field.name

    def test_what_we_say_at_initialize_is_valid(self) -> None:
        request = acp.InitializeRequest(
            acp.PROTOCOL_VERSION,
            acp.AGENT_FACING_CAPABILITIES,
            acp.Implementation("trio-broker", "1", "trio-broker"),
        )
        assert errors("InitializeRequest", unstructure(request)) == []
        assert errors("ClientCapabilities", acp.AGENT_FACING_CAPABILITIES) == []

    @pytest.mark.parametrize(
        "sessions",
        [
            [],
            [acp.SessionInfo("s1", "/srv")],
            [acp.SessionInfo("s1", "/srv", "A title"), acp.SessionInfo("\ud800", "/", "")],
        ],
    )
    @pytest.mark.parametrize("cursor", [None, "next"])
    def test_a_list_of_sessions_is_valid(self, sessions: list[acp.SessionInfo], cursor: str | None) -> None:
        told = unstructure(acp.ListSessionsResponse(sessions, cursor))
        assert errors("ListSessionsResponse", told) == []
        assert [errors("SessionInfo", session) for session in told["sessions"]] == [[] for _ in sessions]

    @pytest.mark.parametrize("outcome", [acp.CANCELLED, acp.selected("allow"), acp.selected("")])
    def test_a_permission_outcome_is_valid(self, outcome: acp.Object) -> None:
        assert errors("RequestPermissionOutcome", outcome) == []
        assert errors("RequestPermissionResponse", {"outcome": outcome}) == []

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("InitializeRequest", {}),
            ("InitializeRequest", {"protocolVersion": "1"}),
            ("ListSessionsResponse", {}),
            ("SessionInfo", {"session_id": "s1", "cwd": "/"}),
            ("RequestPermissionOutcome", {"outcome": "selected"}),
            ("RequestPermissionOutcome", {"outcome": "canceled"}),
        ],
    )
    def test_the_schema_would_find_our_mistakes(self, name: str, value: object) -> None:
        assert errors(name, value)


class TestStructure:
    def test_a_whole_message(self) -> None:
        raw = b"""{"sessionId": "s", "toolCall": {"toolCallId": "t", "x": [null]}, "_meta": {}, "new": 1,
            "options": [{"optionId": "o", "name": "Allow", "kind": "allow_once", "_meta": null}]}"""
        assert structure(raw, acp.RequestPermissionRequest) == acp.RequestPermissionRequest(
            "s", {"toolCallId": "t", "x": [None]}, [acp.PermissionOption("o", "Allow", "allow_once")]
        )

    def test_null_is_absent(self) -> None:
        assert structure(
            b'{"protocolVersion":1,"agentCapabilities":null,"authMethods":null}', acp.InitializeResponse
        ) == acp.InitializeResponse(1)
        assert structure(b'{"cwd":null,"cursor":null}', acp.ListSessionsRequest) == acp.ListSessionsRequest()

    @pytest.mark.parametrize(
        ("raw", "model"),
        [
            (b'{"protocolVersion":1,"agentCapabilities":[]}', acp.InitializeResponse(1)),
            (b'{"protocolVersion":1,"authMethods":{}}', acp.InitializeResponse(1)),
            (b'{"protocolVersion":1,"authMethods":[{},5]}', acp.InitializeResponse(1)),
            (b'{"protocolVersion":1,"agentInfo":"me"}', acp.InitializeResponse(1)),
            (b'{"protocolVersion":1,"clientInfo":{"name":"me"}}', acp.InitializeRequest(1)),
            (
                b'{"protocolVersion":1,"clientInfo":{"name":"me","version":"1","title":5}}',
                acp.InitializeRequest(1, client_info=acp.Implementation("me", "1")),
            ),
            (b'{"sessionId":"s","modes":5,"configOptions":[1]}', acp.NewSessionResponse("s")),
        ],
    )
    def test_a_lenient_field_of_a_wrong_type_is_absent(self, raw: bytes, model: object) -> None:
        assert structure(raw, type(model)) == model

    def test_defaults_are_not_shared(self) -> None:
        one, two = (structure(b'{"protocolVersion":1,"authMethods":5}', acp.InitializeResponse) for _ in "ab")
        assert one.auth_methods is not two.auth_methods

    @pytest.mark.parametrize(
        ("raw", "cls", "told"),
        [
            (b"{}", acp.InitializeRequest, ["required field missing @ params.protocolVersion"]),
            (b'{"protocolVersion":null}', acp.InitializeRequest, ["missing @ params.protocolVersion"]),
            (b'{"protocolVersion":"1"}', acp.InitializeRequest, ["expected int @ params.protocolVersion"]),
            (b'{"protocolVersion":true}', acp.InitializeRequest, ["expected int @ params.protocolVersion"]),
            (b'{"protocolVersion":1.0}', acp.InitializeRequest, ["expected int @ params.protocolVersion"]),
            (b'{"sessionId":5}', acp.CancelNotification, ["expected str @ params.sessionId"]),
            (b'{"session_id":"s"}', acp.CancelNotification, ["missing @ params.sessionId"]),
            (b"[]", acp.PromptRequest, ["expected an object, not list", "@ params"]),
            (b"null", acp.PromptRequest, ["expected an object, not NoneType"]),
            (
                b'{"prompt":"hello"}',
                acp.PromptRequest,
                ["@ params.sessionId", "expected list @ params.prompt"],
            ),
            (b'{"sessionId":"s","prompt":[5]}', acp.PromptRequest, ["@ params.prompt"]),
            (b'{"cwd":5}', acp.ListSessionsRequest, ["@ params.cwd"]),
            (
                b'{"cwd":"/","mcpServers":{},"additionalDirectories":[1]}',
                acp.NewSessionRequest,
                ["@ params.mcpServers", "@ params.additionalDirectories"],
            ),
            (
                b'{"sessionId":"s","toolCall":[],"options":[{"name":1,"kind":"k"}]}',
                acp.RequestPermissionRequest,
                ["expected dict @ params.toolCall", "@ params.options.optionId", "@ params.options.name"],
            ),
        ],
    )
    def test_every_field_that_does_not_fit_is_named(
        self, raw: bytes, cls: type[Any], told: list[str]
    ) -> None:
        with pytest.raises(BadMessage) as caught:
            structure(raw, cls)
        assert caught.value.rpc_code == INVALID_PARAMS
        assert [part for part in told if part not in str(caught.value)] == []

    @pytest.mark.parametrize("raw", [b"", b"{", b'{"cwd":"\xff"}', b'{"cwd":NaN}'])
    def test_what_is_no_json_races_c15(self, raw: bytes) -> None:
        with pytest.raises(BadMessage) as caught:
            structure(raw, acp.NewSessionRequest)
        assert caught.value.rpc_code == PARSE_ERROR


text = st.text(st.characters() | st.sampled_from("\ud83d"), max_size=5)
leaves = st.none() | st.booleans() | st.integers() | text
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3), max_leaves=6
)
names = sorted({wire_name(field.name) for cls in RECEIVED for field in attrs.fields(cls)})
objects = st.recursive(
    st.dictionaries(st.sampled_from(names), values),
    lambda inner: st.dictionaries(st.sampled_from(names), inner | st.lists(inner, max_size=2) | values),
    max_leaves=4,
)


@given(st.sampled_from(RECEIVED), st.binary() | (objects | values).map(encode))
def test_structure_raises_bad_message_only_races_c14_c15(cls: type[Any], raw: bytes) -> None:
    try:
        model = structure(raw, cls)
    except BadMessage as error:
        assert error.rpc_code in (PARSE_ERROR, INVALID_PARAMS)
        assert "_" not in "".join(re.findall(r"@ (\S+)", str(error)))
    else:
        assert structure(encode(unstructure(model)), cls) == model


plain = st.text(max_size=5)
infos = st.builds(acp.SessionInfo, plain, plain, st.none() | plain)


@given(st.builds(acp.ListSessionsResponse, st.lists(infos, max_size=3), st.none() | plain))
def test_structure_undoes_unstructure(response: acp.ListSessionsResponse) -> None:
    told = unstructure(response)
    assert errors("ListSessionsResponse", told) == []
    assert None not in told.values()
    assert structure(encode(told), acp.ListSessionsResponse) == response
    assert decode(encode(told)) == told
