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
from functools import cache, cached_property
from typing import Any, Protocol

import attrs

from trio_broker.auth import tool_facts
from trio_broker.auth.paths import Located, exists, is_under, locate
from trio_broker.errors import Misuse

READS = frozenset({"read", "search", "think"})
CHANGES = frozenset({"edit", "delete", "move"})
KINDS = (*sorted(READS), "edit", "delete", "move", "execute", "fetch", "switch_mode", "other")
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


def _claimed(name: str) -> Any:
    def default(call: Call) -> tuple[str, ...]:
        value = call.tool_call.get(name)
        return (value,) if isinstance(value, str) else ()

    return attrs.Factory(default, takes_self=True)


@attrs.define
class Call:
    """A tool call that an agent asks permission for: `tool_call` is ACP's, whole; `cwd` is the session's directory.

    `kinds`, `titles`: all that the agent has claimed for it, from its announcement on.
    """

    tool_call: Mapping[str, Any]
    agent: str = ""
    session: str = ""
    cwd: str = "/"
    home: str = ""
    kinds: tuple[str, ...] = _claimed("kind")
    titles: tuple[str, ...] = _claimed("title")

    @cached_property
    def runs_commands(self) -> bool:
        return "execute" in self.kinds or tool_facts.runs_commands(self.tool_call)

    @cached_property
    def changes_files(self) -> bool:
        return bool(CHANGES.intersection(self.kinds)) or tool_facts.changes_files(self.tool_call)

    @cached_property
    def names(self) -> tool_facts.Names:
        return tool_facts.file_names(self.tool_call)

    @cached_property
    def located(self) -> list[Located]:
        """The files that the call names. Looks at the disk, once."""
        bases = [self.cwd]
        for directory in self.names.directories:
            bases += sorted(locate(directory, self.cwd, self.home).real)
        certain = [locate(text, base, self.home) for text in self.names.certain for base in bases]
        possible = [(text, base) for text in self.names.possible for base in bases if exists(text, base)]
        return certain + [locate(text, base, self.home) for text, base in possible]

    @cached_property
    def whole_directories(self) -> list[Located]:
        """The files of the call that it may touch with all that is below them.

        A working directory is not one of these, beside the names of the files that the call works with.
        """
        names = self.names
        others = [text for text in names.certain if text not in names.directories]
        return [locate(text, self.cwd, self.home) for text in others or names.certain]

    def _hidden(self) -> str | None:
        """Why the call may be of another kind than the agent says; None if nothing shows that."""
        if self.runs_commands and "execute" not in self.kinds:
            return "it carries a command"
        if self.changes_files and not CHANGES.intersection(self.kinds):
            return "it carries a change of a file"
        return None

    def kind_doubt(self) -> str:
        """Why its kind is not sure; empty if it is."""
        if not self.kinds:
            return "the call names no kind"
        if len(self.kinds) > 1:
            return f"the call was announced under several kinds: {', '.join(self.kinds)}"
        hidden = self._hidden()
        return f"the call says {self.kinds[0]!r}, but {hidden}" if hidden else ""


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
        if claimed and all(claimed) and not self._hides_other(call):
            return YES
        if claimed and not any(claimed) and not self._hides_ours(call):
            return NO
        return Match(False, False, call.kind_doubt() or "the kind of the call is not sure")

    def _hides_other(self, call: Call) -> bool:
        """Whether the call shows signs of a kind that is not among this rule's."""
        kinds = frozenset(self.kind or ())
        return (call.runs_commands and "execute" not in kinds) or (
            call.changes_files and not CHANGES & kinds and "execute" not in kinds
        )

    def _hides_ours(self, call: Call) -> bool:
        """Whether the call shows signs of one of this rule's kinds, which it does not claim."""
        kinds = frozenset(self.kind or ())
        return (call.runs_commands and "execute" in kinds) or (call.changes_files and bool(CHANGES & kinds))

    def _title(self, call: Call) -> Match:
        if self.title is None:
            return YES
        if not call.titles:
            return Match(False, False, "the call has no title")
        if any(len(title) > TITLE_SEARCHED for title in call.titles):
            return Match(False, False, f"the title has more than {TITLE_SEARCHED} characters")
        found = [_found(self.title, title) for title in call.titles]
        return YES if all(found) or (any(found) and not self._allows) else NO

    def _path(self, call: Call) -> Match:
        if self.path is None:
            return YES
        root = locate(self.path, call.cwd, call.home)
        return self._path_to_allow(call, root) if self._allows else self._path_to_stop(call, root)

    def _path_to_allow(self, call: Call, root: Located) -> Match:
        paths = [path for one in call.located for path in one.real]
        if not all(is_under(path, one) for path in paths for one in root.real):
            return NO
        doubt = _path_doubt(call)
        return Match(False, False, doubt) if doubt else YES

    def _path_to_stop(self, call: Call, root: Located) -> Match:
        touched = [path for one in call.located for path in one.every]
        if any(is_under(path, one) for path in touched for one in root.every):
            return YES
        folded = {one.casefold() for one in root.every}
        if any(is_under(path.casefold(), one) for path in touched for one in folded):
            return Match(False, False, "a path of the call differs only in upper and lower case")
        whole = [path for one in call.whole_directories for path in one.every]
        if any(is_under(one, path) for path in whole for one in root.every):
            return Match(False, False, "a directory of the call contains the rule's path")
        doubt = _path_doubt(call)
        return Match(False, False, doubt) if doubt else NO


def _path_doubt(call: Call) -> str:
    """Why the paths of a call do not show all that it touches; empty if they do."""
    if call.runs_commands:
        return "the call runs a command, and no path shows what that touches"
    if not call.names.complete or not all(one.sure for one in call.located):
        return "the call has a path that is not clear"
    return "" if call.names.certain else "the call names no path"


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
    if why := call.kind_doubt():
        return Action.ASK, f"approve-reads cannot tell whether the call only reads: {why}"
    return Action.ALLOW, None


def pick_option(options: Sequence[Mapping[str, Any]], *kinds: str) -> str | None:
    """The id of the first option offered of the first of these kinds that any option has; None if none has one."""
    for kind in kinds:
        for option in options:
            if option.get("kind") == kind and isinstance(found := option.get("optionId"), str):
                return found
    return None
