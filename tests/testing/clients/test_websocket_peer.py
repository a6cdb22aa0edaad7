"""A WebSocket's client byte by byte: its frames, and its reading of an answer."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import pytest
import trio
from trio.testing import memory_stream_pair

from trio_broker.testing.clients.websocket_peer import (
    CLOSE,
    TEXT,
    WebSocketPeer,
    encode_frame,
    parse_response,
    read_all,
    upgrade_request,
)


@hypothesis.given(opcode=st.integers(0, 15), size=st.sampled_from([0, 1, 125, 126, 65535, 65536]))
def test_a_frame_is_read_as_it_was_written(opcode: int, size: int) -> None:
    async def write_and_read() -> tuple[int, bytes]:
        ours, theirs = memory_stream_pair()
        await theirs.send_all(encode_frame(opcode, b"x" * size, masked=False))
        return await WebSocketPeer(ours).receive_frame()

    assert trio.run(write_and_read) == (opcode, b"x" * size)


def test_a_client_masks_its_frames() -> None:
    data = encode_frame(TEXT, b"hello")
    mask, payload = data[2:6], data[6:]
    assert data[:2] == b"\x81\x85"
    assert bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload)) == b"hello"


async def test_messages_before_the_close_frame_are_skipped() -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(
        encode_frame(TEXT, b"{}", masked=False) + encode_frame(CLOSE, b"\x03\xe9bye", masked=False)
    )
    assert await WebSocketPeer(ours).wait_closed() == (1001, "bye")


async def test_the_end_of_the_stream_is_an_error() -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(b"\x81")
    await theirs.aclose()
    with pytest.raises(EOFError):
        await WebSocketPeer(ours).receive_frame()


def test_a_header_of_a_request_can_be_replaced_or_left_out() -> None:
    lines = upgrade_request("/x", Origin="a", Upgrade="", Sec_WebSocket_Version="12").decode().split("\r\n")
    assert lines[0] == "GET /x HTTP/1.1" and "Origin: a" in lines and "Sec-WebSocket-Version: 12" in lines
    assert not any(line.startswith("Upgrade:") for line in lines) and lines[-2:] == ["", ""]


async def test_a_response_is_read_to_its_end() -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")
    await theirs.aclose()
    response = parse_response(await read_all(ours))
    assert (response.status, response.headers, response.body) == (404, {"content-length": "2"}, "no")
