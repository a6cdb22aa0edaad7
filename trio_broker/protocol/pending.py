"""The requests that are open on one link, on either side: ours under private integers, the peer's under its own ids."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Generic, TypeVar

import attrs

from trio_broker.errors import BadMessage, BrokerError
from trio_broker.protocol.jsonrpc import Message, id_key

T = TypeVar("T")
Reply = Message | BrokerError  # the peer's response, or why there will be none
OnReply = Callable[[Reply], None]
_NUMBER = re.compile(rb"[1-9][0-9]{0,17}")


@attrs.define(eq=False)
class PendingRequests(Generic[T]):
    """What we asked the peer: one entry a request, under integers from 1 (DESIGN D2); `unknown` counts odd replies."""

    unknown: int = 0
    _last: int = 0
    _open: dict[int, T] = attrs.field(factory=dict)

    def __len__(self) -> int:
        return len(self._open)

    def open(self, entry: T) -> int:
        """Keep `entry` until its reply comes; the number is the request's id."""
        self._last += 1
        self._open[self._last] = entry
        return self._last

    def close(self, token: bytes | None) -> T | None:
        """The entry which a reply with this raw id belongs to; late, double and foreign replies are counted instead."""
        number = int(token) if token is not None and _NUMBER.fullmatch(token) else 0
        entry = self._open.pop(number, None)
        self.unknown += entry is None
        return entry

    def forget(self, number: int) -> T | None:
        """Withdraw a request: its reply, if one comes, is an unknown one (RACES C10)."""
        return self._open.pop(number, None)

    def find(self, match: Callable[[T], bool]) -> int | None:
        """The number of the first open request whose entry matches."""
        return next((number for number, entry in self._open.items() if match(entry)), None)

    def drain(self) -> list[T]:
        """All entries, taken out."""
        entries = list(self._open.values())
        self._open.clear()
        return entries


class DuplicateId(BadMessage):
    code = "duplicate_id"


class NullId(BadMessage):
    code = "null_id"


class BadId(BadMessage):
    code = "bad_id"


@attrs.define(eq=False)
class IncomingIds:
    """The ids which the peer has open with us; an id is claimed until its request has been answered."""

    _open: set[tuple[type, object]] = attrs.field(factory=set)

    def __len__(self) -> int:
        return len(self._open)

    def claim(self, token: bytes) -> None:
        """Raises DuplicateId, NullId or BadId (all -32600); then the id that was claimed before stays claimed."""
        key = id_key(token)
        if key[0] is type(None):
            raise NullId(
                "the id null is not allowed: its answer could not be told from a parse error", id=token
            )
        if key[0] in (bool, bytes):
            raise BadId("an id is a string or a number")
        if key in self._open:
            raise DuplicateId("this id is still open: wait for its answer, or use another", id=token)
        self._open.add(key)

    def release(self, token: bytes) -> None:
        self._open.discard(id_key(token))
