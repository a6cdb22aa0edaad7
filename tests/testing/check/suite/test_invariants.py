"""Each check of all messages finds the fault that is planted for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio.testing

from trio_broker.testing.check import Check, Direction, Frame, Verdict
from trio_broker.testing.check.conversation import Conversation, Json, line_of
from trio_broker.testing.check.suite import invariants
from trio_broker.transport.base import NdjsonTransport

AssertFound = Callable[[Check], Awaitable[None]]
AssertVerdict = Callable[[str, Verdict, str], Awaitable[None]]


@pytest.mark.process
@pytest.mark.parametrize("check", invariants.CHECKS, ids=lambda check: check.id)
async def test_a_planted_fault_is_found(check: Check, assert_found: AssertFound) -> None:
    await assert_found(check)


@pytest.mark.process
async def test_a_question_without_options_is_found(assert_verdict: AssertVerdict) -> None:
    await assert_verdict("ask.options/none", Verdict.FAIL, "a question without options")


def conversation(*messages: tuple[Direction, Json]) -> Conversation:
    """One that went so, and is over."""
    frames = [Frame(0.0, direction, line_of(message), message) for direction, message in messages]
    nobody = NdjsonTransport(trio.testing.memory_stream_pair()[0])
    return Conversation(nobody, 1.0, started_at=0.0, frames=frames)


def after_initialize(capabilities: object, method: str, **params: object) -> Conversation:
    offered = {"protocolVersion": 1, "clientCapabilities": capabilities}
    return conversation(
        (Direction.SENT, {"id": 1, "method": "initialize", "params": offered}),
        (Direction.RECEIVED, {"id": 1, "method": method, "params": params}),
    )


@pytest.mark.parametrize(
    ("capabilities", "method", "params", "need"),
    [
        ({}, "session/request_permission", {}, ""),
        ({}, "_x/unknown", {}, ""),
        ({}, "fs/read_text_file", {}, "fs.readTextFile"),
        ({"fs": {"readTextFile": True}}, "fs/read_text_file", {}, ""),
        ({"fs": {"readTextFile": True}}, "fs/write_text_file", {}, "fs.writeTextFile"),
        ({"fs": {"writeTextFile": False}}, "fs/write_text_file", {}, "fs.writeTextFile"),
        ({"terminal": True}, "terminal/create", {}, ""),
        ({"terminal": False}, "terminal/kill", {}, "terminal"),
        ({"terminal": None}, "terminal/release", {}, "terminal"),
        ({"elicitation": {"form": {}}}, "elicitation/create", {"mode": "form"}, ""),
        ({"elicitation": {"form": {}}}, "elicitation/create", {"mode": "url"}, "elicitation.url"),
        ({"elicitation": {"form": None}}, "elicitation/create", {"mode": "form"}, "elicitation.form"),
        ({"elicitation": {}}, "elicitation/create", {"mode": "form"}, "elicitation.form"),
        ({"elicitation": {}}, "elicitation/create", {"mode": "_dance"}, ""),
        (None, "terminal/output", {}, "terminal"),
    ],
)
def test_a_request_needs_the_capability_that_the_client_has_offered(
    capabilities: object, method: str, params: Json, need: str
) -> None:
    found = invariants.capabilities(after_initialize(capabilities, method, **params))
    words = f"it sent {method}, which needs {need}, and this client does not offer that"
    assert found == (words if need else "")


def test_a_second_initialize_offers_anew() -> None:
    first = after_initialize({"terminal": True}, "terminal/create")
    second = after_initialize({}, "terminal/create")
    assert invariants.capabilities(first) == ""
    first.frames += second.frames
    assert "needs terminal" in invariants.capabilities(first)


def update(tag: str, id: str, session: str = "s", **fields: object) -> tuple[Direction, Json]:
    params = {"sessionId": session, "update": {"sessionUpdate": tag, "toolCallId": id, **fields}}
    return Direction.RECEIVED, {"method": "session/update", "params": params}


def question(id: str, session: str = "s", **fields: object) -> tuple[Direction, Json]:
    params = {"sessionId": session, "toolCall": {"toolCallId": id, **fields}}
    return Direction.RECEIVED, {"id": 1, "method": "session/request_permission", "params": params}


@pytest.mark.parametrize(
    ("messages", "is_kept"),
    [
        ([question("a", title="Edit it")], True),
        ([update("tool_call", "a", title="Edit it"), question("a")], True),
        ([update("tool_call_update", "a", title="Edit it"), question("a")], True),
        ([question("a", title="Edit it"), question("a")], True),
        ([question("a")], False),
        ([question("a", title=None, kind="edit")], False),
        ([update("tool_call", "b", title="Edit it"), question("a")], False),
        ([update("tool_call", "a", session="t", title="Edit it"), question("a")], False),
        ([question("a"), update("tool_call", "a", title="Edit it")], False),
        ([update("tool_call_update", "a", status="pending"), question("a")], False),
        ([update("plan", "a", title="no tool call"), question("a")], False),
    ],
)
def test_a_question_is_about_what_was_announced_or_says_what_it_is_about(
    messages: list[tuple[Direction, Json]], is_kept: bool
) -> None:
    found = invariants.tool_calls(conversation(*messages))
    assert (found == "") is is_kept
    assert is_kept or found.startswith(
        "a question about a tool call that was not announced, and has no title: "
    )
