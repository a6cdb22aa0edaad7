"""The WebSocket as a Transport: one text frame a message, over a stream of ours.

trio-websocket keeps the protocol: handshake, reading, ping and close. The writing of a server is ours (DESIGN D16): its
control frames and our ready-made text frames, many in a write, go through one `WebSocketStream` in order. So is its
last word: trio-websocket says nothing when it ends at a bad frame, and waits for an answer that a cut reader never
sees.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, wrap_server_stream
from wsproto.events import AcceptConnection
from wsproto.extensions import PerMessageDeflate

from trio_broker.model import CloseReason
from trio_broker.protocol.batch import CACHED_BLOCKS, CACHED_SIZES, lines_in
from trio_broker.protocol.jsonrpc import LineTooLong
from trio_broker.transport.base import CLOSE_TIMEOUT, READ, send_in_steps

PING_EVERY = 25.0  # seconds
PINGS_MISSED = 2  # in a row, and it is gone
MESSAGE_QUEUE = 8  # messages read and not yet looked at
SUBPROTOCOL = "acp.v1"
SLACK = 1024 * 1024  # bytes that the frames of a message may have beside it
ABNORMAL = 1006  # trio-websocket's word for an end without a close frame
LONGEST_REASON = 123  # bytes
CLOSE, PING = 0x88, 0x89  # how these frames begin


class WebSocketStream(trio.abc.Stream):
    """The stream below a WebSocket: what is written goes out whole, in order, and nothing behind a close frame.

    A server's first read gives `head`, its request, and the next one waits until it is `upgraded`, for wsproto loses
    what comes in between. `unanswered`: pings since something was read last. `aclose`, which trio-websocket calls, ends
    the reading only: there may be a last word to say, so whoever made the wire calls `close`.
    """

    def __init__(self, stream: trio.abc.Stream, limit: int, head: bytes = b"", trailing: bytes = b"") -> None:
        self.stream = stream
        self.limit = limit
        self.unanswered = 0
        self.oversized = False
        self.close_sent = False
        self.upgraded = trio.Event()
        self.on_end: Callable[[], None] = lambda: None
        self._head = head
        self._trailing = trailing
        self._read = 0
        self._broken = False
        self._left = False
        self._writing = trio.StrictFIFOLock()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._head:
            await trio.lowlevel.checkpoint()
            data, self._head = self._head, b""
            return data
        await self.upgraded.wait()
        data, self._trailing = self._trailing or await self._receive(max_bytes), b""
        self._read += len(data)
        self.unanswered = 0
        return data

    async def _receive(self, max_bytes: int | None) -> bytes:
        if self._left:
            raise trio.ClosedResourceError
        if self._read > self.limit + SLACK:  # of fragments, which may be empty and without number
            self.oversized = True
            raise trio.BrokenResourceError("the message is too long")
        data = b""
        try:
            data = bytes(await self.stream.receive_some(max_bytes))
        finally:
            if not data:
                self.on_end()
        return data

    def message_read(self) -> None:
        """A message was taken: the next one begins to count."""
        self._read = 0

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        async with self._writing:
            if self._broken or self.close_sent:
                raise trio.BrokenResourceError("a write was cut off, or the last word said")
            self._broken = True  # until all is out: a write that is cancelled leaves half a frame
            self.close_sent = data[0] == CLOSE
            self.unanswered += data[0] == PING
            await send_in_steps(self.stream, data)
            self._broken = False

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        self._left = True
        await trio.lowlevel.checkpoint()

    async def close(self) -> None:
        await close_after_eof(self.stream)


async def close_after_eof(stream: trio.abc.Stream) -> None:
    """Close it when the other side has read what was sent last, or after FAREWELL seconds.

    With input unread the system would reset the connection, and what was sent be lost with it.
    """
    try:
        with trio.move_on_after(CLOSE_TIMEOUT):
            if isinstance(stream, trio.SocketStream):
                await stream.send_eof()
            while await stream.receive_some(READ):
                pass
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # it is gone
    finally:
        await trio.aclose_forcefully(stream)


class WebSocketTransport:
    """The slow way: every message through wsproto, as a client must (its frames are masked) and compression wants."""

    def __init__(self, socket: WebSocketConnection, stream: WebSocketStream) -> None:
        self.socket = socket
        self.stream = stream

    async def receive(self) -> Sequence[bytes] | None:
        """The lines of the next text frame. Binary frames are ignored, as the remote transport of ACP has it."""
        while True:  # noqa: ASYNC913  # get_message is a checkpoint, whatever it raises
            try:
                message = await self.socket.get_message()
            except ConnectionClosed:
                if self.stream.oversized:
                    raise self._too_long() from None
                return None
            self.stream.message_read()
            if isinstance(message, str):
                return self._lines(message)

    def _lines(self, message: str) -> list[bytes]:
        text = message.encode()
        if len(text) > self.stream.limit:
            raise self._too_long()
        return lines_of(text)

    def _too_long(self) -> LineTooLong:
        return LineTooLong(f"a message has more than {self.stream.limit} bytes", limit=self.stream.limit)

    def encode(self, lines: bytes) -> bytes:
        return lines

    async def send(self, encoded: bytes) -> None:
        try:
            for line in encoded.split(b"\n")[:-1]:
                await self.socket.send_message(line.decode())
        except ConnectionClosed as error:
            raise trio.BrokenResourceError from error

    def is_disconnected(self) -> bool:
        return self.socket.closed is not None

    def close_reason_text(self) -> str:
        closed = self.socket.closed
        return f": {closed.reason}" if closed is not None and closed.reason else ""

    async def close(self, reason: CloseReason) -> None:
        """A client waits for the answer to its close frame; a server takes it in `Wire.close`."""
        if self.socket.is_client:
            await self.socket.aclose(reason.code, reason.text)
        elif not self.stream.close_sent:
            await self._send_close(reason)

    async def _send_close(self, reason: CloseReason) -> None:
        found = self.socket.closed
        if found is None or found.code == ABNORMAL or self.stream.oversized:
            last = close_frame(reason.code, reason.text)
        else:  # it was trio-websocket that ended, at a bad frame
            last = close_frame(found.code, found.reason or "")
        try:
            await self.stream.send_all(last)
        except (trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it is gone, or half a frame is out: a close behind it would be read as its rest


class ServerWebSocket(WebSocketTransport):
    """A server's, without compression: its frames are a few bytes before each message, all written at once."""

    def encode(self, lines: bytes) -> bytes:
        return encode_frames(lines)

    async def send(self, encoded: bytes) -> None:
        await self.stream.send_all(encoded)


def lines_of(text: bytes) -> list[bytes]:
    """The messages in a text frame: one, over several lines perhaps, or several of a line each."""
    text = text.strip()
    if b"\n" not in text:
        return [text] if text else []
    try:
        return [msgspec.json.format(text, indent=-1)]
    except (msgspec.DecodeError, RecursionError):
        return [line for line in text.split(b"\n") if line.strip()]


class _FrameHeaders(dict[int, bytes]):
    """The head of a text frame with a payload of so many bytes (RFC 6455, section 5.2: whole, unmasked)."""

    def __missing__(self, length: int) -> bytes:
        if length < 126:
            head = bytes((0x81, length))
        elif length < 1 << 16:
            head = b"\x81\x7e" + length.to_bytes(2, "big")
        else:
            return b"\x81\x7f" + length.to_bytes(8, "big")
        self[length] = head
        return head


_frame_headers = _FrameHeaders()
_frame_cache: deque[tuple[bytes, bytes]] = deque(maxlen=CACHED_BLOCKS)


def encode_frames(lines: bytes) -> bytes:
    """Each line as one frame of a server. What many clients are sent is made once: the last few are remembered."""
    for remembered, frames in _frame_cache:
        if remembered is lines:
            return frames
    parts = lines_in(lines)
    pieces = [b""] * (2 * len(parts))
    pieces[::2] = map(_frame_headers.__getitem__, map(len, parts))
    pieces[1::2] = parts
    frames = b"".join(pieces)
    if len(lines) in CACHED_SIZES:
        _frame_cache.append((lines, frames))
    return frames


def close_frame(code: int, reason: str) -> bytes:
    """A server's close frame; a reason that is too long for one is cut."""
    payload = code.to_bytes(2, "big") + reason.encode()[:LONGEST_REASON].decode("utf-8", "ignore").encode()
    return bytes((CLOSE, len(payload))) + payload


@asynccontextmanager
async def accept_websocket(
    stream: WebSocketStream, *, compress: bool
) -> AsyncGenerator[WebSocketTransport, None]:
    """Answer the upgrade request that is the head of the wire; whoever made the wire closes it.

    A client that answers no pings is cut off: it is read as one that left. Raises BrokenResourceError if it left, or
    stopped reading, before the answer was out.
    """
    client_left = False
    async with trio.open_nursery() as nursery:
        request = await wrap_server_stream(
            nursery,
            stream,
            message_queue_size=MESSAGE_QUEUE,
            max_message_size=stream.limit,
            receive_buffer_size=READ,
        )
        deflate = PerMessageDeflate() if compress else None
        try:
            socket = await _accept(request, deflate)
        except (ConnectionClosed, trio.TooSlowError):
            client_left = True
        else:
            stream.upgraded.set()
            nursery.start_soon(keep_pinging, socket, stream)
            yield (
                WebSocketTransport(socket, stream)
                if deflate and deflate.enabled()
                else ServerWebSocket(socket, stream)
            )
        nursery.cancel_scope.cancel()
    if client_left:
        raise trio.BrokenResourceError("the client left during the upgrade")


async def _accept(request: WebSocketRequest, deflate: PerMessageDeflate | None) -> WebSocketConnection:
    chosen = SUBPROTOCOL if SUBPROTOCOL in request.proposed_subprotocols else None
    headers = [(b"Acp-Connection-Id", str(uuid.uuid4()).encode())]
    if deflate is None:
        return await request.accept(subprotocol=chosen, extra_headers=headers)
    socket: WebSocketConnection = request._connection  # accept() takes no extensions, wsproto behind it does
    await socket._send(AcceptConnection(subprotocol=chosen, extra_headers=headers, extensions=[deflate]))
    socket._open_handshake.set()
    return socket


async def keep_pinging(socket: WebSocketConnection, stream: WebSocketStream) -> None:
    """Ping every PING_EVERY seconds; cut the wire when PINGS_MISSED went out and nothing at all came back.

    A ping that waits behind a long write is not out: who reads slowly is not gone.
    """
    async with trio.open_nursery() as pings:
        while True:
            await trio.sleep(PING_EVERY)
            if stream.unanswered >= PINGS_MISSED:
                break
            pings.start_soon(_ping, socket)
        await trio.aclose_forcefully(stream.stream)
        pings.cancel_scope.cancel()


async def _ping(socket: WebSocketConnection) -> None:
    try:
        await socket.ping()
    except (ConnectionClosed, trio.TooSlowError):
        pass  # who reads from it, or writes to it, sees that too
