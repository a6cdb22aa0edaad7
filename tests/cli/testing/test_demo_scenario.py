"""The play of the demo: one line of output for each thing said, and a cancel that lets the queue run."""

from __future__ import annotations

import re
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_broker.cli.testing.demo_scenario import APPLY, DemoScenario
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import Message, parse_envelope
from trio_broker.testing.in_process.memory_agent import OPTIONS


def update(**fields: Any) -> Message:
    params = {"sessionId": "s", "update": fields}
    return parse_envelope(jsonrpc.notification("session/update", jsonrpc.encode(params)))


def chunk(text: str) -> Message:
    return update(sessionUpdate="agent_message_chunk", content={"type": "text", "text": text})


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What was printed, without the times."""
    return [re.sub(r"^ *\d+\.\ds ", "", line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def scenario() -> DemoScenario:
    return DemoScenario(names={"s": "build"}, started_at=0.0)


async def test_words_are_put_together_until_a_tool_or_the_end(  # noqa: ASYNC124  # it reads Trio's clock
    scenario: DemoScenario, capsys: pytest.CaptureFixture[str]
) -> None:
    for message in (
        chunk("one "),
        chunk("two"),
        update(sessionUpdate="tool_call", toolCallId="t", title="Build it", status="pending"),
        update(sessionUpdate="tool_call_update", toolCallId="t", status="in_progress"),
        chunk("three"),
    ):
        scenario.on_message(message)
    assert lines(capsys) == ["build  | one two", "build  | [tool] Build it: in progress"]
    scenario.flush("build")
    scenario.flush("build")
    assert lines(capsys) == ["build  | three"]


async def test_a_question_is_shown_and_answered_after_a_moment(
    scenario: DemoScenario, capsys: pytest.CaptureFixture[str], autojump_clock: MockClock
) -> None:
    params = {"sessionId": "s", "toolCall": {"toolCallId": "t", "title": "Edit it"}, "options": OPTIONS}
    line = jsonrpc.request(1, "session/request_permission", jsonrpc.encode(params))
    began = trio.current_time()
    assert await scenario.on_request(parse_envelope(line)) == APPLY
    assert trio.current_time() - began == 1
    assert lines(capsys)[0] == "build  | [asks] Edit it?"


async def test_the_place_in_the_queue_is_shown(  # noqa: ASYNC124  # it reads Trio's clock
    scenario: DemoScenario, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("started", "queued"):
        assert not scenario.queued.is_set()
        scenario.event({"kind": kind, "sessionId": "s", "position": 1})
    assert scenario.queued.is_set() and lines(capsys) == ["build  | [queued] 1 before this one"]


async def test_no_escape_of_an_agent_reaches_the_terminal(  # noqa: ASYNC124  # it reads Trio's clock
    scenario: DemoScenario, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario.print_line("build", "\x1b[2Jgone")
    assert "\x1b" not in capsys.readouterr().out
