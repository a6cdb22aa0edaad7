from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.auth import tool_facts
from trio_broker.auth.tool_facts import Facts, facts_of

Json = dict[str, Any]
texts = st.text(max_size=20) | st.sampled_from(
    ["/etc/x", "a/b", "~", "file:x", "*** Begin Patch", "[", '{"a": 1}']
)
names = st.sampled_from(["path", "files", "command", "type", "text", "newText", "pattern"]) | st.text(
    max_size=5
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner),
    max_leaves=20,
)


def facts(**call: Any) -> Facts:
    return facts_of([call])


def given_input(raw: Any) -> Facts:
    return facts(rawInput=raw)


@given(
    st.dictionaries(st.sampled_from(["kind", "title", "rawInput", "content", "locations"]), values),
    st.lists(texts),
)
def test_a_tool_call_of_any_shape_has_facts(call: Json, titles: list[str]) -> None:
    found = facts_of([call], titles)
    assert len(found.certain) <= tool_facts.MAX_NAMES
    assert len(found.possible) <= 2 * tool_facts.MAX_NAMES
    assert set(found.directories) <= set(found.certain)


@given(values, st.sampled_from(["rawInput", "content", "locations"]))
def test_every_string_that_looks_like_an_absolute_path_is_a_name(value: Any, member: str) -> None:
    found = facts(**{member: [value, {"x": {"y": "/etc/x"}}]})
    assert "/etc/x" in found.certain


SCRIPT = "#!/bin/sh\nexec /usr/bin/env python\n"


@pytest.mark.parametrize("name", ["old_string", "newText", "new_source", "content", "replacement"])
@pytest.mark.parametrize(
    "text", [SCRIPT, "import x from '../lib/x'", "$this->x = 1;", "<b>x</b>", "w " * 200]
)
def test_the_text_of_a_change_is_data(name: str, text: str) -> None:
    found = given_input({"path": "a.sh", name: text})
    assert (found.certain, found.complete) == (("a.sh",), True)


def test_a_file_of_json_is_data_and_a_long_file_is_looked_at_whole() -> None:
    found = given_input({"path": "tasks.json", "content": '{"command": "make", "path": "/etc"}'})
    assert not found.runs_commands and found.certain == ("tasks.json",)
    diff = {"type": "diff", "path": "a.py", "oldText": "x = 1\n" * 100_000, "newText": "x = 2\n" * 100_000}
    assert facts(content=[diff]).complete


def test_a_text_of_a_change_that_is_one_path_is_a_name_all_the_same() -> None:
    assert "/etc/passwd" in given_input({"path": "a", "newText": " /etc/passwd\n"}).certain


PATCH = "*** Begin Patch\n*** Update File: /home/me/.ssh/id\n*** Move to: b\n@@\n-a\n+b\n*** End Patch"
UNIFIED = "--- a/src/x.py\n+++ b/src/y.py\n@@ -1 +1 @@\n-a\n+b\n"


@pytest.mark.parametrize("name", ["patchText", "input", "unified_diff", "anything", "path"])
def test_the_headers_of_a_patch_are_names(name: str) -> None:
    assert {"/home/me/.ssh/id", "b"} <= set(given_input({name: PATCH}).certain)
    assert {"src/x.py", "src/y.py"} <= set(given_input({name: UNIFIED}).certain)
    assert given_input({name: PATCH}).changes_files and given_input({name: UNIFIED}).changes_files


def test_a_list_of_paths_in_one_text_is_names() -> None:
    assert set(given_input({"all": "/etc/a\n/etc/b\n"}).certain) == {"/etc/a", "/etc/b"}
    assert {"a/x", "b/y"} <= set(given_input({"files": "a/x\nb/y"}).certain)
    assert not given_input({"files": "a\n" * 60}).complete


@pytest.mark.parametrize(
    "text", ["a.py /etc/x", "a.py,/etc/x", '"/etc/x"', "@/etc/x", "[/etc/x]", "see (/etc/x)"]
)
def test_a_member_for_paths_is_looked_through_for_more_than_one(text: str) -> None:
    assert any(name.strip('"@') == "/etc/x" for name in given_input({"paths": text}).certain)


@pytest.mark.parametrize("text", ["https://x/../../etc/x", "x://../../etc/x"])
def test_an_address_that_leads_upwards_is_a_path(text: str) -> None:
    assert text in given_input({"file_path": text}).certain
    assert given_input({"victim": text}).certain
    assert given_input({"file_path": "https://example.org/etc/x"}).certain == ()


def test_arguments_that_are_json_in_a_text_are_looked_through() -> None:
    inner = json.dumps({"path": "/etc/x", "command": ["rm"]}, indent=1)
    for raw in (inner, {"name": "shell", "arguments": inner}, {"a": [json.dumps({"b": inner})]}):
        found = given_input(raw)
        assert "/etc/x" in found.certain and found.runs_commands


@pytest.mark.parametrize(
    "raw",
    [
        {"path": "x" * 5000},
        {"anything": "/" + "x/" * 3000},
        {"uri": "ssh://host/etc"},
        {"files": [f"f{number}" for number in range(100)]},
        [[]] * 30_000,
        {"a": {"command": "rm"}, "pad": [0] * 30_000},
        {"a": "x" * 300_000},
        {"x" * 300_000: 1},
        '{"command":"rm","d":' + "[" * 90_000 + "]" * 90_000 + "}",
    ],
)
def test_facts_that_can_not_all_be_known_are_not_complete(raw: Any) -> None:
    assert not given_input(raw).complete


def test_patterns_are_apart_and_say_that_the_call_searches() -> None:
    found = given_input({"pattern": "src/**/*.py", "path": "lib/*"})
    assert (set(found.patterns), found.certain, found.searches) == ({"src/**/*.py", "lib/*"}, (), True)
    assert given_input({"pattern": "/api/users", "path": "src"}).certain == ("src",), "a text to search for"


def test_a_directory_to_work_in_is_one_of_the_names() -> None:
    assert given_input({"cwd": "/w", "path": "a/b"}).directories == ("/w",)


RUNS: list[tuple[Json, bool]] = [
    ({"rawInput": {"command": "x"}}, True),
    ({"rawInput": {"a": [{"shellCommand": "x"}]}}, True),
    ({"rawInput": {"commandToRun": "x"}}, True),
    ({"rawInput": {"run_script": "x"}}, True),
    ({"rawInput": {"Cmd": ["x"]}}, True),
    ({"rawInput": {"code": "print()"}}, True),
    ({"rawInput": {"stdin": "rm"}}, True),
    ({"rawInput": {"python": "x"}}, True),
    ({"rawInput": ["rm", "-rf"]}, True),
    ({"rawInput": "rm\t-rf"}, True),
    ({"content": [{"x": {"type": "terminal", "terminalId": "t"}}]}, True),
    ({"content": [{"type": "x", "command": "rm"}]}, True),
    ({"rawInput": {"zip_code": "1"}}, False),
    ({"rawInput": {"commander": "x"}}, False),
    ({"rawInput": {"executable": True}}, False),
    ({"rawInput": {"path": "command"}}, False),
    ({"rawInput": []}, False),
    ({"rawInput": "word"}, False),
    ({"content": "terminal"}, False),
]


@pytest.mark.parametrize(("call", "runs"), RUNS)
def test_commands_are_seen(call: Json, runs: bool) -> None:
    assert facts(**call).runs_commands is runs


CHANGES: list[tuple[Json, bool]] = [
    ({"content": [{"type": "diff"}]}, True),
    ({"rawInput": {"x": {"oldText": "a"}}}, True),
    ({"rawInput": {"path": "a", "contents": "x"}}, True),
    ({"rawInput": {"file_path": "a", "content": "x"}}, True),
    ({"rawInput": {"changes": {"a.py": {"type": "update", "unified_diff": "@@"}}}}, True),
    ({"rawInput": {"changes": {"a.py": {"add": {"content": "x"}}}}}, True),
    ({"rawInput": {"fileDiff": "x"}}, True),
    ({"rawInput": {"new_source": "x"}}, True),
    ({"rawInput": {"code_edit": "x"}}, True),
    ({"rawInput": '{"path": "a", "new_string": "x"}'}, True),
    ({"rawInput": {"content": "a thought"}}, False),
    ({"rawInput": {"different": "x"}}, False),
    ({"rawInput": {"path": "diff"}}, False),
]


@pytest.mark.parametrize(("call", "changes"), CHANGES)
def test_changes_are_seen(call: Json, changes: bool) -> None:
    assert facts(**call).changes_files is changes


@pytest.mark.parametrize(
    "raw",
    [
        ["a" * 4000] * 200,
        {"aB" * 50_000: ["x"] * 2000},
        {"aB" * 100 + str(number): 1 for number in range(15_000)},
        ["ab " * 1000] * 5000,
        {"a": ["x" * 60_000] * 300},
        {"path": "a.png", "data": ["QUJD" * 1000 + str(number) for number in range(20)]},
        "[" * 150_000,
        [["/" * 4000] * 40] * 40,
    ],
)
def test_the_work_is_bounded_whatever_the_agent_writes(raw: Any) -> None:
    """Counted, not timed: no more characters are looked at than the budget has, and each of them a few times."""
    found = tool_facts._Collector()
    found.add_call({"rawInput": raw})
    assert (
        found.nodes >= -1
        and found.characters >= -max(map(len, _strings(raw)), default=0) - tool_facts.MAX_CHARACTERS
    )


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.items() for inner in item for text in _strings(inner)]
    return [text for item in value for text in _strings(item)] if isinstance(value, list) else []
