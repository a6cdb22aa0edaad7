"""One client's connection as lines: what `server/serve`, and the client's side, know of a transport.

A line is one JSON-RPC message, without its newline on the way in, and with it on the way out.
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

import trio

from trio_broker.ioutil import write_nowait
from trio_broker.model import CloseReason
from trio_broker.protocol.jsonrpc import MAX_LINE, LineSplitter

READ = 65536
WRITE = 256 * 1024  # bytes handed to one write, which has to make progress within `WRITE_TIMEOUT`
CLOSE_TIMEOUT = 2.0  # seconds for the other side to heed that a link is closed
WRITE_TIMEOUT = 60.0  # seconds for one write to a client that reads at all


class Transport(Protocol):
    """`receive` and `send` may each be used by one task at a time."""

    async def receive(self) -> Sequence[bytes] | None:
        """The next lines, None when the other side has said its last. Raises LineTooLong."""

    def encode(self, lines: bytes) -> bytes:
        """Whole lines as they go over this link; what was dressed may be joined."""

    async def send(self, encoded: bytes) -> None:
        """Send what was dressed. Raises BrokenResourceError, and TooSlowError when the other side does not read.

        Who cancels it has broken the link: only closing it is left (TRIO.md, fact 4).
        """

    def is_disconnected(self) -> bool:
        """Whether the other side is gone altogether, and not only silent."""

    def close_reason_text(self) -> str:
        """ ": " and what the other side said when it closed the link, or nothing."""

    async def close(self, reason: CloseReason) -> None:
        """End it; the other side is told why, where there are words for that and it listens."""


class NdjsonTransport:
    """A Link over a byte stream: newline-delimited JSON, as ACP has it on stdio."""

    def __init__(self, stream: trio.abc.Stream, limit: int = MAX_LINE) -> None:
        self.stream = stream
        self._splitter = LineSplitter(limit)

    async def receive(self) -> Sequence[bytes] | None:
        try:
            data = bytes(await self.stream.receive_some(READ))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return None
        return self._splitter.feed(data) if data else None

    def encode(self, lines: bytes) -> bytes:
        return lines

    async def send(self, encoded: bytes) -> None:
        await send_in_steps(self.stream, encoded)

    def is_disconnected(self) -> bool:
        return isinstance(self.stream, trio.SocketStream) and both_closed(self.stream)

    def close_reason_text(self) -> str:
        return ""

    async def close(self, reason: CloseReason) -> None:
        await self.stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
            await self.close(CloseReason.LEFT)


async def send_in_steps(stream: trio.abc.SendStream, data: bytes | bytearray | memoryview) -> None:
    """Send all of it, each step of at most 256 KiB with a deadline of its own. Raises TooSlowError.

    What the system takes at once, which is all of most messages, is sent without a checkpoint.
    """
    view = memoryview(data)
    sent = write_nowait(stream.socket.fileno(), view) if isinstance(stream, trio.SocketStream) else 0
    for start in range(sent, len(view), WRITE):
        with trio.fail_after(WRITE_TIMEOUT):
            await stream.send_all(view[start : start + WRITE])


def both_closed(stream: trio.SocketStream) -> bool:
    """Whether both directions are closed, which a read that gives nothing does not tell."""
    poll = select.poll()
    poll.register(stream.socket.fileno(), 0)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))
