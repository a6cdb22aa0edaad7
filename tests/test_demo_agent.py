"""The demo agent over real pipes, hurried where its slowness is not the point."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from trio_broker.testing.processes.agent_process import AgentProcess, Json, said, updates

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "tests" / "protocol" / "schema" / "schema.json"
ARGV = [sys.executable, "-m", "trio_broker", "demo-agent"]
FAST = {**os.environ, "TRIO_BROKER_DEMO_SPEED": "50"}


@pytest.fixture
def talk() -> Iterator[AgentProcess]:
    with AgentProcess(ARGV, FAST, cwd=ROOT) as talk:
        talk.start()
        yield talk


def play(talk: AgentProcess, text: str, option: str | None) -> list[Json]:
    """A turn whose question is answered with that option, or cancelled; every message of it."""
    prompt = talk.prompt(text)
    seen: list[Json] = []
    while not seen or seen[-1].get("id") != prompt:
        seen.append(talk.message())
        if seen[-1].get("method") == "session/request_permission":
            chosen = {"outcome": "selected", "optionId": option} if option else {"outcome": "cancelled"}
            talk.send(id=seen[-1]["id"], result={"outcome": chosen})
            seen[-1]["id"] = None
    return seen


def questions(messages: list[Json]) -> list[Json]:
    return [message for message in messages if message.get("method") == "session/request_permission"]


def test_a_turn_has_all_there_is_to_see(talk: AgentProcess) -> None:
    turn = play(talk, "type the greeting", "apply")
    tags = {update["sessionUpdate"] for update in updates(turn)}
    assert tags >= {"agent_thought_chunk", "agent_message_chunk", "plan", "tool_call", "tool_call_update"}
    assert "usage_update" in tags
    calls = [update for update in updates(turn) if update["sessionUpdate"] == "tool_call"]
    assert [(call["kind"], call["status"]) for call in calls] == [("read", "pending"), ("edit", "pending")]
    assert calls[1]["content"][0]["type"] == "diff"
    (asked,) = questions(turn)
    assert asked["params"]["toolCall"]["kind"] == "edit", "what is asked about is what is done"
    states = [one["status"] for one in updates(turn) if one.get("toolCallId") == calls[0]["toolCallId"]]
    assert states == ["pending", "in_progress", "completed"]
    assert "“type the greeting”" in said(turn) and "typed" in said(turn)
    assert turn[-1]["result"] == {"stopReason": "end_turn"}


def test_its_messages_fit_the_published_schema(talk: AgentProcess) -> None:
    definitions = json.loads(SCHEMA.read_text())["$defs"]
    names = {
        "session/update": "SessionNotification",
        "session/request_permission": "RequestPermissionRequest",
    }
    for message in play(talk, "x", "apply")[:-1]:
        schema = {"$ref": f"#/$defs/{names[message['method']]}", "$defs": definitions}
        Draft202012Validator(schema).validate(message["params"])


@pytest.mark.parametrize("option", ["leave", None])
def test_a_no_is_respected(talk: AgentProcess, option: str | None) -> None:
    turn = play(talk, "type it", option)
    assert "left greet.py as it was" in said(turn)
    assert [one["status"] for one in updates(turn) if "status" in one][-1] == "failed"


def test_always_and_the_mode_code_ask_no_more(talk: AgentProcess) -> None:
    assert len(questions(play(talk, "one", "apply-always"))) == 1
    assert questions(play(talk, "two", "leave")) == []
    with AgentProcess(ARGV, FAST, cwd=ROOT) as other:
        other.start()
        assert other.call("session/set_mode", sessionId=other.session, modeId="code")["result"] == {}
        assert questions(play(other, "one", "leave")) == []


def test_a_build_is_silent_and_cancelled_at_once(talk: AgentProcess) -> None:
    prompt = talk.prompt("please build it all")
    while talk.message().get("params", {}).get("update", {}).get("status") != "in_progress":
        pass
    talk.cancel()
    failed, response = talk.until(prompt)  # which waits less long than a build takes
    assert failed["params"]["update"]["status"] == "failed"
    assert response["result"] == {"stopReason": "cancelled"}
    assert talk.call("session/close", sessionId=talk.session)["result"] == {}


def test_a_build_of_so_many_seconds(talk: AgentProcess) -> None:
    begin = time.monotonic()
    turn = talk.turn("build 0.5")
    assert time.monotonic() - begin > 0.5
    assert "took 0.5 seconds" in said(turn)


def test_without_hurry_it_can_be_watched() -> None:
    with AgentProcess(ARGV, {**os.environ, "TRIO_BROKER_DEMO_SPEED": "nonsense"}, cwd=ROOT) as talk:
        talk.start()
        begin = time.monotonic()
        play(talk, "go fast", "apply")
        assert 0.4 < time.monotonic() - begin < 6  # a tenth of these six seconds


def test_it_ends_with_stdin_even_in_the_middle_of_a_turn(talk: AgentProcess) -> None:
    talk.prompt("build")
    talk.message()
    assert talk.hang_up() == 0
    while talk.line():
        pass
    assert talk.stderr == b""


def test_what_it_does_not_know(talk: AgentProcess) -> None:
    assert talk.call("session/fork")["error"]["code"] == -32601
    assert talk.call("session/prompt", sessionId="x", prompt=[])["error"]["code"] == -32002
    assert talk.call("session/set_mode", sessionId=talk.session, modeId="x")["error"]["code"] == -32602
    talk.prompt("build")
    assert talk.until(talk.prompt("again"))[-1]["error"]["code"] == -32600
