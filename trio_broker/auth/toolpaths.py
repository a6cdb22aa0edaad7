"""The paths of a tool call, as far as the call tells them. Pure: nothing here looks at a disk.

So `..` is taken away lexically and symbolic links are not followed: what a link under a root points to counts as being
under that root. Paths are those of `locations`, of the diffs in `content`, and in `rawInput`, however deep, every
string under a name like `path`, `file` or `cwd`, and every other that begins as an absolute path does. What a command
touches nobody can tell from its words.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

NAMED = ("path", "paths", "file", "files", "filename", "uri", "source", "destination")
DIRECTORIES = ("dir", "directory", "folder", "cwd", "root")
COMMANDS = ("command", "cmd", "commands", "script", "shell")
FILE_URI = "file://"
WORDS = re.compile(r"[_-]|(?<=[a-z])(?=[A-Z])")  # between those of file_path, file-path and filePath


def paths(tool_call: Mapping[str, Any], cwd: str, home: str = "") -> list[str]:
    """Every path the call tells of, absolute and without `..`; a relative one is taken from `cwd`."""
    found = [*_of_objects(tool_call.get("locations")), *_of_objects(tool_call.get("content"))]
    found += _of_input(tool_call.get("rawInput"))
    return [absolute(path, cwd, home) for path in found]


def runs_commands(tool_call: Mapping[str, Any]) -> bool:
    """Whether it runs a command, or may: then its paths do not tell what it touches."""
    given = tool_call.get("rawInput")
    names = given if isinstance(given, dict) else ()
    return tool_call.get("kind") == "execute" or any(name in names for name in COMMANDS)


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


def _of_objects(items: object) -> Iterator[str]:
    """The `path` of each object: the locations of a call, the diffs of its content."""
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and isinstance(path := item.get("path"), str):
            yield path


def _of_input(value: object) -> Iterator[str]:
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
    last = WORDS.split(name)[-1].lower()
    return last in (*NAMED, *DIRECTORIES) or last.endswith("path")


def _looks_absolute(text: str) -> bool:
    """One line that begins as a path outside of the current directory does; `//` begins a comment."""
    begins = text.startswith(("/", "~", "../", FILE_URI)) and not text.startswith("//")
    return begins and "\n" not in text


def _looks_relative(text: str) -> bool:
    return "/" in text or "." in text
