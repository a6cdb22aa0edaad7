"""A WebSocket's client byte by byte: what no well-behaved library sends, and what a browser or a stranger sees."""

from __future__ import annotations

import os
import struct
from typing import Any

import attrs
import trio

from trio_broker.protocol import jsonrpc

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, 1.3
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def upgrade_request(target: str = "/acp", **headers: str) -> bytes:
    """The bytes of a request for a WebSocket; a header's name is written with _ for -, and left out if it is empty."""
    head = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY,
    }
    head |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@attrs.frozen
class Response:
    """Of HTTP; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: str


def parse_response(data: bytes) -> Response:
    """The response that these bytes are."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = [line.split(": ", 1) for line in lines]
    return Response(int(first.split()[1]), {name.lower(): value for name, value in pairs}, body.decode())


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    """To its end, a reset included."""
    data = b""
    try:
        while more := await stream.receive_some(65536):
            data += more
    except trio.BrokenResourceError:
        pass
    return data


def encode_frame(
    opcode: int, payload: bytes, *, final: bool = True, masked: bool = True, rsv: int = 0
) -> bytes:
    """One frame of a client."""
    size = len(payload)
    first = bytes([(0x80 if final else 0) | rsv << 4 | opcode])
    bit = 0x80 if masked else 0
    if size < 126:
        head = first + bytes([bit | size])
    elif size < 65536:
        head = first + struct.pack("!BH", bit | 126, size)
    else:
        head = first + struct.pack("!BQ", bit | 127, size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    number = int.from_bytes(payload, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return head + mask + number.to_bytes(size, "big")


@attrs.define(eq=False)
class WebSocketPeer:
    """The client's end of a WebSocket, frame by frame."""

    stream: trio.abc.Stream
    handshake: Response = attrs.field(default=Response(0, {}, ""))
    _data: bytearray = attrs.field(factory=bytearray)

    async def send(self, opcode: int, payload: bytes, **how: Any) -> None:
        await self.stream.send_all(encode_frame(opcode, payload, **how))

    async def send_message(self, message: object) -> None:
        """Send a message as a text frame."""
        await self.send(TEXT, jsonrpc.encode(message))

    async def call(self, id: int, method: str, **params: Any) -> dict[str, Any]:
        """Send a request, and read until its answer."""
        await self.send_message({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
        while (message := await self.receive_response()).get("id") != id:
            pass
        return message

    async def receive_response(self) -> dict[str, Any]:
        """The next answer."""
        while "method" in (message := await self.receive()):
            pass
        return message

    async def receive(self) -> dict[str, Any]:
        """The next message; what else comes is an error."""
        opcode, payload = await self.receive_frame()
        assert opcode == TEXT, (opcode, payload)
        message: dict[str, Any] = jsonrpc.decode(payload)
        return message

    async def receive_frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame. Raises EOFError at the end of the stream."""
        first, size = await self._take(2)
        assert first & 0x70 == 0 or first & 0x40, "reserved bits"
        if size == 126:
            [size] = struct.unpack("!H", await self._take(2))
        elif size == 127:
            [size] = struct.unpack("!Q", await self._take(8))
        return first & 0xF, bytes(await self._take(size))

    async def wait_closed(self) -> tuple[int, str]:
        """Code and reason of the close frame that ends it; messages before it are skipped."""
        while True:
            opcode, payload = await self.receive_frame()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big") or 1005, payload[2:].decode()

    async def read_until(self, mark: bytes) -> bytes:
        while mark not in self._data:
            await self._more()
        return bytes(await self._take(self._data.index(mark) + len(mark)))

    async def _take(self, size: int) -> bytearray:
        while len(self._data) < size:
            await self._more()
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    async def _more(self) -> None:
        try:
            data = await self.stream.receive_some(65536)
        except trio.BrokenResourceError:
            data = b""
        if not data:
            raise EOFError
        self._data += data
