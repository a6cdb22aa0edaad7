"""What a client gets of an agent's logins, how an error says to log in, and which account an agent names."""

from __future__ import annotations

from typing import Any

import pytest

from trio_broker.protocol import jsonrpc
from trio_broker.protocol.auth_methods import (
    LOGIN_VARIABLE,
    LoginHelp,
    TerminalMethod,
    account_texts,
    error_for_client,
    offered_methods,
    terminal_methods,
)
from trio_broker.protocol.jsonrpc import Message

Json = dict[str, Any]
AGENT: Json = {"id": "a", "name": "A"}
TERMINAL: Json = {"id": "t", "name": "T", "type": "terminal", "args": ["login"], "env": {"X": "1"}}
ABLE: Json = {"auth": {"terminal": True}}


@pytest.mark.parametrize(
    ("fields", "runs"),
    [
        ({}, True),
        ({"args": None, "env": None}, True),
        ({"args": "login"}, False),
        ({"args": [5]}, False),
        ({"args": ["a\0b"]}, False),
        ({"env": ["X"]}, False),
        ({"env": {"X": 1}}, False),
        ({"id": 5}, False),
        ({"type": "agent"}, False),
    ],
)
def test_a_login_with_other_arguments_than_texts_is_not_run(fields: Json, runs: bool) -> None:
    assert bool(terminal_methods([5, TERMINAL | fields])) is runs


def test_a_login_has_what_the_agent_adds_to_its_command() -> None:
    assert terminal_methods([AGENT, TERMINAL]) == [TerminalMethod("t", "T", ("login",), {"X": "1"})]
    assert terminal_methods(None) == terminal_methods({}) == []


@pytest.mark.parametrize("client", [{}, {"auth": None}, {"auth": {"terminal": "yes"}}, {"auth": []}])
def test_a_client_without_a_terminal_gets_no_login_in_one(client: Json) -> None:
    assert offered_methods([AGENT, 5, TERMINAL], client) == [AGENT]
    assert offered_methods("odd", client) == []


def test_a_client_with_a_terminal_gets_a_login_by_its_own_command_for_the_broker() -> None:
    agent, terminal = offered_methods([AGENT, TERMINAL], ABLE)
    assert agent == AGENT
    assert terminal == TERMINAL | {"args": [], "env": {LOGIN_VARIABLE: "t"}}


def reply(error: object) -> Message:
    return jsonrpc.parse_envelope(jsonrpc.error_response(b"1", jsonrpc.encode(error)).rstrip())


def error_of(message: Message) -> Json:
    found: Json = jsonrpc.decode(message.error or b"null")
    return found


def test_an_error_that_demands_a_login_says_how_to_log_in() -> None:
    help = LoginHelp((AGENT, TERMINAL), "trio-broker agents login x")
    explained = help.explain(reply({"code": -32000, "message": "No login"}))
    assert explained.id == b"1"
    assert error_of(explained) == {
        "code": -32000,
        "message": "No login (to log in: `trio-broker agents login x`)",
        "data": {"authMethods": [AGENT, TERMINAL]},
    }
    kept = error_of(help.explain(reply({"code": -32000, "message": 5, "data": {"why": 1}})))
    assert kept["data"] == {"why": 1} and kept["message"].startswith("Authentication required (to")


@pytest.mark.parametrize(
    ("methods", "error"),
    [
        ((), {"code": -32000, "message": "No login"}),
        ((TERMINAL,), {"code": -32603, "message": "No login"}),
        ((TERMINAL,), "odd"),
    ],
)
def test_any_other_error_is_left_as_it_is(methods: tuple[Json, ...], error: object) -> None:
    message = reply(error)
    assert LoginHelp(methods, "x").explain(message) is message


def test_an_error_that_python_cannot_hold_is_left_as_it_is() -> None:
    message = jsonrpc.parse_envelope(b'{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"data":1e999}}')
    assert LoginHelp((TERMINAL,), "x").explain(message) is message
    raw = b'{"code":-32000,"message":"m","data":{"authMethods":[],"n":1e999}}'
    assert error_for_client(raw, {}) == raw


def test_an_error_lists_the_methods_that_the_client_can_use() -> None:
    raw = jsonrpc.encode({"code": -32000, "message": "m", "data": {"authMethods": [AGENT, TERMINAL], "n": 1}})
    assert jsonrpc.decode(error_for_client(raw, {}))["data"] == {"authMethods": [AGENT], "n": 1}
    assert len(jsonrpc.decode(error_for_client(raw, ABLE))["data"]["authMethods"]) == 2
    other = raw.replace(b"-32000", b"-32603")
    assert error_for_client(other, {}) is other


@pytest.mark.parametrize(
    ("said", "texts"),
    [
        ({"state": "authenticated", "accounts": [{"label": "Max", "email": "me@x"}]}, ["Max, me@x"]),
        ({"accounts": [{"label": "A"}, {"label": "B", "active": True}]}, ["B"]),
        ({"accounts": [{"label": 5}, 5, " me "]}, ["me"]),
        ({"_meta": {"x": {"email": "me@x"}}}, ["me@x"]),
        ({"agentInfo": {"name": "agent", "version": "1"}}, []),
        ({"_meta": {"account": {"organization": "Org"}}}, ["Org"]),
        ({"a": {"b": {"c": {"d": {"email": "too deep"}}}}}, []),
        ({}, []),
        (None, []),
        ("me", []),
    ],
)
def test_an_account_is_what_the_agent_names(said: object, texts: list[str]) -> None:
    assert account_texts(said) == texts
