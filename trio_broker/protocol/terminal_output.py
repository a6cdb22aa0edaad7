"""What a terminal of the broker has written: kept within a limit, and as text in the content of tool calls. Pure.

A tool call shows a terminal by its id, and its client knows what that is: ACP's clients run the terminals themselves.
Of one that the broker runs no client knows anything, and some refuse the whole update for it. So its output is put in
its place.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from typing import Any

import attrs

from trio_broker.errors import BadMessage
from trio_broker.protocol import jsonrpc

EMBEDS = b'"terminalId"'
CALL = b'"toolCallId"'
SHOWN = 8192  # characters of an output, its last ones
TOOL_CALLS = ("tool_call", "tool_call_update")
CONTINUES = range(0x80, 0xC0)  # bytes of UTF-8 that begin no character
TextOf = Callable[[str], str | None]
_BACKTICKS = re.compile("`+")


@attrs.define(eq=False)
class Output:
    """The last `limit` bytes of a text in UTF-8, cut between two characters. Bytes that are no UTF-8 become U+FFFD."""

    limit: int
    truncated: bool = False
    _kept: bytearray = attrs.field(factory=bytearray)
    _decoder: codecs.IncrementalDecoder = attrs.field(
        factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )

    def add(self, data: bytes, *, final: bool = False) -> None:
        """Add what was written. The rest of a character may come with the next bytes, unless these are `final`."""
        self._kept += self._decoder.decode(data, final).encode()
        if (cut := len(self._kept) - self.limit) > 0:
            self.truncated = True
            while cut < len(self._kept) and self._kept[cut] in CONTINUES:
                cut += 1
            del self._kept[:cut]

    @property
    def text(self) -> str:
        return self._kept.decode()


@attrs.frozen
class ToolCallContent:
    """The content that an update gives a tool call. `terminals`: those of the broker in it."""

    tool_call_id: str
    items: list[Any]
    terminals: frozenset[str]

    def as_text(self, text_of: TextOf) -> list[Any]:
        """The content with these terminals as text; `text_of` has it by their ids."""
        return [
            _shown(item, text_of) if _terminal_id(item) in self.terminals else item for item in self.items
        ]


def content_of(line: bytes, text_of: TextOf) -> ToolCallContent | None:
    """The content in a line, a `session/update`; None if it has none. Terminals are those that have a text."""
    try:
        params = jsonrpc.decode(jsonrpc.parse_envelope(line).params)
    except BadMessage:  # a number that Python can't hold; clients get it as it came
        return None
    update = params.get("update") if isinstance(params, dict) else None
    if not isinstance(update, dict) or update.get("sessionUpdate") not in TOOL_CALLS:
        return None
    id, items = update.get("toolCallId"), update.get("content")
    if not isinstance(id, str) or not isinstance(items, list):
        return None
    found = {one for item in items if (one := _terminal_id(item)) is not None and text_of(one) is not None}
    return ToolCallContent(id, items, frozenset(found))


def with_content(line: bytes, items: list[Any]) -> bytes:
    """The line with another content; its other members byte for byte."""
    message = jsonrpc.parse_envelope(line)
    update = jsonrpc.replace_members(jsonrpc.members(message.params)["update"], content=items)
    params = jsonrpc.members(message.params) | {"update": update}
    return jsonrpc.notification(message.method or "", jsonrpc.encode_with({}, **params)).rstrip(b"\n")


def output_text(line: str, output: str) -> str:
    """A command line and its output as Markdown, which shows them as they are."""
    words = f"$ {line}\n{output[-SHOWN:]}".rstrip("\n")
    fence = "`" * max(3, 1 + max(map(len, _BACKTICKS.findall(words)), default=0))
    return f"{fence}\n{words}\n{fence}"


def _terminal_id(item: Any) -> str | None:
    found = item.get("terminalId") if isinstance(item, dict) and item.get("type") == "terminal" else None
    return found if isinstance(found, str) else None


def _shown(item: Any, text_of: TextOf) -> Any:
    return {"type": "content", "content": {"type": "text", "text": text_of(_terminal_id(item) or "") or ""}}
