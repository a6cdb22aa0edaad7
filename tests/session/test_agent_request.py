"""One question of an agent: what counts as an answer, and what the agent is told without one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trio_broker.errors import AgentGone, Misuse
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import METHOD_NOT_FOUND, parse_envelope
from trio_broker.session.agent_request import (
    CANCELLED_CALL,
    ELICITATION,
    PERMISSION,
    AgentRequest,
    malformed_reason,
)

OPTIONS = [
    {"optionId": "yes", "name": "Yes", "kind": "allow_once"},
    {"optionId": "no", "name": "No", "kind": "reject_once"},
]
TOOL = {"toolCallId": "t", "title": "Edit it", "kind": "edit"}
UNKNOWN = "x/question"


def asked(method: str, **params: Any) -> AgentRequest:
    line = jsonrpc.request(1, method, jsonrpc.encode(params))
    return AgentRequest(parse_envelope(line), jsonrpc.encode(params), id="1-2", opened_at=0.0)


def permission(options: object = OPTIONS, **more: Any) -> AgentRequest:
    return asked(PERMISSION, **{"sessionId": "s", "toolCall": TOOL, "options": options, **more})


def reply(result: object) -> jsonrpc.Message:
    return parse_envelope(jsonrpc.response(b"1", jsonrpc.encode(result)))


def outcome(**fields: object) -> dict[str, object]:
    return {"outcome": fields}


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (outcome(outcome="selected", optionId="yes"), ("selected", "yes")),
        (outcome(outcome="cancelled"), ("cancelled", None)),
        (outcome(outcome="selected", optionId="other"), None),
        (outcome(outcome="selected", optionId=["yes"]), None),
        (outcome(outcome="chosen", optionId="yes"), None),
        ({"outcome": "selected"}, None),
        ([], None),
        (None, None),
    ],
)
def test_only_an_offered_option_or_a_cancel_answers_a_permission(result: object, expected: object) -> None:
    answer = permission().parse_reply(reply(result))
    assert (None if answer is None else (answer.outcome, answer.option_id)) == expected


@pytest.mark.parametrize(("method", "known"), [(PERMISSION, True), (ELICITATION, True), (UNKNOWN, False)])
def test_an_error_answers_only_what_the_broker_does_not_know(method: str, known: bool) -> None:
    error = jsonrpc.error_object(-1, "no")
    answer = asked(method, options=[]).parse_reply(parse_envelope(jsonrpc.error_response(b"1", error)))
    assert (answer is None) is known and (answer is None or answer.error == error)
    assert asked(method).parse_reply(AgentGone("it left")) is None


def test_any_action_answers_an_elicitation() -> None:
    form = asked(ELICITATION, sessionId="s", mode="form", message="Which?")
    accepted = form.parse_reply(reply({"action": "accept", "content": {"a": 1}}))
    assert accepted is not None and accepted.outcome == "accept" and not accepted.dismisses
    closed = form.parse_reply(reply({"action": "cancel"}))
    assert closed is not None and closed.dismisses
    assert form.parse_reply(reply({"action": 3})) is None and form.parse_reply(reply([])) is None


def test_a_person_decides_by_the_kinds_of_the_options() -> None:
    assert permission().decide(allow=True, always=False).option_id == "yes"
    assert permission().decide(allow=False, always=False).option_id == "no"
    assert permission(OPTIONS[:1]).decide(allow=False, always=False).outcome == "cancelled"
    with pytest.raises(Misuse, match=r"no option to allow always; it offers yes \(Yes, allow_once\), no"):
        permission().decide(allow=True, always=True)
    with pytest.raises(Misuse, match="offers no option 'other'") as caught:
        permission().choose("other")
    assert caught.value.details == {"askId": "1-2", "options": OPTIONS}


def test_a_form_is_accepted_with_its_fields_only() -> None:
    form = asked(ELICITATION, sessionId="s", mode="form")
    with pytest.raises(Misuse, match=r"params\.content"):
        form.decide(allow=True, always=False)
    accepted = form.decide(allow=True, always=False, content={"a": 1})
    assert json.loads(accepted.result) == {"action": "accept", "content": {"a": 1}}
    assert json.loads(form.decide(allow=False, always=False).result) == {"action": "decline"}
    with pytest.raises(Misuse, match="only the client that was asked"):
        asked(UNKNOWN).decide(allow=True, always=False)


def test_a_single_choice_is_chosen_by_its_options_and_converted_back() -> None:
    schema = {"properties": {"ok": {"type": "boolean"}}}
    form = asked(ELICITATION, sessionId="s", mode="form", message="Go on?", requestedSchema=schema)
    assert [option["optionId"] for option in form.options] == ["true", "false", "decline"]
    sent = json.loads(form.as_permission("public"))
    assert (sent["sessionId"], sent["toolCall"]["toolCallId"]) == ("public", "elicitation-1-2")
    accepted = form.parse_reply(reply(outcome(outcome="selected", optionId="false")), PERMISSION)
    assert accepted is not None and (accepted.outcome, accepted.option_id) == ("accept", "false")
    assert json.loads(accepted.result) == {"action": "accept", "content": {"ok": False}}
    declined = form.parse_reply(reply(outcome(outcome="selected", optionId="decline")), PERMISSION)
    assert declined is not None and json.loads(declined.result) == {"action": "decline"}
    closed = form.parse_reply(reply(outcome(outcome="cancelled")), PERMISSION)
    assert closed is not None and closed.dismisses and json.loads(closed.result) == {"action": "cancel"}
    assert form.parse_reply(reply(outcome(outcome="selected", optionId="other")), PERMISSION) is None
    assert form.parse_reply(reply(outcome(outcome="selected", optionId="true"))) is None, "asked as a form"
    with pytest.raises(Misuse, match="offers no option 'yes'; it offers true"):
        form.choose("yes")


def test_closing_a_question_is_no_decision() -> None:
    assert json.loads(asked(ELICITATION, mode="url").dismiss().result) == {"action": "cancel"}
    assert permission().dismiss().outcome == "cancelled"
    with pytest.raises(Misuse, match="only the client that was asked"):
        asked(UNKNOWN).dismiss()


def test_a_refusal_and_a_withdrawal_fit_the_kind_of_the_question() -> None:
    assert permission().refusal("expired").option_id == "no"
    assert permission(OPTIONS[:1]).refusal().outcome == "cancelled"
    assert asked(ELICITATION).refusal("expired").outcome == "expired"
    refused, withdrawn = asked(UNKNOWN).refusal(), asked(UNKNOWN).withdrawal()
    assert json.loads(refused.error or b"")["code"] == METHOD_NOT_FOUND
    assert json.loads(withdrawn.error or b"")["code"] == CANCELLED_CALL
    assert {asked(method, options=[]).withdrawal().outcome for method in (PERMISSION, ELICITATION)} == {
        "withdrawn"
    }


@pytest.mark.parametrize(
    ("more", "number"), [({"requestId": 7}, 7), ({"requestId": True}, 0), ({}, 0), ({"sessionId": "s"}, None)]
)
def test_an_elicitation_outside_a_session_belongs_to_a_request(
    more: dict[str, Any], number: int | None
) -> None:
    assert asked(ELICITATION, **more).request_number == number
    assert asked(UNKNOWN, **more).request_number is None


def test_a_malformed_permission_has_a_reason_and_a_title() -> None:
    broken = permission(toolCall=[], options=[{"optionId": 1}])
    assert "params.toolCall" in (malformed_reason(broken) or "") and malformed_reason(permission()) is None
    assert (broken.title, broken.kind) == ("a tool call", None)
    assert (permission().title, permission().kind) == ("Edit it", "edit")
    assert asked(ELICITATION, message=3).title == ELICITATION
