"""Whoever comes and goes, however rudely: afterwards there is no more of anything than before."""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from itertools import cycle, islice

import pytest
import trio

from trio_broker.auth.grant import Scope
from trio_broker.protocol import jsonrpc
from trio_broker.testing.clients.user import prompt_params
from trio_broker.testing.clients.websocket_peer import (
    CLOSE,
    TEXT,
    WebSocketPeer,
    encode_frame,
    upgrade_request,
)
from trio_broker.testing.in_process.websocket import Web, open_web_rig

LIMIT = 240
AT_ONCE = 40
ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: its close is a reset
Visit = Callable[[Web, trio.SocketStream, str], Awaitable[None]]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def says_nothing(web: Web, stream: trio.SocketStream, session: str) -> None:
    await trio.lowlevel.checkpoint()


async def half_a_head(web: Web, stream: trio.SocketStream, session: str) -> None:
    await stream.send_all(upgrade_request(**bearer(web.token))[:60])


async def does_not_wait(web: Web, stream: trio.SocketStream, session: str) -> None:
    await stream.send_all(upgrade_request(**bearer(web.token)))


async def wrong_token(web: Web, stream: trio.SocketStream, session: str) -> None:
    await stream.send_all(upgrade_request(**bearer("wrong")))


async def refused(web: Web, stream: trio.SocketStream, session: str) -> None:
    await stream.send_all(upgrade_request(**bearer(web.token), Origin="https://evil.example"))
    assert b" 403 " in await stream.receive_some(4096)


async def looks_whether_all_is_well(web: Web, stream: trio.SocketStream, session: str) -> None:
    await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b" 200 " in await stream.receive_some(4096)


async def let_in(web: Web, stream: trio.SocketStream) -> WebSocketPeer:
    peer = WebSocketPeer(stream)
    await stream.send_all(upgrade_request(**bearer(web.token)))
    assert b" 101 " in await peer.read_until(b"\r\n\r\n")
    return peer


async def half_a_frame(web: Web, stream: trio.SocketStream, session: str) -> None:
    await let_in(web, stream)
    await stream.send_all(encode_frame(TEXT, b"x" * 100)[:50])


async def says_goodbye(web: Web, stream: trio.SocketStream, session: str) -> None:
    peer = await let_in(web, stream)
    await peer.send(CLOSE, b"\x03\xe8")


async def in_the_middle_of_a_turn(web: Web, stream: trio.SocketStream, session: str) -> None:
    peer = await let_in(web, stream)
    await peer.call(1, "initialize", protocolVersion=1)
    for id in (2, 3):
        prompt = {"method": "session/prompt", "params": prompt_params(session, "say a; wait 0.01; say b")}
        await peer.send_message({"jsonrpc": "2.0", "id": id, **prompt})
    await peer.receive()


async def asks_for_much_and_reads_nothing(web: Web, stream: trio.SocketStream, session: str) -> None:
    peer = await let_in(web, stream)
    await peer.call(1, "_trio_broker/attach", key="k", since=1)
    for id in range(2, 30):
        await peer.send(TEXT, jsonrpc.request(id, "_trio_broker/history", b'{"key":"k"}').strip())


LIGHT: list[Visit] = [
    says_nothing,
    half_a_head,
    does_not_wait,
    wrong_token,
    refused,
    looks_whether_all_is_well,
    half_a_frame,
    says_goodbye,
]
HEAVY: list[Visit] = [
    in_the_middle_of_a_turn,
    asks_for_much_and_reads_nothing,
]


VISITS = LIGHT * 10 + HEAVY


async def visit(web: Web, how: Visit, session: str, *, rude: bool) -> None:
    stream = await web.dial()
    if rude:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
    try:
        await how(web, stream, session)
    finally:
        await trio.aclose_forcefully(stream)


async def visitor(web: Web, session: str, visits: Iterator[tuple[Visit, bool]]) -> None:
    for how, rude in visits:
        try:
            await visit(web, how, session, rude=rude)
        except (OSError, trio.BrokenResourceError, EOFError):
            pass  # the door was full, or the queue: also an answer


@pytest.mark.slow
@pytest.mark.parametrize("number", [10_000])
async def test_ten_thousand_connections_opened_and_dropped_leave_nothing(
    number: int, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig(max_handshakes=AT_ONCE + 10) as web, web.rig.connect() as owner:
            session = await owner.open("k")
            before = web.resource_counts()
            pairs = ((how, rude) for rude in (False, True) for how in VISITS)
            visits = islice(cycle(pairs), number)
            async with trio.open_nursery() as nursery:
                for _ in range(AT_ONCE):
                    nursery.start_soon(visitor, web, session, visits)
            await owner.wait_phase("k", "idle")
            await web.wait_settled(before)
            assert await owner.prompt(session, "say still here") == "end_turn"
            async with web.connect(token=await web.new_token("new", Scope.OBSERVE)) as user:
                assert (await user.status())["clients"] == 2
            assert [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR] == []
