"""The broker's decision about a permission request: allow, deny, or ask a person.

Rules come first, in their order, then the policy of the turn, of the session, or of the configuration. An option id is
the agent's own and may mean anything ("yes, and never ask again"), so it is only ever picked from what was offered, by
its kind: "once" before "always", because the broker decides for this call alone.

A rule decides on facts, and kind, title and paths are claims of the agent. So a rule matches, does not match, or
cannot tell. An `allow` that cannot tell does not apply. A `deny` or an `ask` that cannot tell turns a later "allow"
into "ask".
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Protocol

import attrs

from trio_broker.auth.call import CHANGES, KINDS, READS, Call
from trio_broker.auth.paths import Located, folded, is_under, locate
from trio_broker.errors import Misuse

ALLOW = ("allow_once", "allow_always")
REJECT = ("reject_once", "reject_always")
TITLE_SEARCHED = 100_000  # characters; the time of a search grows with them


class Policy(enum.Enum):
    ASK = "ask"
    APPROVE_ALL = "approve-all"
    APPROVE_READS = "approve-reads"
    DENY_ALL = "deny-all"


class Action(enum.Enum):
    """What a rule does with the calls it matches."""

    ALLOW = "allow"
    DENY = "deny"
    ASK = "ask"


class Unattended(enum.Enum):
    """What becomes of an ask when nobody is there who could answer it."""

    HOLD = "hold"
    DENY = "deny"


@attrs.frozen
class Match:
    """Whether a condition holds; `sure` is False where the call does not show that, and `why` says so."""

    holds: bool
    sure: bool = True
    why: str = ""


YES, NO = Match(True), Match(False)


@attrs.frozen
class Rule:
    """A rule of the configuration: it matches a call that fits everything it names.

    `session` is a glob, `title` a regular expression (RE2) found anywhere in a title, `path` a directory or a file.
    A rule that allows by path needs every file of the call below it; others need one.
    """

    action: Action
    agent: str | None = None
    session: str | None = None
    kind: tuple[str, ...] | None = None
    title: str | None = None
    path: str | None = None

    def match(self, call: Call) -> Match:
        """Whether the rule matches. The first condition that surely fails decides; then the first in doubt."""
        doubt = None
        for condition in (self._agent, self._session, self._kind, self._title, self._path):
            found = condition(call)
            if found.sure and not found.holds:
                return NO
            if not found.sure:
                doubt = doubt or found
        return doubt or YES

    @property
    def _allows(self) -> bool:
        return self.action is Action.ALLOW

    def _agent(self, call: Call) -> Match:
        return YES if self.agent in (None, call.agent) else NO

    def _session(self, call: Call) -> Match:
        return YES if self.session is None or fnmatchcase(call.session, self.session) else NO

    def _kind(self, call: Call) -> Match:
        """To allow, all that the call may be; else one of the kinds that it has claimed."""
        if self.kind is None:
            return YES
        claimed = [kind in self.kind for kind in call.kinds]
        if any(claimed) and not self._allows:
            return YES
        doubt = call.kind_doubt()
        if doubt and claimed and isinstance(call.tool_call.get("kind"), str) and not call.unclear:
            known = all(kind in KINDS or kind.startswith("_") for kind in call.kinds)
            if known and all(claimed) and not self._hides_other(call):
                return YES
            if known and not any(claimed) and not self._hides_ours(call):
                return NO
        if doubt:
            return Match(False, False, doubt)
        return YES if all(claimed) else NO

    def _hides_other(self, call: Call) -> bool:
        """Whether the call shows signs of a kind that is not among this rule's."""
        kinds = frozenset(self.kind or ())
        changes = call.changes_files and not (CHANGES | {"execute"}) & kinds
        return changes or (call.runs_commands and "execute" not in kinds) or not call.facts.complete

    def _hides_ours(self, call: Call) -> bool:
        """Whether the call shows signs of one of this rule's kinds, which it does not claim."""
        kinds = frozenset(self.kind or ())
        changes = call.changes_files and not CHANGES.intersection(call.kinds) and bool(CHANGES & kinds)
        return changes or (call.runs_commands and "execute" in kinds) or not call.facts.complete

    def _title(self, call: Call) -> Match:
        if self.title is None:
            return YES
        titles = [title for title in call.titles if title.strip()]
        found = [_found(self.title, title) for title in titles if len(title) <= TITLE_SEARCHED]
        if any(found) and not self._allows:
            return YES
        if call.unclear or not titles:
            return Match(False, False, call.unclear or "the call has no title")
        if len(found) < len(titles):
            return Match(False, False, f"the title has more than {TITLE_SEARCHED} characters")
        return YES if all(found) else NO

    def _path(self, call: Call) -> Match:
        if self.path is None:
            return YES
        root = locate(self.path, call.cwd, call.home)
        return self._path_to_allow(call, root) if self._allows else self._path_to_stop(call, root)

    def _path_to_allow(self, call: Call, root: Located) -> Match:
        paths = [path for one in call.located for path in one.real]
        if not all(is_under(path, one) for path in paths for one in root.real):
            return NO
        doubt = call.path_doubt() or ("" if paths else "the call names no path")
        return Match(False, False, doubt) if doubt else YES

    def _path_to_stop(self, call: Call, root: Located) -> Match:
        if any(is_under(path, one) for path in call.touched for one in root.every):
            return YES
        roots = {folded(one) for one in root.every}
        if any(is_under(folded(path), one) for path in call.touched for one in roots):
            return Match(False, False, "a path of the call differs only in its letters' case or composition")
        if any(is_under(one, folded(path)) for path in call.whole_directories for one in roots):
            return Match(False, False, "a directory of the call contains the rule's path")
        inside = [
            one for one in roots if not is_under(folded(call.cwd), one)
        ]  # else any word would be below it
        words = (locate(text, call.cwd, call.home) for text in call.facts.possible if inside)
        if any(is_under(folded(path), one) for word in words for path in word.written for one in inside):
            return Match(False, False, "a word of the call can be the name of a file that the rule is about")
        doubt = call.path_doubt()
        return Match(False, False, doubt) if doubt else NO


class _Pattern(Protocol):
    def search(self, text: str, /) -> object | None: ...


@cache
def compile_pattern(text: str) -> _Pattern:
    """A regular expression of a rule, for searches in linear time. Raises ValueError: why RE2 refuses it.

    The titles that it searches are an agent's. `re` takes exponential time for some, and holds the interpreter's lock
    all the while, so that no time limit in a thread can help.
    """
    import re2  # late: few configurations have such rules, and every command imports this module

    options = re2.Options()
    options.log_errors = False
    options.dot_nl = True  # a title can have several lines
    try:
        pattern: _Pattern = re2.compile(text, options=options)
    except (re2.error, UnicodeError) as error:
        why = error.args[0] if error.args else error
        raise ValueError(why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why)) from error
    return pattern


def _found(pattern: str, title: str) -> bool:
    return compile_pattern(pattern).search(title.encode("utf-8", "replace").decode()) is not None


@attrs.frozen
class Decision:
    """Either `ask` a person, or answer with `option_id`, where None means the outcome "cancelled".

    `by` says what decided: `policy:NAME`, or `policy rule N`, counted from 1. `reason`: why a person is asked although
    the policy allows.
    """

    option_id: str | None = None
    ask: bool = False
    by: str = ""
    reason: str | None = None


def parse_policy(text: str) -> Policy:
    """The policy of that name; raises `Misuse` naming the choices."""
    try:
        return Policy(text)
    except ValueError:
        choices = [policy.value for policy in Policy]
        raise Misuse(f"{text!r} is no policy; use one of {', '.join(choices)}", choices=choices) from None


def decide(
    rules: Sequence[Rule], default: Policy, call: Call, options: Sequence[Mapping[str, Any]]
) -> Decision:
    """What to answer to a permission question; never an option that was not offered.

    Where no option of the wanted direction was offered the answer is "cancelled": to approve by way of a
    rejection, or the other way round, would be an invention too.
    """
    action, by, reason = _action(rules, default, call)
    if action is Action.ASK:
        return Decision(ask=True, by=by, reason=reason)
    return Decision(pick_option(options, *(ALLOW if action is Action.ALLOW else REJECT)), by=by)


def _action(rules: Sequence[Rule], default: Policy, call: Call) -> tuple[Action, str, str | None]:
    """The action, its author, and why a person is asked although the author is a rule or a policy that allows."""
    doubt: str | None = None
    for number, rule in enumerate(rules, 1):
        found = rule.match(call)
        if found.holds:
            action, by = rule.action, f"policy rule {number}"
            break
        if not found.sure and rule.action is not Action.ALLOW:
            doubt = doubt or f"policy rule {number} cannot tell whether it matches: {found.why}"
    else:
        action, why = _default_action(default, call)
        by, doubt = f"policy:{default.value}", doubt or why
    if action is Action.ALLOW and doubt:
        action = Action.ASK
    return action, by, doubt if action is Action.ASK else None


def _default_action(default: Policy, call: Call) -> tuple[Action, str | None]:
    """What a policy does with a call that no rule decides, and why it has to ask about it."""
    if default is not Policy.APPROVE_READS:
        actions = {Policy.ASK: Action.ASK, Policy.APPROVE_ALL: Action.ALLOW, Policy.DENY_ALL: Action.DENY}
        return actions[default], None
    if call.kinds and not READS.intersection(call.kinds):
        return Action.DENY, None
    why = call.kind_doubt()
    if (
        why
        and READS.issuperset(call.kinds)
        and isinstance(call.tool_call.get("kind"), str)
        and not call.unclear
    ):
        why = call.hidden_kind()  # several kinds, and all of them read
    if why:
        return Action.ASK, f"approve-reads cannot tell whether the call only reads: {why}"
    return Action.ALLOW, None


def pick_option(options: Sequence[Mapping[str, Any]], *kinds: str) -> str | None:
    """The id of the first option offered of the first of these kinds that any option has; None if none has one."""
    for kind in kinds:
        for option in options:
            if option.get("kind") == kind and isinstance(found := option.get("optionId"), str):
                return found
    return None
