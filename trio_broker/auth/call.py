"""A tool call that an agent asks permission for, and what the broker can know about it.

Kind, title and paths are claims. The rest of the call shows signs of commands and changes (`tool_facts`), and its paths
are looked up as the system finds them (`paths`). All of it is worked out once, when a rule first needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import attrs

from trio_broker.auth import tool_facts
from trio_broker.auth.paths import MAX_PARTS, Located, exists, fixed_part, is_directory, join, locate

READS = frozenset({"read", "search", "think"})
CHANGES = frozenset({"edit", "delete", "move"})
NO_FILES = frozenset({"fetch", "think", "switch_mode"})  # these work without files, if no member names one
KINDS = (*sorted(READS), "edit", "delete", "move", "execute", "fetch", "switch_mode", "other")
MAX_BASES = 4  # directories in which the relative paths of a call can begin


def _claimed(name: str) -> Any:
    def default(call: Call) -> tuple[str, ...]:
        value = call.tool_call.get(name)
        return (value,) if isinstance(value, str) else ()

    return attrs.Factory(default, takes_self=True)


@attrs.define
class Call:
    """A tool call that an agent asks permission for: `tool_call` is ACP's, whole; `cwd` is the session's directory.

    `kinds`, `titles`: all that the agent has claimed for it, from its announcement on. `earlier`: members that were
    replaced since. `unclear`: why not all of that is known, empty if it is.
    """

    tool_call: Mapping[str, Any]
    agent: str = ""
    session: str = ""
    cwd: str = "/"
    home: str = ""
    kinds: tuple[str, ...] = _claimed("kind")
    titles: tuple[str, ...] = _claimed("title")
    earlier: tuple[Mapping[str, Any], ...] = ()
    unclear: str = ""

    @cached_property
    def facts(self) -> tool_facts.Facts:
        return tool_facts.facts_of((self.tool_call, *self.earlier), self.titles)

    @cached_property
    def runs_commands(self) -> bool:
        return "execute" in self.kinds or self.facts.runs_commands

    @cached_property
    def changes_files(self) -> bool:
        return bool(CHANGES.intersection(self.kinds)) or self.facts.changes_files

    @cached_property
    def _names_and_bases(self) -> tuple[list[str], list[str], bool]:
        """The texts that name files, the directories in which relative ones can begin, and whether that is all."""
        facts, sure = self.facts, True
        names = list(facts.certain)
        for pattern in facts.patterns:
            literal = exists(pattern, self.cwd)
            names.append(pattern if literal else fixed_part(pattern))
            sure = sure and (literal or ".." not in pattern.removeprefix(fixed_part(pattern)))
            sure = sure and (literal or "{" not in pattern)
        if not names and (facts.searches or set(self.kinds) == {"search"}):
            names.append(".")
        found = [text for text in (*names, *facts.possible) if exists(text, self.cwd)]
        bases = dict.fromkeys([self.cwd, *filter(is_directory, (join(self.cwd, text) for text in found))])
        return names, list(bases)[:MAX_BASES], sure and len(bases) <= MAX_BASES

    @cached_property
    def located(self) -> list[Located]:
        """The files that the call names, or can name. Looks at the disk, once."""
        names, bases, _ = self._names_and_bases
        texts = [(text, base) for text in names for base in bases]
        texts += [(text, base) for text in self.facts.possible for base in bases if exists(text, base)]
        found: list[Located] = []
        parts = 0
        for text, base in texts:
            parts += text.count("/") + base.count("/")
            if parts > MAX_PARTS:
                return [*found, Located(frozenset(), frozenset(), sure=False)]
            found.append(locate(text, base, self.home))
        return found

    @cached_property
    def touched(self) -> frozenset[str]:
        return frozenset(path for one in self.located for path in one.every)

    @cached_property
    def whole_directories(self) -> frozenset[str]:
        """Where the call may touch all that is below.

        A working directory is not one of these, beside the names of the files that the call works with.
        """
        names, _, _ = self._names_and_bases
        others = [text for text in names if text not in self.facts.directories]
        texts = [*(others or names), *(text for text in self.facts.possible if exists(text, self.cwd))]
        if self.facts.searches:
            texts += self.facts.directories
        return frozenset(path for text in texts for path in locate(text, self.cwd, self.home).every)

    def kind_doubt(self) -> str:
        """Why its kind is not sure; empty if it is."""
        if self.unclear:
            return self.unclear
        if not self.kinds or not isinstance(self.tool_call.get("kind"), str):
            return "the call names no kind"
        if strange := [kind for kind in self.kinds if kind not in KINDS and not kind.startswith("_")]:
            return f"the call names an unknown kind: {strange[0][:50]!r}"
        if len(self.kinds) > 1:
            return f"the call was announced under several kinds: {', '.join(self.kinds)}"
        return self.hidden_kind()

    def hidden_kind(self) -> str:
        """Why the call may be of another kind than the agent says; empty if nothing shows that."""
        says = f"the call says {self.kinds[0] if self.kinds else 'nothing'!r}, but it carries"
        if self.runs_commands and "execute" not in self.kinds:
            return f"{says} a command"
        if self.changes_files and not CHANGES.intersection(self.kinds):
            return f"{says} a change of a file"
        return "" if self.facts.complete else "the call has more members than the broker looks at"

    def path_doubt(self) -> str:
        """Why its paths do not show all that it touches; empty if they do."""
        names, _, sure = self._names_and_bases
        if self.unclear:
            return self.unclear
        if self.runs_commands:
            return "the call runs a command, and no path shows what that touches"
        if not sure or not self.facts.complete or not all(one.sure for one in self.located):
            return "the call has a path that is not clear"
        return "" if names or (self.kinds and NO_FILES.issuperset(self.kinds)) else "the call names no path"
