"""How a turn is shown: as text while it comes, as the raw ACP frames, or as the answer alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any, Protocol

from trio_broker.cli.events import content_text, session_update
from trio_broker.cli.output import print_stderr, safe, safe_json, safe_lines
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.extensions import METHOD_PREFIX
from trio_broker.protocol.jsonrpc import Message
from trio_broker.protocol.notices import COMPACTION, NOTICE, notice_label, notice_text

STYLES = {"thinking": "2", "tool": "36", "plan": "33", "done": "32", "queued": "2"}
NOTICE_STYLE = "33"
DIFF_COLOURS = {"path": "1", "hunk": "36", "added": "32", "removed": "31", "note": "33"}
MAX_DIFF = 40  # lines of the diffs of one tool call
ALL = "`trio-broker sessions export`"  # shows what is cut
FINAL = ("completed", "failed")


class Renderer(Protocol):
    """Sees every message of the session in order, then the end of the turn."""

    def message(self, message: Message) -> None: ...
    def end(self, reason: str) -> None: ...


def renderer(style: str) -> Renderer:
    """One for `--format`: text, json or quiet."""
    kinds: dict[str, type[Json] | type[Quiet] | type[Text]] = {"json": Json, "quiet": Quiet, "text": Text}
    return kinds[style]()


def write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


class Json:
    """The session's ACP frames as they came, one a line, the answer to the prompt last."""

    def message(self, message: Message) -> None:
        if not (message.method or "").startswith(METHOD_PREFIX):
            sys.stdout.buffer.write(safe_json(message.raw) + b"\n")
            sys.stdout.buffer.flush()

    def end(self, reason: str) -> None:
        pass


class Quiet:
    """The text of the answer, when the turn has ended. Notices go to stderr at once: they are not the answer."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def message(self, message: Message) -> None:
        update = session_update(message)
        if update.get("sessionUpdate") == "agent_message_chunk":
            self.parts.append(content_text(update.get("content")))
        elif update.get("sessionUpdate") in (NOTICE, COMPACTION):
            print_stderr(f"[{safe(notice_label(update))}] {safe_lines(notice_text(update))}")

    def end(self, reason: str) -> None:
        text = safe_lines("".join(self.parts))
        write(text if text.endswith("\n") or not text else text + "\n")
        self.parts.clear()  # a watch goes on


class Text:
    """Everything as it comes: plain in a pipe, with colours on a terminal (but NO_COLOR)."""

    def __init__(self) -> None:
        self.colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self.running = ""  # the kind of text that the line we are in belongs to
        self.at_start = True
        self.tools: dict[str, dict[str, Any]] = {}

    def message(self, message: Message) -> None:
        update = session_update(message)
        kind = update.get("sessionUpdate")
        if kind == "agent_thought_chunk":
            self._stream("thinking", content_text(update.get("content")))
        elif kind == "agent_message_chunk":
            self._stream("", content_text(update.get("content")))
        elif kind in ("tool_call", "tool_call_update"):
            self._tool(update)
        elif kind == "plan":
            self._block("plan", "", _plan(update.get("entries")))
        elif kind in (NOTICE, COMPACTION):
            head, *lines = safe_lines(notice_text(update)).split("\n")
            self._block(safe(notice_label(update)), head, lines)

    def end(self, reason: str) -> None:
        self._block("done", reason, [])

    def _stream(self, tag: str, text: str) -> None:
        """Text that goes on where the last of its kind stopped."""
        if self.running != (tag or "answer"):
            self._new_line()
            self.running = tag or "answer"
            write(self._paint(tag, f"[{tag}] ") if tag else "")
        text = safe_lines(text)
        if text:
            self.at_start = text.endswith("\n")
            write(self._paint(tag, text) if tag else text)

    def _block(self, tag: str, head: str, lines: Iterable[str]) -> None:
        self._new_line()
        self.running = ""
        write(self._paint(tag, f"[{tag}]") + (f" {safe(head)}" if head else "") + "\n")
        write("".join(f"  {line}\n" for line in lines))

    def _new_line(self) -> None:
        if not self.at_start:
            write("\n")
        self.at_start = True

    def _paint(self, tag: str, text: str) -> str:
        return paint(text, STYLES.get(tag, NOTICE_STYLE), colour=self.colour)

    def _tool(self, update: dict[str, Any]) -> None:
        id = str(update.get("toolCallId"))
        before = self.tools.get(id, {})
        tool = before | {name: value for name, value in update.items() if value is not None}
        self.tools[id] = tool
        status = tool.get("status", "pending")
        if status in FINAL and before.get("status") not in FINAL:
            self._block("tool", f"{tool.get('title', id)} ({status})", _details(tool, colour=self.colour))
        elif not before:
            self._block("tool", f"{tool.get('title', id)} ({status})", [])


def _plan(entries: Any) -> list[str]:
    rows = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [f"- [{safe(str(row.get('status')))}] {safe(str(row.get('content')))}" for row in rows]


def _details(tool: dict[str, Any], *, colour: bool) -> list[str]:
    lines = [f"kind: {safe(str(tool['kind']))}"] if "kind" in tool else []
    if (raw_input := tool.get("rawInput")) is not None:
        lines.append(f"input: {safe(_short(raw_input))}")
    content = tool.get("content")
    items = [item for item in content if isinstance(item, dict)] if isinstance(content, list) else []
    diffs = [item for item in items if _is_diff(item)]
    output = _output([item for item in items if not _is_diff(item)])
    lines += ["output:", *(f"  {line}" for line in output)] if output else []
    return lines + (_diffs(diffs, colour=colour) if diffs else [])


def _is_diff(item: dict[str, Any]) -> bool:
    return item.get("type") == "diff"


def _diffs(items: list[dict[str, Any]], *, colour: bool) -> list[str]:
    from trio_broker.client.request_text import diff_lines  # late: most turns change no file
    from trio_broker.client.text_lines import cut_lines

    lines = [line for item in items for line in diff_lines(item, ALL)]
    return [
        paint(f"│ {line.text}", DIFF_COLOURS.get(line.style, ""), colour=colour)
        for line in cut_lines(lines, MAX_DIFF, ALL)
    ]


def paint(text: str, code: str, *, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour and code else text


def _short(value: Any) -> str:
    if isinstance(value, dict) and len(value) == 1:
        (value,) = value.values()
    text = value if isinstance(value, str) else jsonrpc.encode(value).decode("utf-8", "replace")
    return text if len(text) <= 200 else text[:200] + "…"


def _output(items: list[dict[str, Any]]) -> list[str]:
    lines = [line for item in items for line in safe_lines(_item(item)).split("\n")]
    return lines[:20] + ([f"… {len(lines) - 20} more lines"] if len(lines) > 20 else [])


def _item(item: dict[str, Any]) -> str:
    if item.get("type") == "terminal":
        return f"terminal {item.get('terminalId')}"
    return content_text(item.get("content")).rstrip("\n")
