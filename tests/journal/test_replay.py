"""The merged replay says what the log says, in fewer words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.journal.record import Record
from trio_broker.journal.replay import Replay

SCHEMA = json.loads((Path(__file__).parents[1] / "protocol/schema/schema.json").read_text(encoding="utf-8"))
Json = dict[str, Any]


def chunk(text: str, kind: str = "agent_message_chunk", **more: Any) -> Json:
    return {"sessionUpdate": kind, "content": {"type": "text", "text": text}, **more}


def line(update: Json) -> bytes:
    params = {"sessionId": "s", "update": update}
    return json.dumps({"jsonrpc": "2.0", "method": "session/update", "params": params}).encode() + b"\n"


def updates(*found: Json, first: int = 1) -> Record:
    return Record(first, len(found), 0.0, "update", b"".join(map(line, found)))


def started(*blocks: Json, id: str = "p") -> Record:
    data = {"promptId": id, "author": "c", "prompt": list(blocks)}
    return Record(1, 1, 0.0, "started", json.dumps(data).encode())


def replayed(*records: Record) -> list[Json]:
    replay = Replay("s")
    for record in records:
        replay.feed(record)
    messages = [json.loads(frame) for frame in replay.frames()]
    for message in messages:
        assert message["params"]["sessionId"] == "s" and message["method"] == "session/update"
    return [message["params"]["update"] for message in messages]


def text(value: str) -> Json:
    return {"type": "text", "text": value}


TOOL: Json = {
    "sessionUpdate": "tool_call",
    "toolCallId": "t",
    "title": "Read",
    "kind": "read",
    "status": "pending",
}
DONE: Json = {
    "sessionUpdate": "tool_call_update",
    "toolCallId": "t",
    "status": "completed",
    "title": None,
    "x": 1,
}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([chunk("a"), chunk("b")], [chunk("ab")]),
        ([chunk("a", messageId="1"), chunk("b", messageId="2")],
         [chunk("a", messageId="1"), chunk("b", messageId="2")]),
        ([chunk("a"), chunk("b", "agent_thought_chunk"), chunk("c")],
         [chunk("a"), chunk("b", "agent_thought_chunk"), chunk("c")]),
        ([chunk("a"), TOOL, chunk("b"), DONE], [chunk("a"), {**TOOL, "status": "completed", "x": 1}, chunk("b")]),
        ([{**DONE, "title": "Late"}], [{**DONE, "title": "Late", "sessionUpdate": "tool_call"}]),
        ([DONE], [DONE]),
        ([{"sessionUpdate": "plan", "entries": [1]}, chunk("a"), {"sessionUpdate": "plan", "entries": [2]}],
         [chunk("a"), {"sessionUpdate": "plan", "entries": [2]}]),
        ([{"sessionUpdate": "current_mode_update", "currentModeId": "a"}, chunk("x"),
          {"sessionUpdate": "current_mode_update", "currentModeId": "b"}],
         [chunk("x"), {"sessionUpdate": "current_mode_update", "currentModeId": "b"}]),
        ([{"sessionUpdate": "invented", "n": 1e300}], [{"sessionUpdate": "invented", "n": 1e300}]),
        ([{"sessionUpdate": "agent_message_chunk", "content": {"type": "image", "data": "", "mimeType": "i"}}] * 2,
         [{"sessionUpdate": "agent_message_chunk", "content": {"type": "image", "data": "", "mimeType": "i"}}] * 2),
    ],
)  # fmt: skip
def test_what_is_merged_and_what_is_not(given: list[Json], expected: list[Json]) -> None:
    assert replayed(updates(*given)) == expected


def test_prompts_become_user_messages_and_an_echo_of_them_is_left_out() -> None:
    image = {"type": "image", "data": "", "mimeType": "image/png"}
    echo = chunk("do it", "user_message_chunk")
    found = replayed(started(text("do it"), image), updates(echo, chunk("done"), echo))
    own = [
        {"sessionUpdate": "user_message_chunk", "content": block, "messageId": "prompt-p"}
        for block in (text("do it"), image)
    ]
    assert found == [*own, chunk("done"), echo]


def test_what_is_not_understood_passes_as_it_came() -> None:
    odd = b'{"jsonrpc":"2.0","method":"session/update","params":[1.0]}\n'
    replay = Replay("s")
    replay.feed(Record(1, 1, 0.0, "update", odd))
    assert list(replay.frames()) == [odd]


def test_untouched_updates_pass_byte_for_byte() -> None:
    raw = b'{"method":"session/update", "params":{"sessionId":"s","update":{"sessionUpdate":"plan","n":1.50}}}\n'
    replay = Replay("s")
    replay.feed(Record(1, 1, 0.0, "update", raw))
    assert list(replay.frames()) == [raw]


KINDS = st.sampled_from(["agent_message_chunk", "agent_thought_chunk", "tool"])
LOGS = st.lists(st.tuples(KINDS, st.text(max_size=5), st.sampled_from([None, "1", "2"])), max_size=30)


def as_update(kind: str, words: str, id: str | None) -> Json:
    if kind == "tool":
        return {**TOOL, "toolCallId": id or "t", "title": words}
    return chunk(words, kind, **({} if id is None else {"messageId": id}))


@given(LOGS, st.lists(st.integers(1, 5), max_size=30))
def test_nothing_is_lost_whatever_the_pages_and_replaying_again_changes_nothing(
    log: list[tuple[str, str, str | None]], pages: list[int]
) -> None:
    found = [as_update(*entry) for entry in log]
    whole = replayed(*([updates(*found)] if found else []))
    for kind in ("agent_message_chunk", "agent_thought_chunk"):
        said = [one["content"]["text"] for one in found if one["sessionUpdate"] == kind]
        again = [one["content"]["text"] for one in whole if one["sessionUpdate"] == kind]
        assert "".join(said) == "".join(again)
    records, rest, first = list[Record](), found, 1
    for size in [*pages, len(found) or 1]:
        if rest:
            records.append(updates(*rest[:size], first=first))
            rest, first = rest[size:], first + size
    assert replayed(*records) == whole
    assert replayed(*([updates(*whole)] if whole else [])) == whole


def test_the_replay_fits_the_published_schema() -> None:
    plan = {"sessionUpdate": "plan", "entries": [{"content": "c", "priority": "low", "status": "pending"}]}
    found = replayed(started(text("hi")), updates(chunk("a"), chunk("b"), TOOL, DONE, plan))
    schema = {"$ref": "#/$defs/SessionUpdate", "$defs": SCHEMA["$defs"]}
    for update in found:
        jsonschema.validate(update, schema)


def test_a_notice_is_not_replayed() -> None:
    """ACP: notices are live events, and not the history of the session."""
    notice: Json = {"sessionUpdate": "notice", "severity": "info", "title": "Rate limited"}
    compaction: Json = {"sessionUpdate": "compaction_update", "compactionId": "c", "status": "completed"}
    assert replayed(updates(chunk("a"), notice, compaction)) == [chunk("a"), compaction]
