"""The files that a text can mean, as the system finds them: symbolic links, `..`, `~`, variables, file URIs, blanks.

An agent and its tools read a path in their own way: some remove `..` before they follow links, as the kernel does not;
some strip blanks or decode URIs. So a text means a set of files, and a rule that allows needs all of them.

This looks at the disk as it is now. A link that an agent changes between the decision and the use is not found: that
takes a sandbox. Hard links are not found either.
"""

from __future__ import annotations

import os
import pwd
import re
import unicodedata
from urllib.parse import unquote

import attrs

MAX_PARTS = 2000  # of the paths of one call: each costs a call of the system
MAX_DEPTH = 128  # parts of one path
AROUND = "\"'`@<>\ufeff\u200b\u200c\u200d\u2060 \t\r\n"  # tools take these away from the ends of a path
FILE_SCHEME = re.compile(r"file:", re.IGNORECASE)
VARIABLE = re.compile(r"\$\{?(\w+)\}?")
NOT_OURS = ("/proc", "/dev/fd", "/dev/stdin")  # they mean something else to every process


@attrs.frozen
class Located:
    """The files that a text can mean. `real`: without links; `written`: by its letters. `sure`: these are all."""

    real: frozenset[str]
    written: frozenset[str]
    sure: bool = True

    @property
    def every(self) -> frozenset[str]:
        return self.real | self.written


def locate(text: str, base: str, home: str = "") -> Located:
    """The absolute paths that `text` can mean for a tool that works in the directory `base`."""
    written: set[str] = set()
    real: set[str] = set()
    sure = "\0" not in text and text.count("/") <= MAX_DEPTH
    for spelling in _spellings(text) if sure else ():
        path, known = _expand(spelling, home)
        sure = sure and known and not path.startswith("~")
        literally = {spelling} if path != spelling and exists(spelling, base) else set()
        for one in {path} | literally:
            whole = os.path.join(base, one)
            flat = "/" + os.path.normpath(whole).lstrip("/")
            written.add(flat)
            real |= {_real(found) for found in {whole, flat}}
    sure = sure and not any(is_under(path, root) for path in written for root in NOT_OURS)
    return Located(frozenset(real), frozenset(written), sure)


def exists(text: str, base: str) -> bool:
    """Whether there is a file, or a link, of that name in `base`."""
    try:
        return "\0" not in text and os.path.lexists(os.path.join(base, text))
    except (
        OSError,
        ValueError,
    ):  # a name that the system refuses, as one that is too long, is not one of a file
        return False


def is_directory(path: str) -> bool:
    try:
        return os.path.isdir(path)
    except ValueError:
        return False


def join(base: str, text: str) -> str:
    return os.path.join(base, text)


def fixed_part(pattern: str) -> str:
    """The directory in which a pattern with wildcards looks: its part before the first of them."""
    before = re.split(r"[*?\[{]", pattern, maxsplit=1)[0]
    return before.rpartition("/")[0] + "/" if "/" in before else "."


def folded(path: str) -> str:
    """A form in which paths are equal that some file systems hold for the same: by case, and by composed letters."""
    return unicodedata.normalize("NFC", path).casefold()


def is_under(path: str, root: str) -> bool:
    """Whether an absolute path is `root`, or lies in it."""
    return path.startswith("/") and (path == root or path.startswith(root.rstrip("/") + "/"))


def _real(path: str) -> str:
    try:
        return "/" + os.path.realpath(path).lstrip("/")
    except (OSError, ValueError):
        return path


def _spellings(text: str) -> set[str]:
    found = {text, text.strip(), text.strip(AROUND)}
    for one in tuple(found):
        if scheme := FILE_SCHEME.match(one):
            found |= _uri_spellings(one[scheme.end() :])
            if one == one.strip():
                found.discard(one)  # the URI itself is not a path: no tool that knows `file:` reads it as one
    found |= {unquote(one) for one in found if "%" in one}
    found |= {one.replace("\\", "/") for one in found if "\\" in one}
    return found


def _uri_spellings(rest: str) -> set[str]:
    """The paths of a file URI, from behind `file:`; a host, a query and a fragment are not part of them."""
    if rest.startswith("//"):
        rest = "/" + rest[2:].partition("/")[2]
    return {unquote(rest), unquote(re.split(r"[?#]", rest)[0])}


def _expand(path: str, home: str) -> tuple[str, bool]:
    """With home directories and variables; and whether these are known: an agent has an environment of its own."""
    first, slash, rest = path.partition("/")
    if first == "~" and home:
        path = home + slash + rest
    elif first.startswith("~"):
        try:
            path = pwd.getpwnam(first[1:]).pw_dir + slash + rest
        except (KeyError, ValueError):
            return path, False
    if "$" not in path:
        return path, True
    known = all(name in ("HOME", "PWD") for name in VARIABLE.findall(path))
    values = dict(os.environ) | {"HOME": home or "~"}
    expanded = VARIABLE.sub(lambda found: values.get(found[1], found[0]), path)
    return expanded, known and "$" not in expanded and "PWD" not in VARIABLE.findall(path)
