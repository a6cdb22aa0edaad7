"""The questions of the scripted agent, over real pipes: its announcements, its requests, and what follows an answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from trio_broker.testing.processes.agent_process import (
    AgentProcess,
    Json,
    open_scripted_agent,
    said,
    stop_reason,
    updates,
)

Validator = Callable[[str], Draft202012Validator]
OTHER_TYPES = {"count": "integer", "ratio": "number", "force": "boolean", "tags": "array"}


@pytest.mark.parametrize(
    ("outcome", "word"),
    [({"outcome": "selected", "optionId": "always"}, "always"), ({"outcome": "cancelled"}, "cancelled")],
)
@pytest.mark.parametrize("act", ["ask edit it", "collide", "string-id-ask"])
def test_an_ask_says_what_was_chosen(act: str, outcome: Json, word: str, validator: Validator) -> None:
    with open_scripted_agent() as agent:
        agent.start()
        prompt = agent.prompt(act)
        ask = agent.message()
        assert ask["method"] == "session/request_permission"
        assert (ask["id"] == prompt) == (act == "collide")
        assert isinstance(ask["id"], str) == (act == "string-id-ask")
        validator("RequestPermissionRequest").validate(ask["params"])
        agent.send(id=ask["id"], result={"outcome": outcome})
        assert said(agent.until(prompt)) == word


def test_an_elicitation_says_what_came_back(validator: Validator) -> None:
    with open_scripted_agent() as agent:
        agent.start()
        prompt = agent.prompt("elicit")
        asked = agent.message()
        validator("CreateElicitationRequest").validate(asked["params"])
        agent.send(id=asked["id"], result={"action": "decline"})
        assert said(agent.until(prompt)) == '{"action": "decline"}'


def test_an_unknown_request_says_the_error() -> None:
    with open_scripted_agent() as agent:
        agent.start()
        prompt = agent.prompt("unknown-request")
        asked = agent.message()
        assert asked["method"] == "_x/unknown"
        agent.send(id=asked["id"], error={"code": -32601, "message": "no"})
        assert said(agent.until(prompt)) == "error -32601"


def choose(option: str) -> Callable[[Json], Json]:
    """The answer of a person who takes this option."""
    return lambda _: {"result": {"outcome": {"outcome": "selected", "optionId": option}}}


def reply(**result: object) -> Callable[[Json], Json]:
    return lambda _: {"result": result}


def tool_updates(messages: list[Json]) -> list[Json]:
    return [one for one in updates(messages) if one["sessionUpdate"].startswith("tool_call")]


def test_a_request_by_id_alone_has_been_announced_in_full(validator: Validator) -> None:
    with open_scripted_agent() as agent:
        agent.start()
        messages, [asked] = agent.exchange("ask-by-id rm -r build", choose("allow"))
    announced, finished = tool_updates(messages)
    validator("RequestPermissionRequest").validate(asked["params"])
    assert asked["params"]["toolCall"] == {"toolCallId": announced["toolCallId"]}
    assert (announced["title"], announced["kind"]) == ("rm -r build", "execute")
    assert announced["rawInput"] == {"command": "rm -r build"}
    assert (finished["toolCallId"], finished["status"]) == (announced["toolCallId"], "completed")
    assert said(messages) == "allow"


@pytest.mark.parametrize(
    ("act", "kind", "title"),
    [
        ("ask-by-id delete the cache", "delete", "the cache"),
        ("ask-by-id other things", "other", "things"),
        ("ask-by-id read", "execute", "read"),
        ("ask-by-id ls -l", "execute", "ls -l"),
    ],
)
def test_the_kind_of_a_request_by_id_is_its_first_word(act: str, kind: str, title: str) -> None:
    with open_scripted_agent() as agent:
        agent.start()
        messages, _ = agent.exchange(act, choose("reject"))
    announced, finished = tool_updates(messages)
    assert (announced["kind"], announced["title"], finished["status"]) == (kind, title, "failed")
    assert ("rawInput" in announced) == (kind == "execute")


@pytest.mark.parametrize(
    ("act", "kinds", "members"),
    [
        ("ask-short touch x", ["execute"], {"title": "Bash"}),
        ("ask-as read execute x", ["read"], {"title": "x", "kind": "execute"}),
        ("ask-as execute read x", ["execute"], {"title": "x", "kind": "read"}),
        ("ask-updated read execute x", ["read", "execute"], {}),
    ],
)
def test_the_request_may_say_less_or_otherwise_than_what_was_announced(
    act: str, kinds: list[str], members: Json, validator: Validator
) -> None:
    with open_scripted_agent() as agent:
        agent.start()
        messages, [asked] = agent.exchange(act, choose("always"))
    *announced, _ = tool_updates(messages)
    validator("RequestPermissionRequest").validate(asked["params"])
    assert [one["kind"] for one in announced] == kinds
    assert asked["params"]["toolCall"] == {"toolCallId": announced[0]["toolCallId"], **members}
    assert tool_updates(messages)[-1]["status"] == "completed"


def test_a_request_may_have_any_tool_call() -> None:
    with open_scripted_agent() as agent:
        agent.start()
        given = {"title": 5, "rawInput": {"command": ["a", {"b": "x; y"}]}, "content": "no list"}
        text = json.dumps(given).replace(";", r"\u003b")
        _, [asked] = agent.exchange(f"ask-raw {text}", choose("allow"))
        assert asked["params"]["toolCall"] == {**given, "toolCallId": "call-1"}
        _, [asked] = agent.exchange('ask-raw {"toolCallId": 7}', choose("allow"))
        assert asked["params"]["toolCall"] == {"toolCallId": 7}
        _, [asked] = agent.exchange("ask-raw null", choose("allow"))
        assert asked["params"]["toolCall"] is None


def test_the_options_may_be_others_for_the_rest_of_the_session() -> None:
    options = [
        {"optionId": "a", "name": "This file", "kind": "allow_once"},
        {"optionId": "b", "name": "This folder", "kind": "allow_once"},
    ]
    with open_scripted_agent() as agent:
        agent.start()
        agent.turn(f"options {json.dumps(options)}")
        messages, [one, other] = agent.exchange("ask-by-id x; ask y", choose("b"))
    assert one["params"]["options"] == other["params"]["options"] == options
    assert (said(messages), tool_updates(messages)[-1]["status"]) == ("bb", "completed")


def test_many_requests_are_open_together(validator: Validator) -> None:
    with open_scripted_agent() as agent:
        agent.start()
        prompt = agent.prompt("ask-many 3 edit it")
        asked = [agent.message() for _ in range(3)]
        titles = [one["params"]["toolCall"]["title"] for one in asked]
        assert titles == ["edit it 1", "edit it 2", "edit it 3"]
        assert len({one["params"]["toolCall"]["toolCallId"] for one in asked}) == 3
        for one, option in zip(reversed(asked), ["reject", "always", "allow"], strict=True):
            validator("RequestPermissionRequest").validate(one["params"])
            agent.send(id=one["id"], **choose(option)(one))
        assert said(agent.until(prompt)) == "allow, always, reject"


def test_a_child_asks_under_an_id_of_its_own(validator: Validator) -> None:
    with open_scripted_agent() as agent:
        agent.start()
        messages, [asked] = agent.exchange("ask-child edit it", choose("allow"))
        validator("RequestPermissionRequest").validate(asked["params"])
        of_child = [one for one in messages if one.get("params", {}).get("sessionId") == "child-1"]
        tags = [one["sessionUpdate"] for one in updates(of_child)]
        assert tags == ["tool_call", "tool_call_update", "agent_message_chunk"]
        assert asked in of_child and agent.session != "child-1"
        assert said([one for one in messages if one not in of_child]) == "allow"


@pytest.mark.parametrize(
    ("act", "fields", "required"),
    [
        ("elicit-choice", {"color": "string"}, ["color"]),
        ("elicit-boolean", {"go": "boolean"}, ["go"]),
        (
            "elicit-form",
            {**dict.fromkeys(("name", "color", "size"), "string"), **OTHER_TYPES},
            ["name", "force"],
        ),
    ],
)
def test_a_form_has_fields_of_all_types(
    act: str, fields: dict[str, str], required: list[str], validator: Validator
) -> None:
    with open_scripted_agent() as agent:
        agent.start()
        messages, [asked] = agent.exchange(act, reply(action="accept", content={"x": 1}))
    validator("CreateElicitationRequest").validate(asked["params"])
    schema = asked["params"]["requestedSchema"]
    assert {name: one["type"] for name, one in schema["properties"].items()} == fields
    assert schema["required"] == required
    assert json.loads(said(messages)) == {"action": "accept", "content": {"x": 1}}


@pytest.mark.parametrize("action", ["accept", "decline"])
def test_a_url_is_complete_once_it_was_accepted(action: str, validator: Validator) -> None:
    with open_scripted_agent() as agent:
        agent.start()
        messages, [asked] = agent.exchange("elicit-url https://example.org/login", reply(action=action))
    validator("CreateElicitationRequest").validate(asked["params"])
    assert asked["params"]["url"] == "https://example.org/login"
    complete = [one["params"] for one in messages if one.get("method") == "elicitation/complete"]
    ids = [one["elicitationId"] for one in complete]
    assert ids == ([asked["params"]["elicitationId"]] if action == "accept" else [])


def test_an_elicitation_may_have_any_params() -> None:
    with open_scripted_agent() as agent:
        agent.start()
        error = {"code": -32602, "message": "no"}
        messages, [asked] = agent.exchange('elicit-raw {"mode": "dance"}', lambda _: {"error": error})
        assert asked["params"] == {"mode": "dance", "sessionId": agent.session}
        assert said(messages) == "error -32602"


@pytest.mark.parametrize(
    ("capabilities", "method"),
    [
        ({"elicitation": {"form": {}}}, "elicitation/create"),
        ({"elicitation": {"form": None}}, "session/request_permission"),
        ({"elicitation": {"url": {}}}, "session/request_permission"),
        ({"elicitation": None}, "session/request_permission"),
        ({}, "session/request_permission"),
    ],
)
def test_a_person_is_asked_by_what_the_client_offers(
    capabilities: Json, method: str, validator: Validator
) -> None:
    def answer(asked: Json) -> Json:
        if asked["method"] == "elicitation/create":
            validator("CreateElicitationRequest").validate(asked["params"])
            assert asked["params"]["message"] == "Which color?"
            return reply(action="accept", content={"answer": "blue"})(asked)
        validator("RequestPermissionRequest").validate(asked["params"])
        assert asked["params"]["toolCall"]["title"] == "Which color?"
        assert [one["optionId"] for one in asked["params"]["options"]] == ["red", "green", "blue"]
        return choose("blue")(asked)

    with open_scripted_agent() as agent:
        agent.start(capabilities=capabilities)
        messages, [asked] = agent.exchange("ask-user Which color?", answer)
        assert (asked["method"], said(messages)) == (method, "blue")


@pytest.mark.parametrize("action", ["decline", "cancel"])
def test_a_person_may_not_answer(action: str) -> None:
    with open_scripted_agent() as agent:
        agent.start(capabilities={"elicitation": {"form": {}}})
        messages, _ = agent.exchange("ask-user Which color?", reply(action=action))
        assert said(messages) == action


def ask_and_cancel(agent: AgentProcess, act: str) -> list[Json]:
    prompt = agent.prompt(act)
    while (asked := agent.message()).get("method") != "session/request_permission":
        pass
    agent.cancel()
    agent.send(id=asked["id"], result={"outcome": {"outcome": "cancelled"}})
    return agent.until(prompt)


@pytest.mark.parametrize("act", ["ask-by-id x", "ask-short x", "ask-child x", "ask-many 1 x", "ask-edit f x"])
def test_a_turn_that_is_cancelled_at_a_question_ends_as_cancelled(act: str, tmp_path: Path) -> None:
    with open_scripted_agent() as agent:
        agent.start(str(tmp_path))
        rest = ask_and_cancel(agent, f"{act}; say never")
    assert stop_reason(rest) == "cancelled"
    assert "never" not in said(rest) and [one["status"] for one in tool_updates(rest)] == ["failed"] * (
        "many" not in act
    )
    assert not (tmp_path / "f").exists()
