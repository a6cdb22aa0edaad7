"""The formats of a turn: text, JSON frames, or the answer alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trio_broker.cli.daily.render import renderer
from trio_broker.protocol.jsonrpc import parse_envelope

Json = dict[str, Any]


def shown(style: str, capsys: pytest.CaptureFixture[str], *params: object) -> str:
    view = renderer(style)
    for one in params:
        line = json.dumps({"jsonrpc": "2.0", "method": "session/update", "params": one})
        view.message(parse_envelope(line.encode()))
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
        "    terminal t1\n"
        '  │ content: {"type":"diff","path":"/x.py"}\n'
        "[done] end_turn\n"
    ), "and what is told twice is shown once"


def test_an_edit_shows_its_diff_and_a_long_one_says_what_it_leaves_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    old = "".join(f"{number}\n" for number in range(100))
    content = [
        {"type": "diff", "path": "/x\x1b.py", "oldText": "a\nb\n", "newText": "a\n\x1b[2J\u202ec\n"},
        {"type": "diff", "path": "/y.py", "oldText": None, "newText": old},
    ]
    done = {"sessionUpdate": "tool_call_update", "toolCallId": "1", "status": "completed", "content": content}
    lines = shown("text", capsys, update(**done)).splitlines()
    assert lines[:8] == [
        "[tool] 1 (completed)", "  │ diff: /x\\x1b.py", "  │ @@ -1,2 +1,2 @@", "  │  a", "  │ -b",
        "  │ +\\x1b[2J\\u202ec", "  │ new file: /y.py", "  │ @@ -0,0 +1,100 @@",
    ]  # fmt: skip
    assert lines[-3:] == [
        "  │ +31",
        "  │ … 68 more lines; all: `trio-broker sessions export`",
        "[done] end_turn",
    ]
    assert len(lines) == 42


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


def test_a_notice_has_its_severity_and_its_description(capsys: pytest.CaptureFixture[str]) -> None:
    notice = {"sessionUpdate": "notice", "severity": "warning", "title": "it waits", "description": "40 s\nx"}
    compaction = {"sessionUpdate": "compaction_update", "compactionId": "c", "status": "failed"}
    text = shown("text", capsys, update(**notice), update(**compaction))
    assert text == (
        "[notice, warning] it waits: 40 s\n  x\n"
        "[compaction] the agent could not compact its context\n[done] end_turn\n"
    )


def test_quiet_output_is_the_answer_alone_and_a_notice_is_on_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    quiet = renderer("quiet")
    for fields in (
        {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "yes"}},
        {"sessionUpdate": "notice", "severity": "warning", "title": "it waits\x1b[2J"},
        {"sessionUpdate": "compaction_update", "compactionId": "c", "status": "in_progress"},
        {"sessionUpdate": "compaction_summary_chunk", "content": {"type": "text", "text": "summed up"}},
    ):
        line = {"jsonrpc": "2.0", "method": "session/update", "params": update(**fields)}
        quiet.message(parse_envelope(json.dumps(line).encode()))
    quiet.end("end_turn")
    out, err = capsys.readouterr()
    assert out == "yes\n"
    assert err == "[notice, warning] it waits\\x1b[2J\n[compaction] the agent compacts its context\n"
