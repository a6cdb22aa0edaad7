"""What one client is still to be sent: frames in, few and large writes out. Nobody waits for a client."""

from __future__ import annotations

from collections import deque

import attrs
import trio

from trio_broker.wire.jsonrpc import MAX_LINE

WRITE = 256 * 1024  # bytes handed to one write: large enough to be cheap, small enough to show progress
LIMIT = 2 * MAX_LINE  # bytes a client may be behind; it is one that does not read


@attrs.define(eq=False)
class Outbox:
    """Order is kept. A client that falls `limit` bytes behind is given up: the outbox closes and is `lagged`."""

    limit: int = LIMIT
    lagged: bool = False
    waiting: int = 0
    _frames: deque[bytes] = attrs.field(factory=deque)
    _finished: bool = False
    _something: trio.Event = attrs.field(factory=trio.Event)

    def put(self, frame: bytes) -> None:
        """Add a frame; after `finish`, or once lagged, it goes nowhere."""
        if self._finished:
            return
        if self.waiting and self.waiting + len(frame) > self.limit:
            self.lagged = True
            self._frames.clear()
            self.finish()
            return
        self._frames.append(frame)
        self.waiting += len(frame)
        self._something.set()

    def finish(self) -> None:
        """No more will come: `take` gives what there is, then b""."""
        self._finished = True
        self._something.set()

    async def take(self) -> bytes:
        """The next frames as one piece; waits for one; b"" after the last. Cancelling it loses nothing."""
        await self._something.wait()
        taken: list[bytes] = []
        size = 0
        while self._frames and (not taken or size + len(self._frames[0]) <= WRITE):
            taken.append(self._frames.popleft())
            size += len(taken[-1])
        self.waiting -= size
        if not self._frames and not self._finished:
            self._something = trio.Event()
        return b"".join(taken)
