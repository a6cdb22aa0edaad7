"""Lines of safe text for a person, made from texts and JSON values of others.

`LineWriter` puts a value beside its label, or below it and indented, and cuts and counts what is huge. It knows nothing
of requests; `request_text` does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import attrs

from trio_broker.protocol.visible_text import escape_exact, escape_line

MAX_CHARACTERS = 100_000  # of one text, unless the whole is wanted
MAX_LINES = 2_000  # of one request, unless the whole is wanted
MAX_DEPTH = 4  # of objects whose members have lines of their own; deeper ones are JSON
MAX_NAME = 100  # characters of the name of a member
SHOWN_ABOVE = 40  # characters; a shorter text is repeated

_PLAIN_HOST = re.compile(r"(?:[a-zA-Z0-9_.-]+|\[[0-9a-fA-F:.]+\])(?::[0-9]*)?")

Item = TypeVar("Item")


@attrs.frozen
class TextLine:
    """One line of safe text.

    `style` is one of title, label, command, path, url, text, hunk, added, removed, context, and note (a remark of the
    broker's side, not of the agent).
    """

    style: str
    text: str


def cut_lines(lines: list[TextLine], most: int, everything: str) -> list[TextLine]:
    """The first lines, at most `most`. If lines are missing, the last one counts them, and names `everything`.

    `everything` is the command that shows all, in backquotes.
    """
    if len(lines) <= most:
        return lines
    kept = max(0, most - 1)
    return [*lines[:kept], TextLine("note", f"… {count(len(lines) - kept, 'more line')}; all: {everything}")]


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


class LineWriter:
    """Collects lines.

    `everything` names the command that shows what is cut here. `whole`: nothing is cut. `shown` has long texts, each
    with the place where it stands.
    """

    def __init__(self, everything: str, *, whole: bool) -> None:
        self.everything, self.whole = everything, whole
        self.lines: list[TextLine] = []
        self.shown: dict[str, str] = {}

    def url(self, label: str, url: str) -> None:
        """The URL, and below it its host, where a look at a long URL finds none or another one."""
        self.text("url", label, url)
        self.add("url", f"host: {self.cut(host_of(url), escape_exact)}")

    def members(self, label: str, members: list[tuple[str, Any]]) -> None:
        for name, value in self.first(members, "more member"):
            self.member(f"{label} {short_name(name)}".rstrip(), value)

    def member(self, label: str, value: Any) -> None:
        if isinstance(value, str):
            self.text("text", label, value)
        else:
            self.add("text", f"{label}: {self.value(value)}")

    def value(self, value: Any) -> str:
        return self.cut(value if isinstance(value, str) else compact_json(value), escape_exact)

    def text(self, style: str, label: str, text: str) -> None:
        """A text beside its label, or below it and indented if it has several lines."""
        if text in self.shown:
            return self.add(style, f"{label}: ({self.shown[text]})")
        if len(text) > SHOWN_ABOVE:
            self.shown[text] = f"the {label.strip()} above"
        if style in ("command", "text"):  # a path or a kind of several lines is a trick
            lines = (text if self.whole else text[:MAX_CHARACTERS]).removesuffix("\n").split("\n")
            single = text.removesuffix("\n")
        else:
            lines, single = [text], text
        if len(lines) == 1:
            return self.add(style, f"{label}: {self.cut(single, escape_exact)}")
        self.add("label", f"{label}:")
        indent = " " * (len(label) - len(label.lstrip()) + 2)
        for line in lines:
            self.add(
                style, indent + (escape_exact(line) if style != "text" else escape_line(line.expandtabs(4)))
            )
        if not self.whole and len(text) > MAX_CHARACTERS:
            missing = count(len(text) - MAX_CHARACTERS, "more character")
            self.add("note", f"… {missing} of this text; all: {self.everything}")
        return None

    def cut(self, text: str, escape: Callable[[str], str]) -> str:
        missing = 0 if self.whole else len(text) - MAX_CHARACTERS
        if missing <= 0:
            return escape(text)
        return f"{escape(text[:MAX_CHARACTERS])} … {count(missing, 'more character')}; all: {self.everything}"

    def first(self, items: list[Item], noun: str) -> Iterator[Item]:
        """The items for which there is room; then a line says how many are left out."""
        for index, item in enumerate(items):
            if not self.whole and len(self.lines) >= MAX_LINES:
                self.add("note", f"… {count(len(items) - index, noun)}; all: {self.everything}")
                return
            yield item

    def add(self, style: str, text: str) -> None:
        self.lines.append(TextLine(style, text))


def leaves(value: Any, name: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The members of nested objects, with dotted names; an absent value has none."""
    if isinstance(value, dict) and value and depth < MAX_DEPTH:
        for key, one in value.items():
            yield from leaves(one, f"{name}.{key}" if name else str(key), depth + 1)
    elif (
        isinstance(value, list)
        and value
        and depth < MAX_DEPTH
        and all(isinstance(one, dict) for one in value)
    ):
        for index, one in enumerate(value):
            yield from leaves(one, f"{name}[{index}]", depth + 1)
    elif not (name == "" and value in (None, {})):
        yield name, value


def compact_json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except (RecursionError, ValueError):  # ValueError: a number with thousands of digits
        return "(JSON that is too deep or too long to show)"


def short_name(name: str) -> str:
    missing = len(name) - MAX_NAME
    return escape_exact(name) if missing <= 0 else f"{escape_exact(name[:MAX_NAME])}…({missing} more)"


def host_of(url: str) -> str:
    """The host that a browser opens, with a remark where a person or another program can take it for another one."""
    scheme, _, rest = url.strip().partition(":")
    if scheme.lower() == "file":
        return "none (a file)"
    host = re.split(r"[/\\?#]", rest.lstrip("/\\"), maxsplit=1)[0]
    if not host:
        return "none"
    name = host.rpartition("@")[2]
    remarks = ["before the @ stands a user name, not a host"] if name != host else []
    remarks += ["the URL has a backslash: programs disagree about its host"] if "\\" in url else []
    if not _PLAIN_HOST.fullmatch(name):
        try:
            remarks.append(f"to computers: {name.encode('idna').decode()}")
        except UnicodeError:
            remarks.append("not a plain host name")
    return name + (f" ({'; '.join(remarks)})" if remarks else "")
