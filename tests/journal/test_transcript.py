"""A log for people: prompts, text, tools and ends, in the order of the log."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import attrs

from trio_broker.journal.record import Record
from trio_broker.journal.transcript import Transcript

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


def history(records: Iterable[Record]) -> list[Json]:
    made = Transcript()
    for record in records:
        made.feed(record)
    return made.items()


def test_history_is_for_people_and_in_order() -> None:
    ended = Record(9, 1, 2.0, "ended", b'{"promptId":"p","outcome":"failed","error":"it died"}')
    gap = Record(10, 3, 2.0, "gap", b'{"from":10,"to":12,"why":"full"}')
    found = history([started(text("do")), updates(chunk("a"), chunk("b"), TOOL, DONE, first=2), ended, gap])
    assert [(item["n"], item["kind"], item["text"]) for item in found] == [
        (1, "prompt", "do"),
        (2, "text", "ab"),
        (4, "tool", "Read"),
        (9, "end", "it died"),
        (10, "gap", "events 10 to 12 are lost: full"),
    ]


def test_what_children_say_is_merged_for_each_and_is_no_answer_of_the_session() -> None:
    def child(number: int, id: str, update: object) -> Record:
        params = {"sessionId": id, "update": update}
        event = {"childSessionId": id, "params": params}
        return Record(number, 1, 2.0, "child", json.dumps(event).encode())

    records = [updates(chunk("a"))]
    said = [("x", chunk("1")), ("y", chunk("2")), ("x", chunk("3")), ("x", TOOL), ("y", TOOL), ("x", DONE)]
    records += [child(number, id, update) for number, (id, update) in enumerate(said, 2)]
    records += [child(8, "z", 5), updates(chunk("b"), first=9)]
    found = [(one["n"], one["kind"], one.get("childSessionId"), one["text"]) for one in history(records)]
    assert found == [
        (1, "text", None, "ab"),
        (2, "child", "x", "13"),
        (3, "child", "y", "2"),
        (5, "child", "x", "Read"),
        (6, "child", "y", "Read"),
        (8, "child", "z", ""),
    ]
    whats = [(one.get("what"), one.get("status")) for one in history(records) if one["n"] in (5, 6)]
    assert whats == [("tool", DONE["status"]), ("tool", TOOL.get("status"))]


def test_history_says_of_a_prompt_that_was_never_sent_what_it_was() -> None:
    def queued(number: int, id: str, *blocks: Json, **more: Any) -> Record:
        fields = {"promptId": id, **({"prompt": list(blocks)} if blocks else {}), **more}
        return Record(number, 1, 0.0, "queued", json.dumps(fields).encode())

    def ended(number: int, id: str) -> Record:
        return Record(number, 1, 0.0, "ended", json.dumps({"promptId": id, "outcome": "cancelled"}).encode())

    found = history(
        [
            queued(1, "a", text("first")),
            queued(2, "b", text("second")),
            queued(3, "b", text("another"), event="edited"),
            queued(4, "b", event="moved", position=1),
            attrs.evolve(started(text("first"), id="a"), first=5),
            ended(6, "b"),
            ended(7, "a"),
        ]
    )
    ends = {item["promptId"]: item.get("prompt") for item in found if item["kind"] == "end"}
    assert ends == {"a": None, "b": "another"}


def test_history_shows_a_log_that_leaves_out_ids() -> None:
    records = [
        Record(1, 1, 0.0, "queued", b'{"prompt":null}'),
        Record(2, 1, 0.0, "started", b"{}"),
        Record(3, 1, 0.0, "queued", b'{"prompt":[{"type":"text","text":"x"}]}'),
        Record(4, 1, 0.0, "note", b'{"text":"n"}'),
    ]
    (item,) = history(records)
    assert item["text"] == "n" and "prompt" not in item


def test_history_has_a_place_for_what_it_has_no_words_for() -> None:
    plan = {"sessionUpdate": "plan", "entries": [{"content": "x", "priority": "low", "status": "pending"}]}
    new = {"sessionUpdate": "of_tomorrow", "x": 1}
    picture = {"sessionUpdate": "agent_message_chunk", "content": {"type": "image", "data": ""}}
    odd = {"sessionUpdate": "agent_message_chunk", "content": "no block"}
    found = history([updates(plan, new, picture, odd)])
    assert [(item["kind"], item["text"]) for item in found] == [
        ("plan", ""),
        ("update", ""),
        ("text", "<image>"),
        ("text", ""),
    ]
    assert found[0]["entries"] == plan["entries"] and found[1]["update"] == new


def test_notices_and_compactions_stand_in_words() -> None:
    transcript = Transcript()
    notice = {"sessionUpdate": "notice", "severity": "warning", "title": "Limited", "description": "40 s"}
    compaction = {"sessionUpdate": "compaction_update", "compactionId": "c", "status": "completed"}
    transcript.feed(updates(notice, compaction))
    found = [{name: item[name] for name in item if name not in ("n", "at")} for item in transcript.items()]
    assert found == [
        {"kind": "notice", "text": "Limited: 40 s", "severity": "warning"},
        {"kind": "compaction", "text": "the agent has compacted its context", "status": "completed"},
    ]
