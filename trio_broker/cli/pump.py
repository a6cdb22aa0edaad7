"""stdin and stdout of an editor to and from a broker's WebSocket: each line one text frame, each frame one line."""

from __future__ import annotations

import os
from typing import Any

import attrs
import trio
from trio_util import AsyncValue

from trio_broker.dial import connected
from trio_broker.errors import BadMessage, BrokerGone, from_rpc
from trio_broker.link import Lines, Link
from trio_broker.wire import jsonrpc
from trio_broker.wire.jsonrpc import Kind, Message

LAST_ANSWERS = 5.0  # seconds, as of `acp` on a socket
BIND = b'"trio-broker:bind"'


async def pump(url: str, token: str | None, asked: dict[str, Any]) -> int:
    """Copy both ways until one side has ended; 0 when it was ours. `asked`: what `_trio_broker/bind` is to be told.

    Raises NoBroker, BrokerGone, and the broker's error if the connection can't be bound so.
    """
    async with connected(url, token) as broker:
        if asked:
            await _bind(broker, asked)
        editor = Lines(
            trio.StapledStream(trio.lowlevel.FdStream(os.dup(1)), trio.lowlevel.FdStream(os.dup(0)))
        )
        async with editor, trio.open_nursery() as nursery:
            pumping = Pump(editor, broker, nursery.cancel_scope)
            nursery.start_soon(pumping.forth)
            await pumping.back()
    return 0


async def _bind(broker: Link, asked: dict[str, Any]) -> None:
    await broker.send(
        b'{"jsonrpc":"2.0","id":%b,"method":"_trio_broker/bind","params":%b}\n'
        % (BIND, jsonrpc.encode(asked))
    )
    while (lines := await broker.receive()) is not None:
        for line in lines:
            if (message := jsonrpc.peek(line)).id == BIND:
                if message.error is not None:
                    raise from_rpc(jsonrpc.decode(message.error))
                return
    raise _gone(broker)


@attrs.define(eq=False)
class Pump:
    """`owing`: requests of the editor that are not answered yet; when it has said its last, they are waited for."""

    editor: Lines
    broker: Link
    everything: trio.CancelScope
    owing: AsyncValue[frozenset[bytes]] = attrs.field(factory=lambda: AsyncValue(frozenset()))

    async def forth(self) -> None:
        """What the editor says, to the broker."""
        try:
            while (lines := await self.editor.receive()) is not None:
                asked = {id for line in lines if (id := _id(line, Kind.REQUEST))}
                self.owing.value = self.owing.value | asked
                for line in lines:
                    await self.broker.send(line + b"\n")
            with trio.move_on_after(LAST_ANSWERS):
                await self.owing.wait_value(frozenset())
        except trio.BrokenResourceError:
            return  # the other direction sees it, and says so
        self.everything.cancel()

    async def back(self) -> None:
        """What the broker says, to the editor. Raises BrokerGone."""
        try:
            while (lines := await self.broker.receive()) is not None:
                await self.editor.send(b"".join(line + b"\n" for line in lines))
                self.owing.value = self.owing.value - {
                    id for line in lines if (id := _id(line, Kind.RESPONSE))
                }
        except trio.BrokenResourceError:
            self.everything.cancel()  # the editor is gone
            return
        raise _gone(self.broker)


def _id(line: bytes, kind: Kind) -> bytes | None:
    try:
        message: Message = jsonrpc.peek(line)
    except BadMessage:
        return None
    return message.id if message.kind is kind else None


def _gone(broker: Link) -> BrokerGone:
    return BrokerGone(f"the broker closed the connection{broker.farewell()}; start this agent again")
