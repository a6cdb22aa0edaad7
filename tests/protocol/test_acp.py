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

from trio_broker.protocol import acp
from trio_broker.protocol.codec import structure, unstructure
from trio_broker.protocol.jsonrpc import decode, encode

SCHEMA = json.loads(Path(__file__).with_name("schema").joinpath("schema.json").read_text(encoding="utf-8"))
DEFS = SCHEMA["$defs"]

RECEIVED: list[type[Any]] = [
    acp.Implementation,
    acp.InitializeRequest,
    acp.InitializeResponse,
    acp.NewSessionRequest,
    acp.NewSessionResponse,
    acp.ListSessionsRequest,
    acp.PermissionOption,
    acp.RequestPermissionRequest,
    acp.EnvVariable,
    acp.CreateTerminalRequest,
    acp.TerminalOutputRequest,
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


plain = st.text(max_size=5)
infos = st.builds(acp.SessionInfo, plain, plain, st.none() | plain)


@given(st.builds(acp.ListSessionsResponse, st.lists(infos, max_size=3), st.none() | plain))
def test_structure_undoes_unstructure(response: acp.ListSessionsResponse) -> None:
    told = unstructure(response)
    assert errors("ListSessionsResponse", told) == []
    assert None not in told.values()
    assert structure(encode(told), acp.ListSessionsResponse) == response
    assert decode(encode(told)) == told
