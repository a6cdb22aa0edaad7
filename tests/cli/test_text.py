"""Text as the commands print it: lengths of time, columns, and what an agent's blocks and tool calls look like."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trio_broker.cli.daily.render import renderer
from trio_broker.cli.events import content_text
from trio_broker.cli.output import format_duration, table
from trio_broker.wire.jsonrpc import peek

Json = dict[str, Any]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0, "0.0s"), (4.21, "4.2s"), (60, "1m00s"), (190, "3m10s"), (7500.9, "2h05m")],
)
def test_a_length_of_time_is_told_in_its_two_largest_units(seconds: float | None, text: str) -> None:
    assert format_duration(seconds) == text


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table(["A", "LONG"], [["wide", "x"], ["", "y"]]) == "A     LONG\nwide  x\n      y"


def test_columns_line_up_whatever_the_width_of_a_character() -> None:
    told = table(["A", "B"], [["会話/日本", "x"], ["e\u0301te\u0301", "y"], ["🎉", "z"]])
    assert told == "A          B\n会話/日本  x\ne\u0301te\u0301        y\n🎉         z"


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


def shown(style: str, capsys: pytest.CaptureFixture[str], *params: object) -> str:
    view = renderer(style)
    for one in params:
        line = json.dumps({"jsonrpc": "2.0", "method": "session/update", "params": one})
        view.message(peek(line.encode()))
    view.end("end_turn")
    return capsys.readouterr().out


def update(**fields: object) -> Json:
    return {"sessionId": "s", "update": fields}


def test_a_tool_call_shows_what_went_in_and_what_came_out(capsys: pytest.CaptureFixture[str]) -> None:
    call = {"sessionUpdate": "tool_call", "toolCallId": "1", "title": "Run it", "kind": "execute"}
    content = [
        {"type": "content", "content": {"type": "text", "text": "a\x1b[2J\nb\n"}},
        {"type": "diff", "path": "/x.py"},
        {"type": "terminal", "terminalId": "t1"},
    ]
    done = {"sessionUpdate": "tool_call_update", "toolCallId": "1", "status": "completed", "content": content}
    text = shown("text", capsys, update(**call), update(**done, rawInput={"command": "make"}), update(**done))
    assert text == (
        "[tool] Run it (pending)\n"
        "[tool] Run it (completed)\n"
        "  kind: execute\n"
        "  input: make\n"
        "  output:\n"
        "    a\\x1b[2J\n"
        "    b\n"
        "    diff of /x.py\n"
        "    terminal t1\n"
        "[done] end_turn\n"
    ), "and what is told twice is shown once"


def test_long_input_and_output_are_cut_and_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    lines = "\n".join(map(str, range(25)))
    content = [{"type": "content", "content": {"type": "text", "text": lines}}]
    call = {"sessionUpdate": "tool_call", "toolCallId": "1", "status": "failed", "content": content}
    text = shown("text", capsys, update(**call, rawInput={"a": "x" * 300, "b": 1}))
    assert text.startswith('[tool] 1 (failed)\n  input: {"a":"xxx') and "xx…\n" in text
    assert "    19\n" in text and "    20\n" not in text and "    … 5 more lines\n" in text


def test_what_is_no_update_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown("quiet", capsys, [1], {"update": "none"}, {"sessionId": "s"}) == ""


def test_a_notice_and_a_plan_stand_on_lines_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    chunk = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "so"}}
    plan = {"sessionUpdate": "plan", "entries": [{"status": "pending", "content": "go"}, "none"]}
    notice = {"sessionUpdate": "notice", "title": "it waits"}
    empty = update(sessionUpdate="plan", entries="none")
    text = shown("text", capsys, update(**chunk), update(**plan), update(**notice), empty)
    assert text == "so\n[plan]\n  - [pending] go\n[notice] it waits\n[plan]\n[done] end_turn\n"
