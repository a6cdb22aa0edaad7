"""The WebSocket as a Link: one text frame a message, over a stream of ours.

trio-websocket keeps the protocol: handshake, reading, ping and close. The writing of a server is ours (DESIGN D16): its
control frames and our ready-made text frames, many in a write, go through one `Wire` in order.
"""

from __future__ import annotations

import ssl
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self
from urllib.parse import SplitResult, urlsplit

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    WebSocketRequest,
    wrap_client_stream,
    wrap_server_stream,
)
from wsproto.events import AcceptConnection
from wsproto.extensions import PerMessageDeflate

from trio_broker.errors import Misuse, NoBroker
from trio_broker.link import FAREWELL, READ, Ending, send_in_steps
from trio_broker.wire.jsonrpc import MAX_LINE

PING_EVERY = 25.0  # seconds, and as long for the pong
PINGS_MISSED = 2  # in a row, and it is gone
CONNECT = 20.0  # seconds for a client to get through
QUEUE = 8  # messages read and not yet looked at
SUBPROTOCOL = "acp.v1"
REMEMBERED = 4  # blocks, each with its frames
SHARED = range(
    4096, 1024 * 1024
)  # bytes of what is worth to be remembered: a block, not a word, nor a large message

ClientStream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class Wire(trio.abc.Stream):
    """A stream with bytes put back in front of it, on which several may write, one after the other.

    A write that was cancelled, or failed, has left half a frame: the wire is `broken`, and takes no more.
    """

    def __init__(self, stream: trio.abc.Stream, before: bytes = b"") -> None:
        self.stream = stream
        self.broken = False
        self._before = before
        self._writing = trio.StrictFIFOLock()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._before:
            await trio.lowlevel.checkpoint()
            data, self._before = self._before, b""
            return data
        return bytes(await self.stream.receive_some(max_bytes))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        async with self._writing:
            if self.broken:
                raise trio.BrokenResourceError("a write was cut off")
            self.broken = True
            await send_in_steps(self.stream, data)
            self.broken = False

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self.stream.aclose()


class WebSocketLink:
    """The slow way: every message through wsproto, as a client must (its frames are masked) and compression wants."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self.socket = socket

    async def receive(self) -> Sequence[bytes] | None:
        """The lines of the next text frame. Binary frames are ignored, as the remote transport of ACP has it."""
        try:
            while not isinstance(message := await self.socket.get_message(), str):
                pass
        except ConnectionClosed:
            return None
        return [line for line in message.encode().split(b"\n") if line.strip()]

    def dress(self, lines: bytes) -> bytes:
        return lines

    async def send(self, dressed: bytes) -> None:
        try:
            for line in dressed.split(b"\n")[:-1]:
                await self.socket.send_message(line.decode())
        except ConnectionClosed as error:
            raise trio.BrokenResourceError from error

    def hung_up(self) -> bool:
        return self.socket.closed is not None

    def farewell(self) -> str:
        closed = self.socket.closed
        return f": {closed.reason}" if closed is not None and closed.reason else ""

    async def close(self, ending: Ending) -> None:
        await self.socket.aclose(ending.code, ending.words)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with trio.move_on_after(FAREWELL, shield=True):
            await self.close(Ending.LEFT)


class FramedLink(WebSocketLink):
    """A server's, without compression: its frames are a few bytes before each message, all written at once."""

    def __init__(self, socket: WebSocketConnection, wire: Wire) -> None:
        super().__init__(socket)
        self._wire = wire

    def dress(self, lines: bytes) -> bytes:
        return framed(lines)

    async def send(self, dressed: bytes) -> None:
        if self.socket.closed:
            raise trio.BrokenResourceError("the WebSocket is closed")
        await self._wire.send_all(dressed)

    async def close(self, ending: Ending) -> None:
        if self._wire.broken:  # half a frame is out: a close behind it would be read as its rest
            await trio.aclose_forcefully(self._wire)
        await super().close(ending)


class _Heads(dict[int, bytes]):
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


_heads = _Heads()
_framed: deque[tuple[bytes, bytes]] = deque(maxlen=REMEMBERED)


def framed(lines: bytes) -> bytes:
    """Each line as one frame of a server. What many clients are sent is made once: the last few are remembered."""
    for remembered, frames in _framed:
        if remembered is lines:
            return frames
    parts = lines[:-1].split(b"\n")
    pieces = [b""] * (2 * len(parts))
    pieces[::2] = map(_heads.__getitem__, map(len, parts))
    pieces[1::2] = parts
    frames = b"".join(pieces)
    if len(lines) in SHARED:
        _framed.append((lines, frames))
    return frames


@asynccontextmanager
async def accepted(
    stream: trio.abc.Stream, head: bytes, *, limit: int, compress: bool
) -> AsyncGenerator[WebSocketLink, None]:
    """Answer the upgrade request that `head` is, with whatever of the stream was read behind it.

    `limit`: bytes of one message. Leaving the block closes the stream, if the link was not closed before. A client that
    answers no pings is cut off: it is read as one that left.
    """
    wire = Wire(stream, head)
    async with trio.open_nursery() as nursery:
        request = await wrap_server_stream(
            nursery, wire, message_queue_size=QUEUE, max_message_size=limit, receive_buffer_size=READ
        )
        deflate = PerMessageDeflate() if compress else None
        socket = await _accept(request, deflate)
        nursery.start_soon(_keep_pinging, socket, wire)
        try:
            yield WebSocketLink(socket) if deflate and deflate.enabled() else FramedLink(socket, wire)
        finally:
            nursery.cancel_scope.cancel()
            await trio.aclose_forcefully(wire)


async def _accept(request: WebSocketRequest, deflate: PerMessageDeflate | None) -> WebSocketConnection:
    chosen = SUBPROTOCOL if SUBPROTOCOL in request.proposed_subprotocols else None
    headers = [(b"Acp-Connection-Id", str(uuid.uuid4()).encode())]
    if deflate is None:
        return await request.accept(subprotocol=chosen, extra_headers=headers)
    socket: WebSocketConnection = request._connection  # accept() takes no extensions, wsproto behind it does
    await socket._send(AcceptConnection(subprotocol=chosen, extra_headers=headers, extensions=[deflate]))
    socket._open_handshake.set()
    return socket


async def _keep_pinging(socket: WebSocketConnection, wire: Wire) -> None:
    missed = 0
    try:
        while missed < PINGS_MISSED:
            await trio.sleep(PING_EVERY)
            missed += 1
            with trio.move_on_after(PING_EVERY):
                await socket.ping()
                missed = 0
    except ConnectionClosed:
        return
    await trio.aclose_forcefully(wire)


@asynccontextmanager
async def connected(url: str, token: str | None = None) -> AsyncGenerator[WebSocketLink, None]:
    """Connect to a broker at a ws:// or wss:// URL; `/acp` is its path unless it says another.

    Raises Misuse for what is no such URL, and NoBroker, which says what is in the way.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise Misuse(f"{shown(url)!r} is no URL of a broker; write one such as ws://127.0.0.1:8765")
    refusal: NoBroker | None = None
    async with await _open_stream(parts) as stream:
        try:
            async with trio.open_nursery() as nursery:
                async with await _upgraded(nursery, stream, parts, token) as link:
                    yield link
                nursery.cancel_scope.cancel()
        except* ConnectionRejected as group:  # the reader tells it, not the one who waits for the answer
            refusal = _refused(url, group)
    if refusal is not None:
        raise refusal


async def _open_stream(parts: SplitResult) -> ClientStream:
    host, url = parts.hostname or "", shown(parts.geturl())
    try:
        with trio.fail_after(CONNECT):
            if parts.scheme == "ws":
                return await trio.open_tcp_stream(host, parts.port or 80)
            tls = ssl.create_default_context()
            return await trio.open_ssl_over_tcp_stream(
                host, parts.port or 443, ssl_context=tls, https_compatible=True
            )
    except trio.TooSlowError:
        raise _silent(url) from None
    except OSError as error:
        why = f"no broker listens at {url}: {error}"
        raise NoBroker(f"{why}; `trio-broker serve --websocket …` there starts one") from error


async def _upgraded(
    nursery: trio.Nursery, stream: ClientStream, parts: SplitResult, token: str | None
) -> WebSocketLink:
    with trio.move_on_after(CONNECT):
        if isinstance(stream, trio.SSLStream):
            await _shake_hands(stream, shown(parts.geturl()))
        socket = await wrap_client_stream(
            nursery,
            stream,
            parts.netloc.rpartition("@")[2],
            (parts.path or "/acp") + (f"?{parts.query}" if parts.query else ""),
            extra_headers=[(b"Authorization", b"Bearer " + token.encode())] if token else [],
            message_queue_size=QUEUE,
            max_message_size=MAX_LINE,
            receive_buffer_size=READ,
        )
        return WebSocketLink(socket)
    raise _silent(shown(parts.geturl()))


async def _shake_hands(stream: trio.SSLStream[trio.SocketStream], url: str) -> None:
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError as error:
        why = f"{url}: TLS failed: {error.__cause__ or error}"
        raise NoBroker(
            f"{why}; ws:// is without TLS, and SSL_CERT_FILE names an authority of your own"
        ) from error


def _silent(url: str) -> NoBroker:
    return NoBroker(f"{url} gave no answer within {CONNECT:g} s; does a broker listen there?")


def _refused(url: str, group: BaseExceptionGroup[ConnectionRejected]) -> NoBroker:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, ConnectionRejected)
    body = (error.body or b"").decode("utf-8", "replace").strip()
    return NoBroker(f"{shown(url)} refused with HTTP {error.status_code}: {body or 'no reason given'}")


def shown(url: str) -> str:
    """A URL as it may be shown: without what may be secret in it."""
    return url.partition("?")[0].rpartition("@")[2] if "@" in url else url.partition("?")[0]
