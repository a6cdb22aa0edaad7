"""What the broker answers to a permission question when no person does. Pure: values in, values out.

An option id is the agent's own and may mean anything ("yes, and never ask again"), so it is only ever picked
from what was offered, by its kind: "once" before "always", because the broker decides for this call alone.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from trio_broker.errors import Misuse

READS = frozenset({"read", "search", "think"})
ALLOW = ("allow_once", "allow_always")
REJECT = ("reject_once", "reject_always")


class Policy(enum.Enum):
    ASK = "ask"
    APPROVE_ALL = "approve-all"
    APPROVE_READS = "approve-reads"
    DENY_ALL = "deny-all"


@attrs.frozen
class Decision:
    """Either `ask` a person, or answer with `option_id`, where None means the outcome "cancelled"."""

    option_id: str | None = None
    ask: bool = False


def parse(text: str) -> Policy:
    """The policy of that name; raises `Misuse` naming the choices."""
    try:
        return Policy(text)
    except ValueError:
        choices = [policy.value for policy in Policy]
        raise Misuse(f"{text!r} is no policy; use one of {', '.join(choices)}", choices=choices) from None


def decide(policy: Policy, tool_call: Mapping[str, Any], options: Sequence[Mapping[str, Any]]) -> Decision:
    """What to answer to a permission question about `tool_call`; never an option that was not offered.

    Where no option of the wanted direction was offered the answer is "cancelled": to approve by way of a
    rejection, or the other way round, would be an invention too.
    """
    if policy is Policy.ASK:
        return Decision(ask=True)
    allowed = policy is Policy.APPROVE_ALL or (policy is Policy.APPROVE_READS and _reads(tool_call))
    return Decision(_first(options, ALLOW if allowed else REJECT))


def _reads(tool_call: Mapping[str, Any]) -> bool:
    kind = tool_call.get("kind")
    return isinstance(kind, str) and kind in READS


def _first(options: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> str | None:
    for kind in kinds:
        for option in options:
            if option.get("kind") == kind and isinstance(found := option.get("optionId"), str):
                return found
    return None
