"""What an agent asks, in lines for a person: the command, paths, URL, diff and whatever else the request contains.

Input is an ask of `_trio_broker/asks`, or the parameters of a `session/request_permission`. An agent wrote it, so any
member can be missing, of a wrong type, hostile or huge. Output is lines of safe text without a width. Three rules hold:

* Every member that the agent sent is shown. A long text that stands above already is named, not repeated.
* No line of the agent looks like a line of ours: a text of several lines is indented below its label, the lines of a
  diff have their marks, and the caller draws a frame at the left of all lines.
* A cut is counted, and the line that says so names the command that shows all.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from trio_broker.client import line_diff
from trio_broker.client.text_lines import (
    MAX_CHARACTERS,
    MAX_LINES,
    SHOWN_ABOVE,
    LineWriter,
    TextLine,
    compact_json,
    count,
    cut_lines,
    leaves,
    short_name,
)
from trio_broker.protocol.visible_text import escape_exact, escape_line

COMMANDS = ("command", "cmd", "script", "argv", "args", "shell_command", "shellCommand")
FIRST_PATHS = 3  # above the content, so that it is on the first screen; more of them stand below it
DIRECTORIES = ("cwd", "workdir", "working_directory", "workingDirectory", "directory")

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:[/\\]")
_MARK_STYLES = {"+": "added", "-": "removed", " ": "context", "@": "hunk"}
_OF_THE_LINK = {"sessionId", "toolCallId", "elicitationId", "requestId", "status", "sessionUpdate"}

Json = Mapping[str, Any]


def request_lines(ask: Json, *, whole: bool = False) -> list[TextLine]:
    """The whole request, its title first; unless `whole`, huge ones are cut, and a line says by how much."""
    ask_id = ask.get("askId")
    id = escape_line(ask_id) if isinstance(ask_id, str) else "ID"
    writer = _RequestWriter(f"`trio-broker pending {id}`", whole=whole)
    writer.request(ask)
    return writer.lines if whole else cut_lines(writer.lines, MAX_LINES, writer.everything)


def diff_lines(part: Json, everything: str, *, whole: bool = False) -> list[TextLine]:
    """One `diff` of a tool call's content: the path, then hunks with line numbers. `everything` as in `cut_lines`."""
    writer = _RequestWriter(everything, whole=whole)
    writer.part(part)
    return writer.lines


def summary(ask: Json) -> str:
    """The most telling fact in one line, for a table: the command, URL or path; else the title."""
    lines = request_lines(ask)
    for starts in ("command", "url", "diff", "new file", "path"):
        for line, below in zip(lines, [*lines[1:], None], strict=True):
            if line.style != "title" and line.text.startswith(starts):
                return f"{line.text} {below.text.strip()} …" if below and line.style == "label" else line.text
    return lines[0].text


class _RequestWriter(LineWriter):
    def request(self, ask: Json) -> None:
        call, form = ask.get("toolCall"), ask.get("elicitation")
        titles = [one.get("title") for one in (call, ask) if isinstance(one, dict)]
        title = next((one for one in titles if isinstance(one, str) and one.strip()), None)
        self.add("title", "the agent asks" if title is None else self.cut(title, escape_line))
        if isinstance(reason := ask.get("reason"), str):
            self.add("note", f"asked because: {self.cut(reason, escape_line)}")
        if isinstance(call, dict):
            self.call(call, title)
        elif call is not None:
            self.member("call", call)
        if isinstance(form, dict):
            self.form(form, title)
        elif form is not None:
            self.member("form", form)

    def call(self, call: Json, title: str | None) -> None:
        rest = {name: value for name, value in call.items() if name not in _OF_THE_LINK}
        if rest.get("title") == title:
            rest.pop("title", None)
        if isinstance(rest.get("kind"), str):
            self.text("label", "kind", rest.pop("kind"))
        members = [*leaves(rest.pop("rawInput", None), "")]
        plain = self.actions(members)
        content = rest.pop("content", None)
        parts = content if isinstance(content, list) else []
        diffed = {part.get("path") for part in parts if isinstance(part, dict) and _is_text(part.get("path"))}
        places = rest.pop("locations", None)
        self.locations(places[:FIRST_PATHS] if isinstance(places, list) else places, diffed)
        for part in self.first(parts, "more part"):
            self.part(part)
        self.locations(places[FIRST_PATHS:] if isinstance(places, list) else None, diffed)
        if not isinstance(content, list) and content is not None:
            self.member("content", content)
        self.members("input", plain)
        self.members("call", [*leaves(rest, "")])

    def actions(self, members: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Write commands, their directories, and URLs; return the other members."""
        groups: dict[str, list[tuple[str, Any]]] = {"command": [], "directory": [], "url": [], "": []}
        for name, value in members:
            groups[_action(name.rpartition(".")[2], value)].append((name, value))
        for name, value in groups["command"]:
            text = value if isinstance(value, str) else shlex.join(value)
            self.text("command", "command" if name == "command" else f"command ({short_name(name)})", text)
        for name, value in groups["directory"]:
            self.text("path", f"in ({short_name(name)})", value)
        for name, value in groups["url"]:
            self.url("url" if name == "url" else f"url ({short_name(name)})", value)
        return groups[""]

    def locations(self, found: Any, diffed: set[Any]) -> None:
        for place in self.first(found if isinstance(found, list) else [], "more path"):
            rest = dict(place) if isinstance(place, dict) else {}
            path, line = rest.pop("path", None), rest.pop("line", None)
            if not isinstance(path, str) or not isinstance(line, int | None):
                self.member("path", place)
                continue
            if path not in diffed:
                self.text("path", "path", path if line is None else f"{path}:{compact_json(line)}")
            self.members("path", [*leaves(rest, "")])
        if not isinstance(found, list) and found is not None:
            self.member("path", found)

    def part(self, part: Any) -> None:
        """One item of a tool call's content."""
        rest = dict(part) if isinstance(part, dict) else {}
        kind = rest.pop("type", None)
        if (
            kind == "diff"
            and isinstance(rest.get("newText"), str)
            and isinstance(rest.get("oldText"), str | None)
        ):
            self.diff(rest.pop("path", None), rest.pop("oldText", None), rest.pop("newText"))
        elif kind == "terminal" and isinstance(rest.get("terminalId"), str):
            self.text("text", "terminal", rest.pop("terminalId"))
        elif kind == "content" and isinstance(block := rest.get("content"), dict):
            del rest["content"]
            self.members("part", [*leaves(rest, "")])
            rest = dict(block)
            if rest.get("type") == "text" and isinstance(rest.get("text"), str):
                del rest["type"]
                self.text("text", "text", rest.pop("text"))
        else:
            return self.member("content", part)
        self.members("content", [*leaves(rest, "")])
        return None

    def diff(self, path: Any, old: str | None, new: str) -> None:
        label = "new file" if old is None else "diff"
        self.text("path", label, path if isinstance(path, str) else compact_json(path))
        before, after = old or "", new
        for text, where in ((before, "old"), (after, "new")):
            if len(text) > SHOWN_ABOVE:
                self.shown[text] = f"the {where} text above"
        if isinstance(path, str) and len(path) > SHOWN_ABOVE:
            self.shown[path] = "the path above"
        missing = 0 if self.whole else sum(max(0, len(text) - MAX_CHARACTERS) for text in (before, after))
        if missing:
            before, after = before[:MAX_CHARACTERS], after[:MAX_CHARACTERS]
        if all("\r" in text or not text for text in (before, after)) and _ends_alike(before, after):
            before, after = before.replace("\r\n", "\n"), after.replace("\r\n", "\n")
        start = len(self.lines)
        for line in line_diff.diff(_split(before), _split(after)):
            mark = "" if line.mark == "@" else line.mark
            self.add(_MARK_STYLES[line.mark], mark + escape_line(line.text.expandtabs(4)))
        if not missing and bool(before) and bool(after) and before.endswith("\n") != after.endswith("\n"):
            which = "old" if after.endswith("\n") else "new"
            self.add("note", f"(no newline at the end of the {which} text)")
        elif len(self.lines) == start and not missing:
            self.add("note", "(empty)" if not before and not after else "(old and new text are the same)")
        if missing:
            self.add("note", f"… {count(missing, 'more character')} of these texts; all: {self.everything}")

    def form(self, form: Json, title: str | None) -> None:
        """An elicitation: its message, its URL or its fields."""
        rest = {name: value for name, value in form.items() if name not in _OF_THE_LINK}
        if isinstance(message := rest.get("message"), str):
            del rest["message"]
            if message != title:
                self.text("text", "message", message)
        if isinstance(rest.get("mode"), str):
            self.text("label", "mode", rest.pop("mode"))
        if isinstance(rest.get("url"), str):
            self.url("url", rest.pop("url"))
        if isinstance(rest.get("requestedSchema"), dict):
            self.schema(dict(rest.pop("requestedSchema")))
        self.members("form", [*leaves(rest, "")])

    def schema(self, schema: dict[str, Any]) -> None:
        names = schema.get("required")
        plain = isinstance(names, list) and all(map(_is_text, names))
        required: set[str] = set(names or ()) if plain else set()
        fields = schema.get("properties")
        if isinstance(fields, dict):
            del schema["properties"]
            for name, field in self.first([*fields.items()], "more field"):
                self.field(name, field, name in required)
            if plain and required <= fields.keys():
                del schema["required"]
        if schema.get("type") == "object":
            del schema["type"]
        self.members("form", [*leaves(schema, "")])

    def field(self, name: str, field: Any, required: bool) -> None:
        rest = dict(field) if isinstance(field, dict) else {}
        kind = rest.pop("type") if isinstance(rest.get("type"), str) else "value"
        needed = "required" if required else "optional"
        self.add("label", f"field {short_name(name)} ({self.cut(kind, escape_exact)}, {needed})")
        for key in ("title", "description"):
            if isinstance(rest.get(key), str):
                self.text("text", f"  {key}", rest.pop(key))
        self.field_choices(rest)
        if isinstance(items := rest.get("items"), dict):
            rest["items"] = dict(items)
            self.field_choices(rest["items"])
            if rest["items"] in ({}, {"type": "string"}):
                del rest["items"]
        if "default" in rest:
            self.member("  default", rest.pop("default"))
        if not isinstance(field, dict):
            self.member("  field", field)
        self.members(" ", [*leaves(rest, "")])

    def field_choices(self, owner: dict[str, Any]) -> None:
        """Write the choices that a field, or an item of it, offers, and take them out."""
        for key in ("enum", "oneOf", "anyOf"):
            if isinstance(owner.get(key), list) and owner[key]:
                self.choices(owner.pop(key))

    def choices(self, choices: list[Any]) -> None:
        for one in self.first(choices, "more choice"):
            if isinstance(one, dict) and {*one} == {"const", "title"} and isinstance(one["title"], str):
                self.text("text", f"  choice {self.value(one['const'])}", one["title"])
            else:
                self.member("  choice", one)


def _action(name: str, value: Any) -> str:
    """Which kind of act a member of the input names: command, directory, url, or "" for none."""
    if name in COMMANDS and (
        _is_text(value) or (isinstance(value, list) and value and all(map(_is_text, value)))
    ):
        return "command"
    if isinstance(value, str):
        return "directory" if name in DIRECTORIES else "url" if _URL.match(value.strip()) else ""
    return ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _split(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []


def _ends_alike(*texts: str) -> bool:
    """Whether every line of them ends with CR and LF."""
    return all(text.count("\n") == text.count("\r\n") == text.count("\r") for text in texts)
