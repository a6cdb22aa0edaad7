"""Errors keep their class, text and details on the way through JSON-RPC."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_broker import errors
from trio_broker.errors import AgentGone, BadMessage, Busy, RemoteError, SessionOver, from_rpc

CLIENT_SIDE = {
    "BrokerError",
    "BadMessage",
    "RemoteError",
    "NoBroker",
    "BrokerGone",
    "BrokerRuns",
    "CallCancelled",
}
KINDS = [
    one
    for one in vars(errors).values()
    if isinstance(one, type) and issubclass(one, errors.BrokerError) and one.__name__ not in CLIENT_SIDE
]


def object_of(error: errors.BrokerError) -> dict[str, Any]:
    return {"code": error.rpc_code, "message": error.message, "data": error.data()}


def test_codes_are_unique() -> None:
    assert len({kind.code for kind in KINDS}) == len(KINDS) > 10


@pytest.mark.parametrize("kind", [pytest.param(one, id=one.__name__) for one in KINDS])
def test_an_error_of_the_broker_is_the_same_class_at_the_client(kind: type[errors.BrokerError]) -> None:
    found = from_rpc(object_of(kind("what happened", key="k", number=3)))
    assert type(found) is kind and found.message == str(found) == "what happened"
    assert found.details == {"key": "k", "number": 3} and found.rpc_code == kind.rpc_code


def test_the_code_of_the_object_wins_over_that_of_the_class() -> None:
    found = from_rpc({"code": -1, "message": "m", "data": {"kind": "busy"}})
    assert isinstance(found, Busy) and found.rpc_code == -1 and Busy("m").rpc_code == -32603


def test_a_detail_named_message_does_not_replace_the_message() -> None:
    found = from_rpc({"code": 1, "message": "m", "data": {"kind": "busy", "message": "other", "x": 1}})
    assert (found.message, found.details) == ("m", {"x": 1})


@pytest.mark.parametrize("data", [None, "text", 3, ["busy"], {}, {"kind": "of_tomorrow"}, {"kind": ["busy"]}])
def test_an_error_of_another_program_is_kept_whole(data: object) -> None:
    found = from_rpc({"code": -32000, "message": "log in", "data": data})
    assert isinstance(found, RemoteError)
    assert (found.rpc_code, found.message, found.data()) == (-32000, "log in", data)


values = st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)


@given(st.dictionaries(st.sampled_from(["code", "message", "data", "x"]), values))
def test_any_object_is_an_error(found: dict[str, Any]) -> None:
    error = from_rpc(found)
    assert error.message == found.get("message") or not isinstance(found.get("message"), str)
    assert error.rpc_code == found.get("code") or not isinstance(found.get("code"), int)


def test_a_bad_message_keeps_the_id_and_the_code_it_is_given() -> None:
    error = BadMessage("no", rpc_code=-32700, id=b"7", at=3)
    assert (error.rpc_code, error.id) == (-32700, b"7") and error.data() == {"kind": "bad_message", "at": 3}
    assert BadMessage("no").rpc_code == -32600


def test_the_end_of_an_agent_is_an_end_of_its_session() -> None:
    with pytest.raises(SessionOver):
        raise AgentGone("it died", exitCode=1)
