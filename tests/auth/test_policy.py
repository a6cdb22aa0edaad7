from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.auth import policy
from trio_broker.auth.call import KINDS, Call
from trio_broker.auth.policy import (
    ALLOW,
    REJECT,
    TITLE_SEARCHED,
    Action,
    Decision,
    Policy,
    Rule,
    compile_pattern,
    decide,
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


@pytest.mark.parametrize("call", [{"kind": "fetch"}, {"kind": "edit"}, {"kind": "other"}])
def test_other_kinds_than_reads_are_rejected(call: Json) -> None:
    assert decided(Policy.APPROVE_READS, call).option_id == "id-reject_once"


DIFF = {"type": "diff", "path": "/a", "newText": "x"}


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ({}, "names no kind"),
        ({"kind": None}, "names no kind"),
        ({"kind": ["read"]}, "names no kind"),
        ({"kind": "read", "content": [DIFF]}, "carries a change"),
        (
            {"kind": "search", "content": [{"type": "content", "content": {"inner": [DIFF]}}]},
            "carries a change",
        ),
        ({"kind": "read", "rawInput": {"a": [{"newText": "x"}]}}, "carries a change"),
        ({"kind": "read", "rawInput": {"path": "a", "content": "text"}}, "carries a change"),
        ({"kind": "read", "rawInput": {"old_string": "a"}}, "carries a change"),
        ({"kind": "read", "rawInput": {"oldString": "a"}}, "carries a change"),
        ({"kind": "read", "rawInput": {"command": "rm x"}}, "carries a command"),
        ({"kind": "think", "rawInput": {"args": {"shell_command": "rm x"}}}, "carries a command"),
        ({"kind": "read", "rawInput": ["rm", "-rf", "/"]}, "carries a command"),
        ({"kind": "read", "rawInput": "rm -rf /"}, "carries a command"),
        ({"kind": "read", "rawInput": '{"command":"rm"}'}, "carries a command"),
        ({"kind": "read", "content": [{"type": "terminal", "terminalId": "t"}]}, "carries a command"),
    ],
)
def test_a_call_that_may_not_be_a_read_is_asked_about(call: Json, why: str) -> None:
    decision = decided(Policy.APPROVE_READS, call)
    assert decision.ask
    assert why in (decision.reason or "")


def test_a_call_that_had_another_kind_is_not_a_read() -> None:
    call = Call({"kind": "read"}, kinds=("execute", "read"))
    decision = decide((), Policy.APPROVE_READS, call, ALL)
    assert decision.ask and "execute, read" in (decision.reason or "")
    assert decide((), Policy.APPROVE_READS, Call({"kind": "read", "rawInput": {"path": "a"}}), ALL).option_id


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
    assert verdict(Rule(action, **conditions), call()) == ("yes" if matches else "no")


def verdict(rule: Rule, call: Call) -> str:
    found = rule.match(call)
    assert found.sure != bool(found.why)
    return ("yes" if found.holds else "no") if found.sure else "?"


@pytest.mark.parametrize("action", Action)
def test_without_a_kind_or_a_title_no_rule_about_them_can_tell(action: Action) -> None:
    for without in ({}, {"kind": None, "title": None}, {"kind": ["edit"], "title": 7}):
        assert verdict(Rule(action, kind=("edit",)), Call(without)) == "?"
        assert verdict(Rule(action, title="x"), Call(without)) == "?"


@pytest.mark.parametrize(
    ("kinds", "changes", "rule", "allows", "denies"),
    [
        (("execute",), {}, "execute", "yes", "yes"),
        (("execute", "read"), {}, "execute", "?", "yes"),
        (("execute", "read"), {}, "read", "?", "yes"),
        (("read",), {"rawInput": {"command": "ls"}}, "execute", "?", "?"),
        (("read",), {"rawInput": {"command": "ls"}}, "read", "?", "yes"),
        (("read",), {"rawInput": {"command": "ls"}}, "fetch", "no", "no"),
        (("read",), {"content": [DIFF]}, "edit", "?", "?"),
        (("read",), {"content": [DIFF]}, "read", "?", "yes"),
        (("edit",), {"content": [DIFF]}, "edit", "yes", "yes"),
        (("execute",), {"content": [DIFF]}, "execute", "yes", "yes"),
    ],
)
def test_a_kind_is_a_claim(
    kinds: tuple[str, ...], changes: Json, rule: str, allows: str, denies: str
) -> None:
    call = Call({"kind": kinds[-1], **changes}, kinds=kinds)
    found = [verdict(Rule(action, kind=(rule,)), call) for action in (Action.ALLOW, Action.DENY, Action.ASK)]
    assert found == [allows, denies, denies]


def test_every_title_that_a_call_had_counts() -> None:
    call = Call({"title": "Bash"}, titles=("rm -rf /precious", "Bash"))
    assert verdict(Rule(Action.DENY, title="rm -rf"), call) == "yes"
    assert verdict(Rule(Action.ALLOW, title="^Bash$"), call) == "no"


def test_a_deny_that_cannot_tell_asks_instead_of_allowing() -> None:
    deny = Rule(Action.DENY, kind=("execute",))
    for rules, default in (((deny,), Policy.APPROVE_ALL), ((deny, Rule(Action.ALLOW)), Policy.DENY_ALL)):
        decision = decide(rules, default, Call({}), ALL)
        assert decision.ask and decision.option_id is None
        assert decision.reason == "policy rule 1 cannot tell whether it matches: the call names no kind"
    for rules, default in (((deny,), Policy.DENY_ALL), ((deny, Rule(Action.DENY)), Policy.APPROVE_ALL)):
        assert decide(rules, default, Call({}), ALL).option_id == "id-reject_once"
    assert (
        decide((Rule(Action.ALLOW, kind=("read",)),), Policy.DENY_ALL, Call({}), ALL).option_id
        == "id-reject_once"
    )


@pytest.mark.parametrize(
    ("changes", "allows", "denies"),
    [
        ({}, "yes", "yes"),
        ({"locations": [{"path": "/repo/a"}, {"path": "/etc/passwd"}]}, "no", "yes"),
        ({"locations": [{"path": "/etc/passwd"}]}, "no", "no"),
        ({"locations": []}, "?", "?"),
        ({"locations": None}, "?", "?"),
        ({"locations": [{"path": 7}, None]}, "?", "?"),
        ({"locations": ["/repo/a"]}, "yes", "yes"),
        ({"locations": [{"path": "src/a.py"}]}, "yes", "yes"),
        ({"locations": [{"path": "../other/a.py"}]}, "no", "no"),
        ({"locations": [{"path": "/repo/../etc/passwd"}]}, "no", "no"),
        ({"locations": [{"path": "/etc/../repo/a"}]}, "yes", "yes"),
        ({"locations": [{"path": "//repo/a"}]}, "yes", "yes"),
        ({"locations": [{"path": "/repository/a"}]}, "no", "no"),
        ({"locations": [{"path": "~/x"}]}, "no", "no"),
        ({"locations": [{"path": "~other/x"}]}, "?", "yes"),
        ({"locations": [{"path": "file:///repo/a%20b"}]}, "yes", "yes"),
        ({"locations": [{"path": "file:///etc/passwd"}]}, "no", "no"),
        ({"rawInput": {"file_path": "/etc/passwd"}}, "no", "yes"),
        ({"rawInput": {"filePath": "../x"}}, "no", "yes"),
        ({"rawInput": {"file": "b.py", "old_string": "x", "new_string": "y"}}, "yes", "yes"),
        ({"rawInput": {"edits": [{"path": "/etc/passwd"}]}}, "no", "yes"),
        ({"rawInput": {"paths": ["b.py", "/etc/passwd"]}}, "no", "yes"),
        ({"rawInput": {"whatever": "/etc/passwd"}}, "no", "yes"),
        ({"rawInput": {"changes": {"/etc/passwd": {"type": "add"}}}}, "no", "yes"),
        ({"rawInput": {"files": {"../x.py": "text"}}}, "no", "yes"),
        ({"rawInput": {"old_string": "// a comment"}}, "yes", "yes"),
        ({"rawInput": {"profile": "../x y"}}, "no", "yes"),
        ({"rawInput": {"profile": "x"}}, "yes", "yes"),
        ({"rawInput": "/etc/passwd"}, "no", "yes"),
        ({"content": [{"type": "diff", "path": "/etc/passwd", "newText": "x"}]}, "no", "yes"),
        ({"content": [{"type": "diff", "path": "/repo/b", "newText": "x"}]}, "yes", "yes"),
        ({"kind": "execute"}, "?", "yes"),
        ({"rawInput": {"command": "cat b"}}, "?", "yes"),
        ({"rawInput": {"cmd": ["cat", "b"]}}, "?", "yes"),
        ({"locations": [], "kind": "execute", "title": "cat /etc/passwd"}, "no", "?"),
        ({"title": "Read /etc/passwd"}, "no", "yes"),
        ({"locations": [{"path": "/"}]}, "no", "?"),
        ({"locations": [{"path": "/REPO/a"}]}, "no", "?"),
    ],
)
def test_to_allow_all_paths_lie_under_the_root_and_to_deny_one_does(
    changes: Json, allows: str, denies: str
) -> None:
    found = [verdict(Rule(action, path="/repo"), call(**changes)) for action in Action]
    assert found == [allows, denies, denies], "allow, deny, ask"


def test_home_is_known() -> None:
    ssh = call(locations=[{"path": "~/.ssh/id"}])
    for root in ("~/.ssh", "/home/me/.ssh", "~", "/"):
        assert verdict(Rule(Action.DENY, path=root), ssh) == "yes"
    assert verdict(Rule(Action.DENY, path="~/.sshd"), ssh) == "no"


def test_no_rule_can_tell_about_a_title_that_goes_on_for_ever() -> None:
    long = call(title="Edit " + "x" * TITLE_SEARCHED)
    assert {verdict(Rule(action, title="^Edit"), long) for action in Action} == {"?"}


def test_a_title_is_searched_in_linear_time_and_any_text_can_be() -> None:
    assert verdict(Rule(Action.DENY, title="(a+)+$"), call(title="a" * 90_000 + "b")) == "no"
    assert verdict(Rule(Action.DENY, title="b"), call(title="a\ud800b\0")) == "yes"


@pytest.mark.parametrize("pattern", ["(?=a)", r"(a)\1", "(", "a{1,5000}", "a\ud800"])
def test_a_pattern_that_takes_more_than_linear_time_is_refused(
    pattern: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        compile_pattern(pattern)
    assert capfd.readouterr() == ("", "")


def test_deep_input_is_looked_through() -> None:
    deep: Any = {"path": "/etc/passwd"}
    for _ in range(100_000):
        deep = [deep]
    assert verdict(Rule(Action.ALLOW, path="/repo"), call(rawInput={"x": deep})) == "?"
    assert verdict(Rule(Action.DENY, path="/etc"), call(rawInput={"x": deep})) == "?"
    shallow = [[[[{"a": {"path": "/etc/passwd"}}]]]]
    assert verdict(Rule(Action.DENY, path="/etc"), call(rawInput=shallow)) == "yes"


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
    verdicts = [verdict(rule, call) for rule in rules]
    first = verdicts.index("yes") if "yes" in verdicts else None
    action = None if first is None else rules[first].action
    before = [
        rule.action
        for rule, found in zip(rules[:first], verdicts[:first], strict=True)
        if found == "?" and rule.action is not Action.ALLOW
    ]
    plain = decide((), default, call, offered)
    by = plain.by if first is None else f"policy rule {first + 1}"
    would_ask = plain.ask if action is None else action is Action.ASK
    would_allow = action is Action.ALLOW or (
        action is None and not plain.ask and plain.option_id == pick(offered, ALLOW) != pick(offered, REJECT)
    )
    assert decision.by == by
    if would_ask or (before and would_allow):
        assert decision.ask and decision.option_id is None
    elif action is None and not before:
        assert decision == plain
    if decision.option_id is not None and action is not None:
        kinds = [option.get("kind") for option in offered if option.get("optionId") == decision.option_id]
        assert set(kinds) & set(ALLOW if action is Action.ALLOW else REJECT)


def pick(offered: list[Json], kinds: tuple[str, ...]) -> str | None:
    return policy.pick_option(offered, *kinds)


@given(calls, st.sampled_from(["/a", "/a/b", "/"]))
def test_a_path_that_a_rule_allows_lies_under_its_root_when_the_system_looks(call: Call, root: str) -> None:
    """Against the standard library's view of where a path leads, links aside."""
    if Rule(Action.ALLOW, path=root).match(call).holds:
        for location in call.tool_call.get("locations", [{"path": "."}]):
            first, _, rest = location["path"].partition("/")
            path = os.path.join("/b", rest) if first == "~" else os.path.join(call.cwd, location["path"])
            assert Path(os.path.normpath(path).replace("//", "/")).is_relative_to(root)
