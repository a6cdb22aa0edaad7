"""What the broker answers to a permission question when no person does. Pure: values in, values out.

Rules come first, in their order, then the policy of the turn, of the session, or of the configuration. An option id is
the agent's own and may mean anything ("yes, and never ask again"), so it is only ever picked from what was offered, by
its kind: "once" before "always", because the broker decides for this call alone.
"""

from __future__ import annotations

import enum
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote

import attrs

from trio_broker.errors import Misuse

READS = frozenset({"read", "search", "think"})
KINDS = (*sorted(READS), "edit", "delete", "move", "execute", "fetch", "switch_mode", "other")
ALLOW = ("allow_once", "allow_always")
REJECT = ("reject_once", "reject_always")
TITLE_SEARCHED = 10_000  # characters; agents write titles, and a regular expression holds up the whole broker
PATH_NAMES = ("path", "paths", "file", "files", "filename", "uri", "source", "destination")
DIRECTORY_NAMES = ("dir", "directory", "folder", "cwd", "root")
COMMAND_NAMES = ("command", "cmd", "commands", "script", "shell")
FILE_URI = "file://"
NAME_WORDS = re.compile(r"[_-]|(?<=[a-z])(?=[A-Z])")  # between those of file_path, file-path and filePath


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
class Call:
    """What an agent asks permission for, and where: `tool_call` is ACP's, `cwd` the session's directory."""

    tool_call: Mapping[str, Any]
    agent: str = ""
    session: str = ""
    cwd: str = "/"
    home: str = ""

    @property
    def kind(self) -> str:
        kind = self.tool_call.get("kind")
        return kind if isinstance(kind, str) else "other"

    @property
    def title(self) -> str:
        title = self.tool_call.get("title")
        return title if isinstance(title, str) else ""


@attrs.frozen
class Rule:
    """It matches a call that fits everything it names; what it leaves out fits any.

    `session` is a glob, `title` a regular expression found anywhere in the title, `path` a root that some path of the
    call lies under. To allow, every path has to: see `tool_call_paths` for what is known of a call's paths, and what
    is not.
    """

    action: Action
    agent: str | None = None
    session: str | None = None
    kind: tuple[str, ...] | None = None
    title: str | None = None
    path: str | None = None

    def matches(self, call: Call) -> bool:
        return (
            self.agent in (None, call.agent)
            and (self.session is None or fnmatchcase(call.session, self.session))
            and (self.kind is None or call.kind in self.kind)
            and (self.title is None or self._has_title(call.title))
            and (self.path is None or self._lies_under(call, self.path))
        )

    def _has_title(self, title: str) -> bool:
        if len(title) > TITLE_SEARCHED:
            return self.action is not Action.ALLOW  # it may say anything
        return re.search(self.title or "", title) is not None

    def _lies_under(self, call: Call, root: str) -> bool:
        found = tool_call_paths(call.tool_call, call.cwd, call.home)
        under = [is_under(path, absolute(root, call.cwd, call.home)) for path in found]
        if self.action is Action.ALLOW:
            return bool(under) and all(under) and not runs_commands(call.tool_call)
        return any(under)


@attrs.frozen
class Decision:
    """Either `ask` a person, or answer with `option_id`, where None means the outcome "cancelled".

    `by` says what decided: `policy:NAME`, or `policy rule N`, counted from 1.
    """

    option_id: str | None = None
    ask: bool = False
    by: str = ""


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
    action, by = _action(rules, default, call)
    if action is Action.ASK:
        return Decision(ask=True, by=by)
    return Decision(pick_option(options, *(ALLOW if action is Action.ALLOW else REJECT)), by=by)


def _action(rules: Sequence[Rule], default: Policy, call: Call) -> tuple[Action, str]:
    for number, rule in enumerate(rules, 1):
        if rule.matches(call):
            return rule.action, f"policy rule {number}"
    by = f"policy:{default.value}"
    if default is Policy.ASK:
        return Action.ASK, by
    allowed = default is Policy.APPROVE_ALL or (default is Policy.APPROVE_READS and call.kind in READS)
    return Action.ALLOW if allowed else Action.DENY, by


def pick_option(options: Sequence[Mapping[str, Any]], *kinds: str) -> str | None:
    """The id of the first option offered of the first of these kinds that any option has; None if none has one."""
    for kind in kinds:
        for option in options:
            if option.get("kind") == kind and isinstance(found := option.get("optionId"), str):
                return found
    return None


def tool_call_paths(tool_call: Mapping[str, Any], cwd: str, home: str = "") -> list[str]:
    """Every path the call tells of, absolute and without `..`; a relative one is taken from `cwd`.

    Nothing here looks at a disk. So `..` is taken away lexically and symbolic links are not followed: what a link under
    a root points to counts as being under that root. Paths are those of `locations`, of the diffs in `content`, and in
    `rawInput`, however deep, every string under a name like `path`, `file` or `cwd`, and every other that begins as an
    absolute path does. What a command touches nobody can tell from its words.
    """
    found = [*_paths_of_objects(tool_call.get("locations")), *_paths_of_objects(tool_call.get("content"))]
    found += _paths_of_input(tool_call.get("rawInput"))
    return [absolute(path, cwd, home) for path in found]


def runs_commands(tool_call: Mapping[str, Any]) -> bool:
    """Whether it runs a command, or may: then its paths do not tell what it touches."""
    given = tool_call.get("rawInput")
    names = given if isinstance(given, dict) else ()
    return tool_call.get("kind") == "execute" or any(name in names for name in COMMAND_NAMES)


def absolute(path: str, cwd: str, home: str = "") -> str:
    """A path from `cwd`, with `~` as `home`; another's home (`~user`) is left outside of every directory."""
    if path.startswith(FILE_URI):
        path = unquote("/" + path.removeprefix(FILE_URI).partition("/")[2])
    first, _, rest = path.partition("/")
    if first == "~" and home:
        path = posixpath.join(home, rest)
    elif first.startswith("~"):
        return path
    return "/" + posixpath.normpath(posixpath.join(cwd, path)).lstrip("/")


def is_under(path: str, root: str) -> bool:
    """Whether an absolute path is `root`, or lies in it."""
    return path.startswith("/") and (path == root or path.startswith(root.rstrip("/") + "/"))


def _paths_of_objects(items: object) -> Iterator[str]:
    """The `path` of each object: the locations of a call, the diffs of its content."""
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and isinstance(path := item.get("path"), str):
            yield path


def _paths_of_input(value: object) -> Iterator[str]:
    """Without recursion: how deep it is, the agent decides."""
    due = [(value, False)]
    while due:
        value, named = due.pop()
        if isinstance(value, str):
            if named or _looks_absolute(value):
                yield value
        elif isinstance(value, list):
            due += [(item, named) for item in value]
        elif isinstance(value, dict):
            yield from (name for name in value if _looks_absolute(name) or (named and _looks_relative(name)))
            due += [(item, _names_path(name)) for name, item in value.items()]


def _names_path(name: str) -> bool:
    last = NAME_WORDS.split(name)[-1].lower()
    return last in (*PATH_NAMES, *DIRECTORY_NAMES) or last.endswith("path")


def _looks_absolute(text: str) -> bool:
    """One line that begins as a path outside of the current directory does; `//` begins a comment."""
    begins = text.startswith(("/", "~", "../", FILE_URI)) and not text.startswith("//")
    return begins and "\n" not in text


def _looks_relative(text: str) -> bool:
    return "/" in text or "." in text
