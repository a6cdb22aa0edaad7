"""The facts that a tool call shows about itself: names of files, commands, changes. Pure: values in, values out.

Kind and title are claims of the agent. `rawInput`, `content` and `locations` say more, but their shape is the agent's
own. So every string in them is looked at, at any depth, and counts as the name of a file when it can be one. That is
too many rather than too few: a rule that allows by path needs all of them in its directory, and asks when in doubt.

The work is bounded, because the agent decides how much there is: after MAX_NODES values, or MAX_NAMES names, the facts
are not `complete`, and a rule that needs them cannot tell whether it matches.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import attrs

MAX_NODES = 20_000  # values looked at
MAX_NAMES = 64  # names of files: each costs some calls of the system
MAX_DIRECTORIES = 2  # in which relative paths may begin, beside the session's
MAX_TEXT = 4096  # characters: no path is longer (PATH_MAX)
MAX_WORD = 65536  # characters: a longer word is data
MAX_LINES = 20  # lines of a member for paths: more are not a list of paths


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# The last words of the names of members, as in `filePath`
DIRECTORY_WORDS = _set("dir directory folder cwd root workspace workdir")
PATH_WORDS = DIRECTORY_WORDS | _set(
    "path paths file files filename filenames uri source destination target targets src dst dest location locations "
    "directories folders roots"
)
COMMAND_WORDS = _set(
    "command commands cmd cmds cmdline commandline script shell argv exec executable program bash zsh powershell"
)
COMMAND_NAMES = _set("code eval sh")  # as a whole name only: there are zip codes
CHANGE_NAMES = _set(
    "diff diffs patch patches edits old_string new_string old_str new_str old_text new_text new_content replacement "
    "file_text insert_text content contents"
)
LOOSE_CHANGE_NAMES = _set("content contents")  # of a file only beside the name of one

NAME_WORDS = re.compile(
    r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])"
)  # between those of file_path, file-path, filePath
OTHER_SCHEME = re.compile(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]*://", re.IGNORECASE)
WEB_SCHEMES = ("http", "https", "ws", "wss", "data", "mailto")
# In a line of text: URLs, which are passed over whole, and words that begin as a path outside of a directory does.
MENTION = re.compile(
    r"""(?P<url>(?!file:)[a-z][a-z0-9+.-]*://\S*)
    |(?:^|(?<=[\s"'`<>|;&(){}\[\],=:@]))(?P<path>(?:file:|~|/|\.\.?/|\$\{?\w)[^\s"'`<>|;&()\[\],]*)""",
    re.IGNORECASE | re.VERBOSE,
)
PATH_SIGN = re.compile(r"/|%2f|%2e%2e|^file:|(?:^|\\)\.\.(?:\\|$)", re.IGNORECASE)
WORD = re.compile(r"""[^\s"'`<>|;&()\[\]{},=]+""")


@attrs.frozen
class Names:
    """The texts in a tool call that name files, as the agent wrote them.

    `certain`: paths for sure. `possible`: words that are paths if there are such files. `directories`: where relative
    paths may begin. `complete`: nothing was left out, and nothing was unreadable.
    """

    certain: tuple[str, ...]
    possible: tuple[str, ...]
    directories: tuple[str, ...]
    complete: bool


@attrs.define
class _Collected:
    certain: dict[str, None] = attrs.field(factory=dict)
    possible: dict[str, None] = attrs.field(factory=dict)
    directories: dict[str, None] = attrs.field(factory=dict)
    complete: bool = True

    def names(self) -> Names:
        certain, possible = list(self.certain), [one for one in self.possible if one not in self.certain]
        fits = len(certain) + len(possible) <= MAX_NAMES
        return Names(
            tuple(certain[:MAX_NAMES]),
            tuple(possible[: max(0, MAX_NAMES - len(certain))]),
            tuple(self.directories)[:MAX_DIRECTORIES],
            self.complete and fits and len(self.directories) <= MAX_DIRECTORIES,
        )


def file_names(tool_call: Mapping[str, Any]) -> Names:
    """Every name of a file in the title, the locations, the content and the raw input of a tool call."""
    found = _Collected()
    if isinstance(title := tool_call.get("title"), str):
        _add_mentions(found, title)
    members = {name: tool_call.get(name) for name in ("locations", "content")}
    for number, (name, value) in enumerate(_walk(members | {"rawInput": _raw_input(tool_call)})):
        if number > MAX_NODES:
            found.complete = False
            break
        if isinstance(value, dict):
            for key in value:
                _add_key(found, name, key)
        elif isinstance(value, str):
            _add_text(found, name, value)
    return found.names()


def runs_commands(tool_call: Mapping[str, Any]) -> bool:
    """Whether the call runs a command, or can: then its paths do not show what it touches."""
    given = _raw_input(tool_call)
    if tool_call.get("kind") == "execute" or (isinstance(given, str) and " " in given.strip()):
        return True
    if isinstance(given, list) and all(isinstance(word, str) for word in given) and given:
        return True
    content = tool_call.get("content")
    if any(isinstance(item, dict) and item.get("type") == "terminal" for item in _items(content)):
        return True
    return any(_words(name) & COMMAND_WORDS or name.lower() in COMMAND_NAMES for name in _member_names(given))


def changes_files(tool_call: Mapping[str, Any]) -> bool:
    """Whether the call carries a diff, or another text for a file."""
    given = _raw_input(tool_call)
    if any(_is_diff(value) for _, value in _walk({"content": tool_call.get("content"), "rawInput": given})):
        return True
    names = {NAME_WORDS.sub("_", name).lower() for name in _member_names(given)}
    found = names & CHANGE_NAMES
    return bool(found - LOOSE_CHANGE_NAMES) or bool(
        found and any(_words(name) & PATH_WORDS for name in names)
    )


def _is_diff(value: object) -> bool:
    return isinstance(value, dict) and (
        value.get("type") == "diff" or "oldText" in value or "newText" in value
    )


def _raw_input(tool_call: Mapping[str, Any]) -> Any:
    """The raw input; some agents give it as a text of JSON."""
    given = tool_call.get("rawInput")
    if isinstance(given, str) and given.lstrip()[:1] in ("{", "[") and len(given) <= MAX_WORD:
        try:
            return json.loads(given)
        except (ValueError, RecursionError):
            return given
    return given


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _member_names(value: object) -> Iterator[str]:
    for _, inner in _walk({"": value}):
        if isinstance(inner, dict):
            yield from inner


def _walk(members: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each value inside, however deep, with the name of the member that it is in; at most MAX_NODES and one more.

    Without recursion: the agent decides how deep it is.
    """
    due: list[tuple[str, Any]] = list(members.items())[::-1]
    for _ in range(MAX_NODES + 2):
        if not due:
            return
        name, value = due.pop()
        yield name, value
        room = MAX_NODES + 2 - len(due)
        if isinstance(value, list):
            due += [(name, item) for item in value[:room]]
        elif isinstance(value, dict):
            due += islice(value.items(), room)


def _words(name: str) -> frozenset[str]:
    """The last word of a member's name, and the whole of it: `filePath` is a path, `pathological` is not."""
    words = [word.lower() for word in NAME_WORDS.split(name) if word]
    return frozenset((words[-1], "".join(words))) if words else frozenset()


def _names_path(name: str) -> bool:
    words = _words(name)
    return bool(words & PATH_WORDS) or any(word.endswith("path") for word in words)


def _add_key(found: _Collected, name: str, key: str) -> None:
    """Add the name of a member if it names a file, as in {"files": {"a.py": "text"}}; most name a parameter."""
    if _names_path(name) and ("." in key or "/" in key):
        _add_text(found, name, key)
    elif len(key) <= MAX_TEXT:
        _add_line(found, key)


def _add_text(found: _Collected, name: str, text: str) -> None:
    """Add what is the name of a file in one string; `name`: that of the member it is in."""
    lines = [line for line in text.splitlines() if line.strip()]
    if _names_path(name):
        _add_path_member(found, name, text, lines)
    elif len(text) > MAX_TEXT:
        if len(text) <= MAX_WORD and _looks_like_path(text):
            found.complete = False
    elif len(lines) == 1:
        _add_line(found, text)
    elif all(len(line.split()) == 1 for line in lines):  # a list of names; text has lines of several words
        for line in lines[:MAX_LINES]:
            _add_line(found, line)
        found.complete = found.complete and not any(map(_looks_like_path, lines[MAX_LINES:]))


def _add_path_member(found: _Collected, name: str, text: str, lines: list[str]) -> None:
    if (scheme := OTHER_SCHEME.match(text.strip())) is not None:
        found.complete = found.complete and scheme[0].partition(":")[0].lower() in WEB_SCHEMES
        return
    if len(text) > MAX_TEXT or len(lines) > MAX_LINES or any(sign in text for sign in "*?[\0"):
        found.complete = False  # another's list, or a pattern: what it names is not known
    if len(text) <= MAX_TEXT:
        found.certain |= dict.fromkeys(lines[:MAX_LINES] if len(lines) > 1 else [text])
        if _words(name) & DIRECTORY_WORDS:
            found.directories[text] = None


def _add_line(found: _Collected, text: str) -> None:
    stripped = text.strip()
    if OTHER_SCHEME.match(stripped):
        return
    (found.certain if _looks_like_path(stripped) else found.possible)[text] = None
    _add_mentions(found, stripped)


def _looks_like_path(text: str) -> bool:
    """One word that begins as a path outside of the current directory does, or has a slash in it."""
    if any(character.isspace() for character in text) or OTHER_SCHEME.match(text):
        return False
    return text.startswith(("~", "$")) or PATH_SIGN.search(text) is not None


def _add_mentions(found: _Collected, text: str) -> None:
    """The paths in a line of text. A relative one counts if there is such a file."""
    if len(text) > MAX_TEXT:
        found.complete = False
        return
    for mention in MENTION.finditer(text):
        if (path := mention["path"]) is not None and path.strip("/."):
            found.certain[path] = None
    for word in WORD.finditer(text):
        if len(found.possible) <= MAX_NAMES and word[0].strip("/"):
            found.possible[word[0]] = None
