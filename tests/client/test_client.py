"""A client of ours, at a broker that is none."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from trio_broker.client import client_over
from trio_broker.errors import BrokerGone
from trio_broker.protocol import jsonrpc
from trio_broker.testing.clients.user import allow
from trio_broker.transport.base import NdjsonTransport


async def test_a_broker_that_asks_twice_under_one_id_is_answered_twice() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    options = [{"optionId": "yes", "name": "Yes", "kind": "allow_once"}]
    params = jsonrpc.encode({"sessionId": "s", "toolCall": {"toolCallId": "1"}, "options": options})
    ask = b'{"jsonrpc":"2.0","id":"b","method":"session/request_permission","params":%b}\n' % params
    both = trio.Event()

    async def answer(message: jsonrpc.Message) -> Any:
        waits.append(message)
        if len(waits) == 2:
            both.set()
        await both.wait()
        return await allow(message)

    waits: list[jsonrpc.Message] = []
    async with client_over(NdjsonTransport(ours), on_request=answer):
        await theirs.send_all(ask + ask)
        said = b""
        while said.count(b"\n") < 2:
            said += await theirs.receive_some()
    wanted = {"outcome": {"outcome": "selected", "optionId": "yes"}}
    answers = [jsonrpc.decode(line) for line in said.splitlines()]
    assert answers == [{"jsonrpc": "2.0", "id": "b", "result": wanted}] * 2


class Closed(NdjsonTransport):
    """As a WebSocket whose close frame has been read."""

    def close_reason_text(self) -> str:
        return ": the token was revoked; make another"


async def test_the_last_words_of_a_broker_are_told_by_a_write_that_finds_it_gone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.receive_stream.aclose()
    async with client_over(Closed(ours)) as client:
        with pytest.raises(BrokerGone, match="connection: the token was revoked; make another"):
            await client.call("x")


async def test_a_refusal_is_told_although_the_write_found_the_broker_gone() -> None:
    """As when there are too many clients: it says so, and hangs up without reading anything."""
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"too many; leave"}}\n'
    )
    await theirs.aclose()
    async with client_over(NdjsonTransport(ours)) as client:
        with pytest.raises(BrokerGone, match="connection: too many; leave"):
            await client.call("x")
