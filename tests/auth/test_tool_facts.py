from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.auth import tool_facts
from trio_broker.auth.tool_facts import changes_files, file_names, runs_commands

Json = dict[str, Any]
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=20)
    | st.sampled_from(["/etc/x", "a/b", "~", "file:x"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["path", "files", "command", "type", "text", "newText"]) | st.text(max_size=5),
            inner,
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["kind", "title", "rawInput", "content", "locations"]), values))
def test_a_tool_call_of_any_shape_has_facts(call: Json) -> None:
    found = file_names(call)
    assert len(found.certain) + len(found.possible) <= tool_facts.MAX_NAMES
    assert runs_commands(call) in (True, False) and changes_files(call) in (True, False)


@given(values, st.sampled_from(["rawInput", "content", "locations"]))
def test_every_string_that_looks_like_an_absolute_path_is_a_name(value: Any, member: str) -> None:
    found = file_names({member: [value, {"x": {"y": "/etc/x"}}]})
    assert "/etc/x" in found.certain


def test_the_contents_of_a_file_are_not_names() -> None:
    text = "#!/bin/sh\nexec /usr/bin/env python\n"
    assert file_names({"rawInput": {"path": "a.sh", "new_string": text}}).certain == ("a.sh",)
    assert file_names({"content": [{"type": "diff", "path": "a.sh", "newText": text}]}).certain == ("a.sh",)


def test_a_list_of_paths_in_one_text_is_names() -> None:
    assert file_names({"rawInput": {"all": "/etc/a\n/etc/b\n"}}).certain == ("/etc/a", "/etc/b")
    assert file_names({"rawInput": {"files": "a\nb"}}).certain == ("a", "b")
    assert not file_names({"rawInput": {"files": "a\n" * 50}}).complete


@pytest.mark.parametrize(
    "raw",
    [
        {"path": "src/*.py"},
        {"path": "x" * 5000},
        {"anything": "/" + "x/" * 3000},
        {"uri": "ssh://host/etc"},
        {"files": [f"f{number}" for number in range(100)]},
        {"cwd": "a", "root": "b", "dir": "c"},
        [[]] * 30_000,
    ],
)
def test_names_that_can_not_all_be_known_are_not_complete(raw: Any) -> None:
    assert not file_names({"rawInput": raw}).complete


def test_a_pattern_for_a_search_is_a_name() -> None:
    assert file_names({"rawInput": {"pattern": "src/**/*.py"}}).complete


@pytest.mark.parametrize(
    ("call", "runs"),
    [
        ({"kind": "execute"}, True),
        ({"rawInput": {"command": "x"}}, True),
        ({"rawInput": {"a": [{"shellCommand": "x"}]}}, True),
        ({"rawInput": {"run_script": 1}}, True),
        ({"rawInput": {"Cmd": []}}, True),
        ({"rawInput": {"code": "print()"}}, True),
        ({"rawInput": {"zip_code": "1"}}, False),
        ({"rawInput": {"commander": "x"}}, False),
        ({"rawInput": {"path": "command"}}, False),
        ({"rawInput": []}, False),
        ({"rawInput": "word"}, False),
        ({"content": "terminal"}, False),
    ],
)
def test_commands_are_seen(call: Json, runs: bool) -> None:
    assert runs_commands(call) is runs


@pytest.mark.parametrize(
    ("call", "changes"),
    [
        ({"content": [{"type": "diff"}]}, True),
        ({"rawInput": {"x": {"oldText": ""}}}, True),
        ({"rawInput": {"path": "a", "contents": "x"}}, True),
        ({"rawInput": {"file_path": "a", "content": "x"}}, True),
        ({"rawInput": {"content": "a thought"}}, False),
        ({"rawInput": '{"path": "a", "new_string": "x"}'}, True),
        ({"rawInput": {"different": "x"}}, False),
        ({"rawInput": {"path": "diff"}}, False),
    ],
)
def test_changes_are_seen(call: Json, changes: bool) -> None:
    assert changes_files(call) is changes
