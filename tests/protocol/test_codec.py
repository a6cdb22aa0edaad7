"""Between raw JSON and the models of ACP: strict where the protocol is, lenient where it is."""

from __future__ import annotations

import re
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.errors import BadMessage
from trio_broker.protocol import acp
from trio_broker.protocol.codec import structure, unstructure
from trio_broker.protocol.jsonrpc import INVALID_PARAMS, PARSE_ERROR, encode

SENT = (acp.SessionInfo, acp.ListSessionsResponse)
RECEIVED = [
    value
    for value in vars(acp).values()
    if isinstance(value, type) and attrs.has(value) and value not in SENT
]


def wire_name(name: str) -> str:
    return re.sub("_([a-z])", lambda found: found[1].upper(), name)


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
            (b'{"sessionId":5}', acp.NewSessionResponse, ["expected str @ params.sessionId"]),
            (b'{"session_id":"s"}', acp.NewSessionResponse, ["missing @ params.sessionId"]),
            (b"[]", acp.NewSessionRequest, ["expected an object, not list", "@ params"]),
            (b"null", acp.NewSessionRequest, ["expected an object, not NoneType"]),
            (
                b'{"options":"hello"}',
                acp.RequestPermissionRequest,
                ["@ params.sessionId", "expected list @ params.options"],
            ),
            (
                b'{"sessionId":"s","toolCall":{},"options":[5]}',
                acp.RequestPermissionRequest,
                ["@ params.options"],
            ),
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
