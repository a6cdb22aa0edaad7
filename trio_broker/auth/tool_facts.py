"""The facts that a tool call shows about itself: names of files, commands, changes. Pure: values in, values out.

Kind and title are claims of the agent. `rawInput`, `content` and `locations` say more, but their shape is the agent's
own. So every string in them is looked at, at any depth, and counts as the name of a file when it can be one. That is
too many rather than too few: a rule that allows by path needs all of them in its directory, and asks when in doubt.
Only the texts of changes (BODY_NAMES) are data, and of these the headers of patches name files.

The work is bounded, because the agent decides how much there is: after MAX_NODES values, MAX_CHARACTERS or MAX_NAMES,
the facts are not `complete`, and a rule that needs them cannot tell whether it matches.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import attrs

MAX_NODES = 5_000  # values looked at
MAX_CHARACTERS = 200_000  # of strings and of the names of members
BODY_DISCOUNT = 20  # the text of a change is only searched for the headers of patches
MAX_NAMES = 64  # names of files: each costs some calls of the system
MAX_TEXT = 4096  # characters: no path is longer (PATH_MAX)
MAX_LINES = 50  # lines of a text in which paths are looked for
MAX_NAME = 256  # characters of a member's name
WILDCARDS = "*?[{"


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# The last words of the names of members, as in `filePath`
PATH_WORDS = _set(
    "path paths file files filename filenames uri source destination target targets src dst dest location locations "
    "dir directory directories folder folders cwd root roots workspace workdir"
)
DIRECTORY_WORDS = _set("dir directory folder cwd root workspace workdir")
PATTERN_WORDS = _set("pattern patterns query regex regexp glob globs include exclude search needle")
# Any word of a name, as in `commandToRun`; or the whole name: there are zip codes
COMMAND_WORDS = _set(
    "command commands cmd cmds cmdline commandline script shell argv exec executable program bash zsh powershell"
)
COMMAND_NAMES = _set("code eval sh run stdin chars python function sourcecode")
# The last word, or the whole name without what is between its words
CHANGE_WORDS = _set("diff diffs patch patches edit edits")
CHANGE_NAMES = _set(
    "oldstring newstring oldstr newstr oldtext newtext newcontent newcontents newsource replacement filetext "
    "inserttext codeedit patchtext changes"
)
CONTENT_NAMES = _set("content contents")  # of a file only beside the name of one
BODY_NAMES = CHANGE_NAMES | CONTENT_NAMES
NAME_WORDS = re.compile(
    r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])"
)  # between those of file_path, file-path, filePath
OTHER_SCHEME = re.compile(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]{0,20}://", re.IGNORECASE)
WEB_SCHEMES = ("http", "https", "ws", "wss", "data", "mailto")
# In a line of text: words that begin as a path outside of a directory does.
MENTION = re.compile(
    r"""(?:^|(?<=[\s"'`<>|;&(){}\[\],=:@]))(?:file:|~|/|\.\.?/|\$\{?\w)[^\s"'`<>|;&()\[\],]*""", re.IGNORECASE
)
SCHEME_BEFORE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,20}:$")
WORD = re.compile(r"""[^\s"'`<>|;&()\[\]{},=]+""")
SPACE = re.compile(r"\s")
PATH_SIGN = re.compile(r"/|%2f|%2e%2e|^file:|(?:^|\\)\.\.(?:\\|$)", re.IGNORECASE)
PATCH = re.compile(r"^(?:\*\*\* Begin Patch|@@ |diff --git |--- .*\n\+\+\+ )", re.MULTILINE)
PATCH_FILE = re.compile(
    r"^(?:\*\*\* (?:Add|Update|Delete) File: |\*\*\* Move to: |--- (?:a/)?|\+\+\+ (?:b/)?|rename (?:from|to) )(.+)$",
    re.MULTILINE,
)


@attrs.frozen
class Facts:
    """What a tool call shows.

    `certain`: texts that name files, as the agent wrote them; `possible`: words that do if there are such files;
    `patterns`: texts with wildcards. `directories`: those of `certain` in which the call works. `searches`: the call
    has a pattern, so it looks at all that is below its directories. `complete`: nothing was left out or unreadable.
    """

    certain: tuple[str, ...] = ()
    possible: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    searches: bool = False
    runs_commands: bool = False
    changes_files: bool = False
    complete: bool = True


@attrs.frozen
class _Name:
    """The name of a member, classified."""

    path: bool
    directory: bool
    pattern: bool
    command: bool
    change: bool
    content: bool
    body: bool


@lru_cache(maxsize=1024)
def _classify(name: str) -> _Name:
    words = [word.lower() for word in NAME_WORDS.split(name) if word]
    last, whole = words[-1] if words else "", "".join(words)
    return _Name(
        path=bool({last, whole} & PATH_WORDS) or whole.endswith("path"),
        directory=bool({last, whole} & DIRECTORY_WORDS),
        pattern=bool({last, whole} & PATTERN_WORDS),
        command=not COMMAND_WORDS.isdisjoint(words) or whole in COMMAND_WORDS | COMMAND_NAMES,
        change=last in CHANGE_WORDS or whole in CHANGE_NAMES,
        content=whole in CONTENT_NAMES,
        body=last in CHANGE_WORDS or whole in BODY_NAMES,
    )


def facts_of(tool_calls: Sequence[Mapping[str, Any]], titles: Sequence[str] = ()) -> Facts:
    """The facts of a tool call, and of what it was before: the first of `tool_calls` is the present one."""
    found = _Collector()
    for title in titles:
        found.add_mentions(title)
    for call in tool_calls:
        found.add_call(call)
    return found.facts()


@attrs.define
class _Collector:
    certain: dict[str, None] = attrs.field(factory=dict)
    possible: dict[str, None] = attrs.field(factory=dict)
    words: dict[str, None] = attrs.field(
        factory=dict
    )  # possible, too, but prose is full of them: the first ones
    patterns: dict[str, None] = attrs.field(factory=dict)
    directories: dict[str, None] = attrs.field(factory=dict)
    searches: bool = False
    commands: bool = False
    changes: bool = False
    contents: bool = False
    paths: bool = False
    complete: bool = True
    nodes: int = MAX_NODES
    characters: int = MAX_CHARACTERS

    def facts(self) -> Facts:
        names = (self.certain, self.possible, self.patterns)
        fits = sum(map(len, names)) <= MAX_NAMES
        certain, possible, patterns = (tuple(islice(one, MAX_NAMES)) for one in names)
        possible = tuple(one for one in (*possible, *self.words) if one not in self.certain)
        return Facts(
            certain,
            possible,
            patterns,
            tuple(one for one in self.directories if one in certain),
            self.searches,
            self.commands,
            self.changes or (self.contents and self.paths),
            self.complete and fits,
        )

    def add_call(self, call: Mapping[str, Any]) -> None:
        given = call.get("rawInput")
        if (
            isinstance(given, str)
            and SPACE.search(given.strip())
            and not given.lstrip().startswith(("{", "["))
        ):
            self.commands = True
        if isinstance(given, list) and given and all(isinstance(word, str) for word in given[:MAX_NAMES]):
            self.commands = True
        members = {name: call.get(name) for name in ("locations", "content", "rawInput")}
        for name, value in self._walk(members):
            if isinstance(value, dict):
                self._add_object(name, value)
            elif isinstance(value, str):
                self._add_text(name, value)

    def _walk(self, members: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Each value inside, however deep, with the name of the member that it is in, as far as the budget goes.

        Without recursion: the agent decides how deep it is. A text that is JSON is walked through, too: agents pass
        arguments as their model wrote them. The text of a change is not: files have JSON in them.
        """
        due: list[tuple[str, Any]] = list(members.items())[::-1]
        while due:
            name, value = due.pop()
            body = _classify(name[:MAX_NAME]).body
            self.nodes -= 1
            self.characters -= len(name)
            if isinstance(value, str):
                self.characters -= len(value) // BODY_DISCOUNT if body else len(value)
            if self.nodes < 0 or self.characters < 0:
                self.complete = False
                return
            if isinstance(value, str) and not body and value.lstrip()[:1] in ("{", "["):
                value = self._parsed(value)
            yield name, value
            if isinstance(value, list):
                due += [(name, item) for item in value[: self.nodes + 1]]
            elif isinstance(value, dict):
                due += islice(value.items(), self.nodes + 1)

    def _parsed(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            return text
        except RecursionError:
            self.complete = False
            return text

    def _add_object(self, name: str, value: Mapping[str, Any]) -> None:
        kind = value.get("type")
        self.commands = self.commands or kind == "terminal"
        self.changes = self.changes or kind == "diff"
        for key, item in islice(value.items(), self.nodes + 1):
            self.characters -= len(key)
            if self.characters < 0:
                return
            about = _classify(key[:MAX_NAME])
            holds = isinstance(item, str | list | dict) and bool(item)
            self.commands = self.commands or (about.command and holds)
            self.changes = self.changes or (about.change and holds)
            self.contents = self.contents or (about.content and isinstance(item, str))
            self.paths = self.paths or about.path
            self.searches = self.searches or (about.pattern and isinstance(item, str))
            if _looks_like_path(key) or (_classify(name[:MAX_NAME]).path and "." in key):
                self.certain[key] = None  # as in {"files": {"a.py": "text"}}
            else:
                self._add_possible(key)

    def _add_text(self, name: str, text: str) -> None:
        """Add what is the name of a file in one string; `name`: that of the member it is in."""
        about = _classify(name[:MAX_NAME])
        self.changes = self.changes or PATCH.search(text) is not None
        self.certain |= dict.fromkeys(
            found[1].strip() for found in islice(PATCH_FILE.finditer(text), MAX_NAMES + 1)
        )
        if about.path and not about.body:
            self._add_path_member(about, text)
        elif about.pattern:
            self._add_pattern(text)
        elif not about.body or (
            not SPACE.search(text.strip()) and text.strip().startswith(("/", "~", "$", ".."))
        ):
            self._add_lines(text)

    def _add_path_member(self, about: _Name, text: str) -> None:
        scheme = OTHER_SCHEME.match(text.strip())
        if scheme is not None and ".." not in text:
            self.complete = self.complete and scheme[0].partition(":")[0].lower() in WEB_SCHEMES
        elif len(text) > MAX_TEXT or "\0" in text or text.count("\n") > MAX_LINES:
            self.complete = False
        else:
            (self.patterns if _has_wildcard(text) else self.certain)[text] = None
            self._add_lines(text)
            if about.directory:
                self.directories[text] = None

    def _add_pattern(self, text: str) -> None:
        """A pattern names the directory before its first wildcard; one for text names nothing, unless it is a file."""
        if len(text) > MAX_TEXT or "\n" in text:
            return
        if _has_wildcard(text) and "/" in text:
            self.patterns[text] = None
        else:
            self._add_possible(text)

    def _add_possible(self, text: str) -> None:
        if len(text) > MAX_TEXT:
            return
        if "/" in text:
            self.possible[text] = None
        elif len(self.words) < MAX_NAMES:
            self.words[text] = None

    def _add_lines(self, text: str) -> None:
        lines = [line for line in text.splitlines() if line.strip()]
        for line in lines[:MAX_LINES]:
            stripped = line.strip()
            if len(line) > MAX_TEXT:
                self.complete = self.complete and not (
                    _looks_like_path(stripped) and len(line) < 2 * MAX_TEXT
                )
                continue
            if _looks_like_path(stripped):
                (self.patterns if _has_wildcard(stripped) else self.certain)[line] = None
            elif not OTHER_SCHEME.match(stripped):
                self._add_possible(line)
            self.add_mentions(stripped)
        if len(lines) > MAX_LINES and any(_looks_like_path(line.strip()) for line in lines[MAX_LINES:]):
            self.complete = False

    def add_mentions(self, text: str) -> None:
        """Add the paths in a line of text. A relative one counts if there is such a file."""
        self.characters -= len(text)
        if self.characters < 0:
            self.complete = False
            return
        for mention in MENTION.finditer(text):
            path, before = mention[0], text[max(0, mention.start() - 22) : mention.start()]
            is_url = (
                path.startswith("//")
                and SCHEME_BEFORE.search(before)
                and not before.lower().endswith("file:")
            )
            if path.strip("/.") and (not is_url or "/.." in path):
                (self.patterns if _has_wildcard(path) else self.certain)[path] = None
        for word in WORD.finditer(text):
            if word[0].strip("/") and len(self.possible) <= MAX_NAMES:
                self._add_possible(word[0])


def _has_wildcard(text: str) -> bool:
    return any(sign in text.replace("${", "") for sign in WILDCARDS)


def _looks_like_path(text: str) -> bool:
    """One word that begins as a path outside of the current directory does, or has a slash in it."""
    if len(text) > 2 * MAX_TEXT or SPACE.search(text) or (OTHER_SCHEME.match(text) and ".." not in text):
        return False
    return text.startswith(("~", "$")) or PATH_SIGN.search(text) is not None
