from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.errors import Misuse
from trio_broker.policy import ALLOW, REJECT, Decision, Policy, decide, parse

KINDS = (*ALLOW, *REJECT)
ALL = [{"optionId": f"id-{kind}", "kind": kind} for kind in reversed(KINDS)]


def without(*kinds: str) -> list[dict[str, Any]]:
    return [option for option in ALL if option["kind"] not in kinds]


@pytest.mark.parametrize("policy", Policy)
def test_parse_knows_every_policy(policy: Policy) -> None:
    assert parse(policy.value) is policy


def test_parse_names_the_choices() -> None:
    with pytest.raises(Misuse, match=r"'yolo'.*ask, approve-all, approve-reads, deny-all"):
        parse("yolo")


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
def test_once_comes_before_always(policy: Policy, options: list[dict[str, Any]], picked: str | None) -> None:
    assert decide(policy, {"kind": "edit"}, options) == Decision(picked)


@pytest.mark.parametrize("kind", ["read", "search", "think"])
def test_reads_are_approved(kind: str) -> None:
    assert decide(Policy.APPROVE_READS, {"kind": kind}, ALL).option_id == "id-allow_once"


@pytest.mark.parametrize(
    "call", [{"kind": "fetch"}, {"kind": "edit"}, {"kind": None}, {"kind": ["read"]}, {}]
)
def test_what_is_no_read_is_rejected(call: dict[str, Any]) -> None:
    assert decide(Policy.APPROVE_READS, call, ALL).option_id == "id-reject_once"


def test_ask_decides_nothing() -> None:
    assert decide(Policy.ASK, {"kind": "read"}, ALL) == Decision(None, ask=True)


options = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "optionId": st.text("ab") | st.none() | st.integers(),
            "kind": st.sampled_from(KINDS) | st.text("ab"),
        },
    )
)


@given(st.sampled_from(Policy), st.sampled_from(["read", "edit", "other"]), options)
def test_an_option_is_never_invented(policy: Policy, kind: str, offered: list[dict[str, Any]]) -> None:
    decision = decide(policy, {"kind": kind}, offered)
    assert decision.ask == (policy is Policy.ASK)
    allowed = policy is Policy.APPROVE_ALL or (policy is Policy.APPROVE_READS and kind == "read")
    wanted = ALLOW if allowed else REJECT
    if decision.option_id is not None:
        found = [option for option in offered if option.get("optionId") == decision.option_id]
        assert any(option.get("kind") in wanted for option in found)
