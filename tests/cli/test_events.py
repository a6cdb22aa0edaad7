"""Events and updates of a session in words."""

from __future__ import annotations

from typing import Any

import pytest

from trio_broker.cli.events import ask_text, child_text, content_text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"type": "text", "text": "hi"}, "hi"),
        ({"type": "resource_link", "uri": "file:///a"}, "<resource_link file:///a>"),
        ({"type": "resource", "resource": {"uri": "file:///b"}}, "<resource file:///b>"),
        ({"type": "image", "mimeType": "image/png"}, "<image image/png>"),
        ({}, "<content >"),
        ("no block", ""),
    ],
)
def test_a_block_that_is_no_text_is_told_by_its_kind_and_name(content: object, text: str) -> None:
    assert content_text(content) == text


@pytest.mark.parametrize(
    ("event", "command"),
    [
        ({"method": "session/request_permission", "params": {}}, "allow"),
        ({"method": "elicitation/create", "params": {"mode": "form"}}, "answer"),
        ({"method": "elicitation/create", "params": {"mode": "url"}}, "allow"),
    ],
)
def test_an_ask_names_the_command_that_answers_it(event: dict[str, Any], command: str) -> None:
    text = ask_text(event | {"askId": "3-17", "title": "What\x1b?"})
    assert text == f"What\\x1b?: `trio-broker {command} 3-17`, or deny"


@pytest.mark.parametrize(
    ("update", "text"),
    [
        ({"sessionUpdate": "tool_call", "toolCallId": "1", "title": "ls\x1b"}, "c: ls\\x1b (pending)"),
        (
            {"sessionUpdate": "tool_call_update", "toolCallId": "1", "status": "completed"},
            "c: 1 (completed)",
        ),
        ({"sessionUpdate": "tool_call_update", "toolCallId": "1", "status": "in_progress"}, None),
        ({"sessionUpdate": "agent_message_chunk"}, None),
        (5, None),
    ],
)
def test_of_a_child_its_tool_calls_are_shown(update: object, text: str | None) -> None:
    assert child_text({"childSessionId": "c", "params": {"update": update}}) == text
