"""What one client is still to be sent: frames, and what its cursors have. Nobody waits for a client.

Everything of a client goes through here in one order. A frame may be put behind a cursor: then it comes after all that
stood in that log when it was put, so a prompt's reply can't overtake the turn's updates, nor a question what led to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio

from trio_broker.protocol.jsonrpc import MAX_LINE

if TYPE_CHECKING:  # a client has an outbox, too, and no log: it need not import the journal
    from trio_broker.journal.log import Cursor
    from trio_broker.journal.record import Record

WRITE = 256 * 1024  # bytes handed to one write: large enough to be cheap, small enough to show progress
LIMIT = 2 * MAX_LINE  # bytes of frames that a client may be behind; it is one that does not read

Render = Callable[["Record"], bytes]
Encode = Callable[[bytes], bytes]


@attrs.frozen
class _LogPosition:
    """Here all events of a log up to this number are due."""

    cursor: Cursor
    number: int


@attrs.define(eq=False)
class Outbox:
    """A client that falls `limit` bytes of frames behind is given up: the outbox closes, is `lagged`, and tells so."""

    limit: int = LIMIT
    encode: Encode = lambda lines: lines
    on_lag: Callable[[], None] = lambda: None
    lagged: bool = False
    waiting: int = 0
    _due: deque[bytes | _LogPosition] = attrs.field(factory=deque)
    _cursors: dict[Cursor, Render] = attrs.field(factory=dict)
    _ready: dict[Cursor, None] = attrs.field(factory=dict)  # those that may have something, in their order
    _finished: bool = False
    _something: trio.Event = attrs.field(factory=trio.Event)

    def put(self, frame: bytes, after: Cursor | None = None) -> None:
        """Add a frame, behind what `after` has now; once finished, or lagged, it goes nowhere."""
        if self._finished:
            return
        if self.waiting and self.waiting + len(frame) > self.limit:
            self.lagged = True
            self.close()
            self.on_lag()
            return
        if after is not None and after.has_more():
            self._due.append(_LogPosition(after, after.log.last))
        self._due.append(frame)
        self.waiting += len(frame)
        self._something.set()

    def subscribe(self, cursor: Cursor, render: Render) -> None:
        """From now on send what `cursor` has, in frames that `render` makes of it (b"": nothing for this client)."""
        if not self._finished:
            self._cursors[cursor] = render
            cursor.wake = partial(self._mark_ready, cursor)
            self._mark_ready(cursor)

    def _mark_ready(self, cursor: Cursor) -> None:
        self._ready[cursor] = None
        self._something.set()

    def unsubscribe(self, cursor: Cursor) -> None:
        """Send nothing more of it."""
        cursor.close()
        self._cursors.pop(cursor, None)
        self._ready.pop(cursor, None)

    def finish(self) -> None:
        """No more will come: `take` gives what there is now, then b""."""
        self._due.extend(
            _LogPosition(cursor, cursor.log.last) for cursor in self._cursors if not self._finished
        )
        self._finished = True
        self._something.set()

    def close(self) -> None:
        """Nothing is sent any more."""
        self._finished = True
        self._due.clear()
        for cursor in tuple(self._cursors):
            self.unsubscribe(cursor)
        self._something.set()

    async def take(self) -> bytes:
        """The next frames as one piece; waits for one; b"" after the last. Who cancels it sends nothing more."""
        while True:
            await self._something.wait()
            taken: list[bytes] = []
            size = 0
            while size < WRITE and (piece := await self._next()) is not None:
                if piece:  # what is nothing for this client is no frame either
                    taken.append(self.encode(piece))
                size += len(piece)
            if size or (self._finished and not taken):
                return b"".join(taken)

    async def _next(self) -> bytes | None:
        """The next piece, maybe an empty one; None, and asleep until the next `wake`, when there is none."""
        while self._due:
            first = self._due[0]
            if isinstance(first, bytes):
                self._due.popleft()
                self.waiting -= len(first)
                return first
            if first.cursor in self._cursors and first.cursor.has_more(first.number):
                return await self._read(first.cursor)
            self._due.popleft()
        while self._ready and not self._finished:
            cursor = next(iter(self._ready))
            del self._ready[cursor]
            if cursor.has_more():
                self._ready[cursor] = None  # at the end of the line: all get their turn
                return await self._read(cursor)
        if not self._finished:
            self._something = trio.Event()
        return None

    async def _read(self, cursor: Cursor) -> bytes:
        render = self._cursors[cursor]
        record = await cursor.take()
        return render(record)
