"""Blocks of whole lines, looked at without any Python for each of them (DESIGN D15)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import msgspec

# Kinds of updates that every client can show, and that change nothing which the broker keeps of a session.
TEXT = Literal["agent_message_chunk", "agent_thought_chunk", "user_message_chunk", "plan"]
PLAIN = Literal[TEXT, "tool_call", "tool_call_update"]
CACHED_BLOCKS = 4  # blocks: as many sessions may be at it in turn
CACHED_SIZES = range(
    4096, 1024 * 1024
)  # bytes of what is remembered: a block, not a word, nor a large message


class Batch(NamedTuple):
    """The contents of a block of lines.

    `updates`: how many there are, 0 if any line is something else. `plain`: each is of a PLAIN kind. `tool_calls`:
    some may be about a tool call.
    """

    updates: int
    plain: bool
    tool_calls: bool


class UpdateBatchDecoder:
    """Knows a block that is nothing but `session/update`s of one session from every other block.

    The decoder takes a line only if it is a notification of that method, for that id, with the members of JSON-RPC and
    no others. Whatever it does not take is not wrong for that: it is to be looked at line by line.
    """

    def __init__(self, session_id: str) -> None:
        self._text = _decoder(session_id, [("update", _update_of(TEXT))])
        self._plain = _decoder(session_id, [("update", _update_of(PLAIN))])
        self._any = _decoder(session_id, [])

    def classify(self, block: bytes) -> Batch:
        """Count the updates of `block`, which ends with a newline, and find out which kinds they are of.

        A flood is text, nearly always, so text is tried first: its lines are decoded once. In any other block the
        lines before the first tool call are decoded twice.
        """
        lines = lines_in(block)
        try:
            if not block.isascii():
                str(block, "utf-8")  # msgspec does not look into what it skips
            text = _all_match(self._text, lines)
            plain = text or _all_match(self._plain, lines)
            if not plain:
                all(map(self._any, lines))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return NO_BATCH
        return Batch(len(lines), plain, not text) if b"\r" not in block else NO_BATCH


NO_BATCH = Batch(0, False, False)


def _update_of(kinds: Any) -> Any:
    return msgspec.defstruct("Content", [("sessionUpdate", kinds)], gc=False)


def _decoder(session_id: str, members: list[Any]) -> Callable[[bytes], object]:
    params = msgspec.defstruct("Params", [("sessionId", Literal[session_id]), *members], gc=False)
    envelope = msgspec.defstruct(
        "Update",
        [("jsonrpc", Literal["2.0"]), ("method", Literal["session/update"]), ("params", params)],
        gc=False,
        forbid_unknown_fields=True,
    )
    return msgspec.json.Decoder(envelope).decode


def _all_match(decode: Callable[[bytes], object], lines: list[bytes]) -> bool:
    try:
        return all(map(decode, lines))
    except msgspec.ValidationError:
        return False


_lines: deque[tuple[bytes, list[bytes]]] = deque(maxlen=CACHED_BLOCKS)


def lines_in(block: bytes) -> list[bytes]:
    """The lines of a block, without their newlines. A block is looked at, then framed: the last few are remembered."""
    for remembered, lines in _lines:
        if remembered is block:
            return lines
    lines = block[:-1].split(b"\n")
    if len(block) in CACHED_SIZES:
        _lines.append((block, lines))
    return lines
