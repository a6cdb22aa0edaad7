"""Blocks of whole lines, looked at without any Python for each of them (DESIGN D15)."""

from __future__ import annotations

from typing import Literal

import msgspec


class OwnUpdates:
    """Knows a block that is nothing but `session/update`s of one session from every other block.

    The decoder takes a line only if it is a notification of that method, for that id, with the members of JSON-RPC and
    no others. Whatever it does not take is not wrong for that: it is to be looked at line by line.
    """

    def __init__(self, session_id: str) -> None:
        params = msgspec.defstruct("Params", [("sessionId", Literal[session_id])], gc=False)
        envelope = msgspec.defstruct(
            "Update",
            [("jsonrpc", Literal["2.0"]), ("method", Literal["session/update"]), ("params", params)],
            gc=False,
            forbid_unknown_fields=True,
        )
        self._decode = msgspec.json.Decoder(envelope).decode

    def count(self, block: bytes) -> int:
        """How many they are, if `block`, which ends with a newline, has nothing else in it; otherwise 0."""
        lines = block[:-1].split(b"\n")
        try:
            all(map(self._decode, lines))
            if not block.isascii():
                str(block, "utf-8")  # msgspec does not look into what it skips
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return 0
        return len(lines) if b"\r" not in block else 0
