from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.auth.policy import (
    ALLOW,
    KINDS,
    REJECT,
    TITLE_SEARCHED,
    Action,
    Call,
    Decision,
    Policy,
    Rule,
    decide,
    is_under,
    parse_policy,
)
from trio_broker.errors import Misuse

Json = dict[str, Any]
OPTIONS = (*ALLOW, *REJECT)
ALL: list[Json] = [{"optionId": f"id-{kind}", "kind": kind} for kind in reversed(OPTIONS)]


def decided(policy: Policy, call: Json, options: list[Json] = ALL) -> Decision:
    """What a policy decides where there are no rules."""
    return decide((), policy, Call(call), options)


def without(*kinds: str) -> list[Json]:
    return [option for option in ALL if option["kind"] not in kinds]


@pytest.mark.parametrize("policy", Policy)
def test_parse_knows_every_policy(policy: Policy) -> None:
    assert parse_policy(policy.value) is policy


def test_parse_names_the_choices() -> None:
    with pytest.raises(Misuse, match=r"'yolo'.*ask, approve-all, approve-reads, deny-all"):
        parse_policy("yolo")


@pytest.mark.parametrize(
    ("policy", "options", "picked"),
    [
        (Policy.APPROVE_ALL, ALL, "id-allow_once"),
        (Policy.APPROVE_ALL, without("allow_once"), "id-allow_always"),
        (Policy.APPROVE_ALL, without(*ALLOW), None),
        (Policy.DENY_ALL, ALL, "id-reject_once"),
        (Policy.DENY_ALL, without("reject_once"), "id-reject_always"),
        (Policy.DENY_ALL, without(*REJECT), None),
        (Policy.APPROVE_ALL, [], None),
    ],
)
def test_once_comes_before_always(policy: Policy, options: list[Json], picked: str | None) -> None:
    assert decided(policy, {"kind": "edit"}, options) == Decision(picked, by=f"policy:{policy.value}")


@pytest.mark.parametrize("kind", ["read", "search", "think"])
def test_reads_are_approved(kind: str) -> None:
    assert decided(Policy.APPROVE_READS, {"kind": kind}).option_id == "id-allow_once"


@pytest.mark.parametrize(
    "call", [{"kind": "fetch"}, {"kind": "edit"}, {"kind": None}, {"kind": ["read"]}, {}]
)
def test_what_is_no_read_is_rejected(call: Json) -> None:
    assert decided(Policy.APPROVE_READS, call).option_id == "id-reject_once"


def test_ask_decides_nothing() -> None:
    assert decided(Policy.ASK, {"kind": "read"}) == Decision(None, ask=True, by="policy:ask")


options = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "optionId": st.text("ab") | st.none() | st.integers(),
            "kind": st.sampled_from(OPTIONS) | st.text("ab"),
        },
    )
)


@given(st.sampled_from(Policy), st.sampled_from(["read", "edit", "other"]), options)
def test_an_option_is_never_invented(policy: Policy, kind: str, offered: list[Json]) -> None:
    decision = decided(policy, {"kind": kind}, offered)
    assert decision.ask == (policy is Policy.ASK)
    allowed = policy is Policy.APPROVE_ALL or (policy is Policy.APPROVE_READS and kind == "read")
    wanted = ALLOW if allowed else REJECT
    if decision.option_id is not None:
        found = [option for option in offered if option.get("optionId") == decision.option_id]
        assert any(option.get("kind") in wanted for option in found)


EDIT: Json = {"kind": "edit", "title": "Edit a.py", "locations": [{"path": "/repo/a.py"}]}


def call(**changes: Any) -> Call:
    return Call({**EDIT, **changes}, agent="claude", session="repo/api", cwd="/repo", home="/home/me")


@pytest.mark.parametrize(
    ("conditions", "matches"),
    [
        ({}, True),
        ({"agent": "claude"}, True),
        ({"agent": "codex"}, False),
        ({"session": "repo/*"}, True),
        ({"session": "repo"}, False),
        ({"session": "REPO/*"}, False),
        ({"kind": ("edit",)}, True),
        ({"kind": ("read", "edit")}, True),
        ({"kind": ("read",)}, False),
        ({"title": "^Edit "}, True),
        ({"title": r"\.py$"}, True),
        ({"title": "^a"}, False),
        ({"path": "/repo"}, True),
        ({"path": "."}, True),
        ({"path": "/repo/a.py"}, True),
        ({"path": "/rep"}, False),
        ({"path": "~"}, False),
        ({"agent": "claude", "kind": ("edit",), "title": "Edit", "path": "/"}, True),
        ({"agent": "claude", "kind": ("edit",), "title": "Read", "path": "/"}, False),
    ],
)
@pytest.mark.parametrize("action", Action)
def test_a_rule_matches_what_fits_all_it_names(action: Action, conditions: Json, matches: bool) -> None:
    assert Rule(action, **conditions).matches(call()) is matches


def test_a_call_without_a_kind_is_an_other() -> None:
    assert Rule(Action.DENY, kind=("other",)).matches(Call({}))
    assert not Rule(Action.DENY, kind=("edit",)).matches(Call({"kind": ["edit"]}))


@pytest.mark.parametrize(
    ("changes", "allows", "denies"),
    [
        ({}, True, True),
        ({"locations": [{"path": "/repo/a"}, {"path": "/etc/passwd"}]}, False, True),
        ({"locations": [{"path": "/etc/passwd"}]}, False, False),
        ({"locations": []}, False, False),
        ({"locations": None}, False, False),
        ({"locations": [{"path": 7}, "/repo/a", None]}, False, False),
        ({"locations": [{"path": "src/a.py"}]}, True, True),
        ({"locations": [{"path": "../other/a.py"}]}, False, False),
        ({"locations": [{"path": "/repo/../etc/passwd"}]}, False, False),
        ({"locations": [{"path": "/etc/../repo/a"}]}, True, True),
        ({"locations": [{"path": "//repo/a"}]}, True, True),
        ({"locations": [{"path": "/repository/a"}]}, False, False),
        ({"locations": [{"path": "~/x"}]}, False, False),
        ({"locations": [{"path": "~other/x"}]}, False, False),
        ({"locations": [{"path": "file:///repo/a%20b"}]}, True, True),
        ({"locations": [{"path": "file:///etc/passwd"}]}, False, False),
        ({"rawInput": {"file_path": "/etc/passwd"}}, False, True),
        ({"rawInput": {"filePath": "../x"}}, False, True),
        ({"rawInput": {"file": "b.py", "old_string": "x", "new_string": "y"}}, True, True),
        ({"rawInput": {"edits": [{"path": "/etc/passwd"}]}}, False, True),
        ({"rawInput": {"paths": ["b.py", "/etc/passwd"]}}, False, True),
        ({"rawInput": {"whatever": "/etc/passwd"}}, False, True),
        ({"rawInput": {"changes": {"/etc/passwd": {"type": "add"}}}}, False, True),
        ({"rawInput": {"files": {"../x.py": "text"}}}, False, True),
        ({"rawInput": {"old_string": "// a comment"}}, True, True),
        ({"rawInput": {"profile": "../x y"}}, False, True),
        ({"rawInput": {"profile": "x"}}, True, True),
        ({"rawInput": "/etc/passwd"}, False, True),
        ({"content": [{"type": "diff", "path": "/etc/passwd", "newText": "x"}]}, False, True),
        ({"content": [{"type": "diff", "path": "/repo/b", "newText": "x"}]}, True, True),
        ({"kind": "execute"}, False, True),
        ({"rawInput": {"command": "cat b"}}, False, True),
        ({"rawInput": {"cmd": ["cat", "b"]}}, False, True),
    ],
)
def test_to_allow_all_paths_lie_under_the_root_and_to_deny_one_does(
    changes: Json, allows: bool, denies: bool
) -> None:
    found = [Rule(action, path="/repo").matches(call(**changes)) for action in Action]
    assert found == [allows, denies, denies], "allow, deny, ask"


def test_home_is_known() -> None:
    ssh = call(locations=[{"path": "~/.ssh/id"}])
    for root in ("~/.ssh", "/home/me/.ssh", "~", "/"):
        assert Rule(Action.DENY, path=root).matches(ssh)
    assert not Rule(Action.DENY, path="~/.sshd").matches(ssh)


def test_a_rule_that_allows_knows_nothing_of_a_title_that_goes_on_for_ever() -> None:
    long = call(title="Edit " + "x" * TITLE_SEARCHED)
    matches = {action: Rule(action, title="^Edit").matches(long) for action in Action}
    assert matches == {Action.ALLOW: False, Action.DENY: True, Action.ASK: True}


def test_deep_input_is_looked_through() -> None:
    deep: Any = {"path": "/etc/passwd"}
    for _ in range(100_000):
        deep = [deep]
    assert not Rule(Action.ALLOW, path="/repo").matches(call(rawInput={"x": deep}))


rules = st.lists(
    st.builds(
        Rule,
        st.sampled_from(Action),
        kind=st.none() | st.lists(st.sampled_from(KINDS), min_size=1, max_size=3).map(tuple),
        title=st.none() | st.sampled_from(["a", "^b", "c$"]),
        path=st.none() | st.sampled_from(["/a", "/a/b", ".", "~"]),
        agent=st.none() | st.sampled_from(["x", "y"]),
        session=st.none() | st.sampled_from(["x*", "y"]),
    ),
    max_size=4,
)
names = st.sampled_from(["a", "b", "..", ".", "ab", "~"])
paths = st.lists(names, min_size=1, max_size=5).map("/".join) | st.lists(names, max_size=5).map(
    lambda parts: "/" + "/".join(parts)
)
calls = st.builds(
    Call,
    st.fixed_dictionaries(
        {"kind": st.sampled_from(KINDS), "title": st.text("abc", max_size=3)},
        optional={"locations": st.lists(st.fixed_dictionaries({"path": paths}), max_size=3)},
    ),
    agent=st.sampled_from(["x", "y"]),
    session=st.sampled_from(["x", "xy", "y"]),
    cwd=st.sampled_from(["/a", "/a/b", "/"]),
    home=st.just("/b"),
)


@given(rules, st.sampled_from(Policy), calls, options)
def test_the_first_rule_that_matches_decides_and_no_option_is_invented(
    rules: list[Rule], default: Policy, call: Call, offered: list[Json]
) -> None:
    decision = decide(rules, default, call, offered)
    first = next((number for number, rule in enumerate(rules, 1) if rule.matches(call)), None)
    if first is None:
        assert decision == decide((), default, call, offered)
        return
    action = rules[first - 1].action
    assert decision.by == f"policy rule {first}" and decision.ask == (action is Action.ASK)
    assert decision == decide(rules[:first], Policy.ASK, call, offered), "what comes after it changes nothing"
    if decision.option_id is not None:
        kinds = [option.get("kind") for option in offered if option.get("optionId") == decision.option_id]
        assert set(kinds) & set(ALLOW if action is Action.ALLOW else REJECT)


@given(calls, st.sampled_from(["/a", "/a/b", "/"]))
def test_what_a_path_rule_allows_lies_under_its_root_when_the_system_looks(call: Call, root: str) -> None:
    """Against the standard library's view of where a path leads, links aside."""
    if Rule(Action.ALLOW, path=root).matches(call):
        for location in call.tool_call["locations"]:
            path = location["path"]
            first, _, rest = path.partition("/")
            real = os.path.normpath(
                os.path.join("/b", rest) if first == "~" else os.path.join(call.cwd, path)
            )
            assert Path(real.replace("//", "/")).is_relative_to(root) and is_under(
                real.replace("//", "/"), root
            )
