"""A request of an agent as lines: everything in it is shown, nothing in it is obeyed, and any JSON is withstood."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.client.request_text import diff_lines, request_lines, summary
from trio_broker.client.text_lines import MAX_LINES
from trio_broker.protocol.visible_text import escape_line

Json = dict[str, Any]


def texts(ask: Json, *, whole: bool = False) -> list[str]:
    return [line.text for line in request_lines(ask, whole=whole)]


def call(**members: Any) -> Json:
    return {"askId": "1-4", "toolCall": {"toolCallId": "c", "title": "Do it", **members}}


@pytest.mark.parametrize(
    ("members", "lines"),
    [
        ({"rawInput": {"command": "rm -rf build"}}, ["command: rm -rf build"]),
        ({"rawInput": {"cmd": ["bash", "-c", "a b"], "cwd": "/x"}}, ["command (cmd): bash -c 'a b'", "in (cwd): /x"]),
        ({"rawInput": {"command": "git", "args": ["push", "-f"]}}, ["command: git", "command (args): push -f"]),
        ({"rawInput": {"arguments": {"command": "ls"}}}, ["command (arguments.command): ls"]),
        ({"rawInput": {"command": ["a", 1], "n": 1}}, ['input command: ["a",1]', "input n: 1"]),
        ({"rawInput": {"script": "one\n  1) Reject\n"}}, ["command (script):", "  one", "    1) Reject"]),
        ({"rawInput": {"url": "https://a.b/c"}, "kind": "fetch"}, ["kind: fetch", "url: https://a.b/c", "host: a.b"]),
        ({"rawInput": "rm"}, ["input: rm"]),
        ({"rawInput": [1, "a"]}, ['input: [1,"a"]']),
        ({"locations": [{"path": "/a", "line": 3}, {"path": "/b"}]}, ["path: /a:3", "path: /b"]),
        ({"locations": [{"path": 5}, "x"]}, ['path: {"path":5}', "path: x"]),
        ({"content": [{"type": "terminal", "terminalId": "t"}]}, ["terminal: t"]),
        ({"content": [{"type": "content", "content": {"type": "text", "text": "a\nb"}}]}, ["text:", "  a", "  b"]),
        (
            {"content": [{"type": "content", "content": {"type": "image", "data": "AA"}, "x": 1}]},
            ["part x: 1", "content type: image", "content data: AA"],
        ),
        ({"content": [{"type": "diff", "newText": 5}]}, ['content: {"type":"diff","newText":5}']),
        ({"content": "text", "other": {"a": [True]}}, ["content: text", "call other.a: [true]"]),
        ({"rawInput": {"command": "a\xa0b\u202e\t"}}, ["command: a\\xa0b\\u202e\\x09"]),
    ],
)  # fmt: skip
def test_all_that_a_tool_call_says_is_shown(members: Json, lines: list[str]) -> None:
    assert texts(call(**members)) == ["Do it", *lines]


def diff(old: str | None, new: str, path: str = "/x.py") -> Json:
    return {"type": "diff", "path": path, "oldText": old, "newText": new}


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("a\nb\n", "a\nc\n", ["diff: /x.py", "@@ -1,2 +1,2 @@", " a", "-b", "+c"]),
        (None, "a\n", ["new file: /x.py", "@@ -0,0 +1 @@", "+a"]),
        ("a\n", "", ["diff: /x.py", "@@ -1 +0,0 @@", "-a"]),
        ("a\n", "a", ["diff: /x.py", "(no newline at the end of the new text)"]),
        ("a", "a", ["diff: /x.py", "(old and new text are the same)"]),
        (None, "", ["new file: /x.py", "(empty)"]),
        ("a\r\nb\r\n", "a\r\nc\r\n", ["diff: /x.py", "@@ -1,2 +1,2 @@", " a", "-b", "+c"]),
        ("a\n", "a\r\n", ["diff: /x.py", "@@ -1 +1 @@", "-a", "+a\\x0d"]),
        ("a\n", "\x1b[2J\u202e\u2028  1) Reject\n", [
            "diff: /x.py", "@@ -1 +1 @@", "-a", "+\\x1b[2J\\u202e\\u2028  1) Reject",
        ]),
        ("\ta\n", "    a\n", ["diff: /x.py", "@@ -1 +1 @@", "-    a", "+    a"]),
    ],
)  # fmt: skip
def test_a_diff_is_a_unified_one(old: str | None, new: str, lines: list[str]) -> None:
    assert texts(call(content=[diff(old, new)])) == ["Do it", *lines]
    assert [line.text for line in diff_lines(diff(old, new), "`show`")] == lines


def test_an_input_that_repeats_the_diff_names_it() -> None:
    old, new = "a" * 50 + "\n", "b" * 50 + "\n"
    shown = texts(
        call(content=[diff(old, new)], rawInput={"old_string": old, "new_string": new, "all": False})
    )
    assert shown[-3:] == [
        "input old_string: (the old text above)", "input new_string: (the new text above)", "input all: false",
    ]  # fmt: skip


def test_title_reason_and_path_of_a_broken_diff() -> None:
    ask = call(content=[diff("a\n", "b\n", path="/a\n  1) Reject")]) | {"reason": "policy rule 2 cannot tell"}
    assert texts(ask)[:4] == [
        "Do it",
        "asked because: policy rule 2 cannot tell",
        "diff: /a\\x0a  1) Reject",
        "@@ -1 +1 @@",
    ]
    assert texts({"title": "T", "toolCall": {"title": ["x"]}}) == ["T", 'call title: ["x"]']
    assert texts({}) == ["the agent asks"]


def test_a_form_shows_its_fields_with_choices_and_defaults() -> None:
    fields = {
        "name": {"type": "string", "title": "Name", "description": "Yours", "minLength": 2},
        "colour": {
            "type": "string",
            "oneOf": [{"const": "r", "title": "Red"}, {"const": "b"}],
            "default": "r",
        },
        "tags": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
        "odd": 5,
    }
    schema = {"type": "object", "properties": fields, "required": ["name"]}
    form = {"mode": "form", "message": "Who?", "requestedSchema": schema, "sessionId": "s", "extra": 1}
    assert texts({"title": "Who?", "elicitation": form}) == [
        "Who?", "mode: form",
        "field name (string, required)", "  title: Name", "  description: Yours", "  minLength: 2",
        "field colour (string, optional)", "  choice r: Red", '  choice: {"const":"b"}', "  default: r",
        "field tags (array, optional)", "  choice: a", "  choice: b",
        "field odd (value, optional)", "  field: 5",
        "form extra: 1",
    ]  # fmt: skip
    link = {"mode": "url", "message": "Log in\nnow", "url": "https://a@b.c/"}
    assert texts({"title": "Log in", "elicitation": link}) == [
        "Log in", "message:", "  Log in", "  now", "mode: url", "url: https://a@b.c/",
        "host: b.c (before the @ stands a user name, not a host)",
    ]  # fmt: skip
    for required in (5, [5], ["other"]):
        shown = texts({"elicitation": {"requestedSchema": {"properties": {}, "required": required}}})
        assert shown[-1] == f"form required: {json.dumps(required)}"


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"rawInput": {"command": "ls"}, "locations": [{"path": "/a"}]}, "command: ls"),
        ({"rawInput": {"command": "one\ntwo"}}, "command: one …"),
        ({"rawInput": {"url": "https://a.b"}}, "url: https://a.b"),
        ({"content": [diff("a", "b")], "locations": [{"path": "/z"}]}, "diff: /x.py"),
        ({"locations": [{"path": "/z"}]}, "path: /z"),
        ({"title": "path: not this"}, "path: not this"),
        ({"rawInput": {"x": 1}}, "Do it"),
    ],
)
def test_the_most_telling_fact_is_the_summary(members: Json, text: str) -> None:
    assert summary(call(**members)) == text


STRINGS = st.text(
    st.one_of(st.characters(), st.sampled_from("\n\r\t\x1b\u202e\u2028\U000e0041\ud800")), max_size=60
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | STRINGS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(STRINGS, inner, max_size=4),
    max_leaves=12,
)


def members_of(*names: str) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, VALUES))


PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["diff", "content", "terminal"])},
    optional={
        "path": STRINGS | VALUES,
        "oldText": STRINGS | VALUES,
        "newText": STRINGS | VALUES,
        "terminalId": STRINGS | VALUES,
        "content": st.fixed_dictionaries({"type": st.just("text"), "text": STRINGS | VALUES}) | VALUES,
    },
)
CALLS = st.fixed_dictionaries(
    {},
    optional={
        "title": VALUES,
        "kind": VALUES,
        "content": st.lists(PARTS | VALUES, max_size=3) | VALUES,
        "locations": st.lists(members_of("path", "line", "x"), max_size=3) | VALUES,
        "rawInput": members_of("command", "cwd", "url", "script", "x") | VALUES,
        "x": VALUES,
    },
)
FIELDS = members_of("type", "title", "description", "default", "enum", "oneOf", "items", "x")
SCHEMAS = st.fixed_dictionaries(
    {}, optional={"properties": st.dictionaries(STRINGS, FIELDS | VALUES, max_size=3), "required": VALUES}
)
FORMS = st.fixed_dictionaries(
    {}, optional={"message": VALUES, "mode": VALUES, "url": VALUES, "requestedSchema": SCHEMAS | VALUES}
)
ASKS = st.fixed_dictionaries(
    {},
    optional={
        "askId": VALUES,
        "title": VALUES,
        "reason": VALUES,
        "toolCall": CALLS | VALUES,
        "elicitation": FORMS | VALUES,
    },
)


@given(ASKS, st.booleans())
def test_no_request_raises_and_every_line_is_safe(ask: Json, whole: bool) -> None:
    lines = request_lines(ask, whole=whole)
    assert lines and lines[0].style == "title"
    for line in lines:
        assert line.text == escape_line(line.text) and "\n" not in line.text
    assert summary(ask)


def leaf_texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for key, one in value.items() for text in (str(key), *leaf_texts(one))]
    if isinstance(value, list):
        return [text for one in value for text in leaf_texts(one)]
    return [str(value)] if isinstance(value, str | int) and not isinstance(value, bool) else []


WORDS = st.text("abcdefghijklmnopqrstuvwxyz", min_size=4, max_size=8)
WORD_VALUES = st.recursive(
    st.integers(1000, 9999) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(WORDS, WORD_VALUES, max_size=4), WORD_VALUES)
def test_nothing_that_the_agent_sent_is_hidden(members: Json, raw_input: Any) -> None:
    shown = " ".join(texts(call(**members, rawInput=raw_input, content=[raw_input], locations=raw_input)))
    assert [text for text in leaf_texts([members, raw_input]) if text not in shown] == []


HUGE: dict[str, Json] = {
    "a text": {"rawInput": {"x": "a" * 30_000_000}},
    "a diff": {"content": [diff("a\nb\n" * 5_000_000, "b\na\n" * 5_000_000)]},
    "many members": {"rawInput": {str(number): number for number in range(300_000)}},
    "many parts": {"content": [diff("a\nb\n" * 99, "b\na\nc\n" * 99)] * 20_000},
    "many paths": {"locations": [{"path": "/x"}] * 300_000},
    "deep": {"rawInput": json.loads('{"x":' * 500 + "1" + "}" * 500)},
}


@pytest.mark.parametrize("kind", HUGE)
def test_a_huge_request_is_cut_in_bounded_time_and_that_is_said(kind: str) -> None:
    began = time.process_time()
    lines = texts(call(**HUGE[kind]))
    assert time.process_time() - began < 5
    assert len(lines) <= MAX_LINES
    assert kind == "deep" or any("more" in line and "`trio-broker pending 1-4`" in line for line in lines)


def test_what_is_nested_too_deeply_is_said_to_be() -> None:
    nested: Any = 1
    for _ in range(100_000):
        nested = [nested]
    assert texts(call(rawInput=nested))[-1] == "input: (JSON that is too deep or too long to show)"


def test_the_whole_of_a_long_request_has_no_cut() -> None:
    text = "".join(f"{number}\n" for number in range(50_000))
    lines = texts(call(content=[diff(None, text)]), whole=True)
    assert lines[-1] == "+49999" and not any(line.startswith("…") for line in lines)
