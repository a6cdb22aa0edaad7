"""stdin and stdout of an editor to and from a broker's WebSocket: each line one text frame, each frame one line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import attrs
import click
import trio
from trio_util import AsyncValue

from trio_broker.cli.remote.bridge import AGAIN, GONE, PATIENCE, RETRY, Bridge
from trio_broker.dial import connected
from trio_broker.errors import BrokerError, BrokerGone, NoBroker
from trio_broker.link import Ending, Lines
from trio_broker.websocket import WebSocketLink

LAST_ANSWERS = 5.0  # seconds, as of `acp` on a socket
LONGEST_REST = 8.0  # seconds: each time twice as long
FINAL = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)  # for these, trying again does not help


async def pump(url: str, token: str | None, asked: dict[str, Any]) -> int:
    """Copy both ways until the editor's side has ended, over as many connections as that takes; 0.

    `asked`: what `_trio_broker/bind` is to be told. Raises NoBroker if there is none at first, BrokerGone when the
    token is good no more, and whatever the broker refuses.
    """
    out, in_ = trio.lowlevel.FdStream(os.dup(1)), trio.lowlevel.FdStream(os.dup(0))
    async with Lines(trio.StapledStream(out, in_)) as editor, trio.open_nursery() as nursery:
        await Pump(editor, Bridge(asked or None), nursery).run(url, token)
    return 0


@attrs.define(eq=False)
class Pump:
    """`owing`: how many requests of the editor are not answered; when it has said its last, they are waited for."""

    editor: Lines
    bridge: Bridge
    nursery: trio.Nursery
    owing: AsyncValue[int] = attrs.field(factory=lambda: AsyncValue(0))
    _broker: AsyncValue[WebSocketLink | None] = attrs.field(factory=lambda: AsyncValue(None))
    _trouble: BrokerError = attrs.field(factory=lambda: NoBroker(GONE))
    _speaking: trio.Lock = attrs.field(factory=trio.Lock)

    async def run(self, url: str, token: str | None) -> None:
        """One connection after the other, until the nursery is cancelled."""
        rest = RETRY
        while True:
            try:
                async with connected(url, token) as broker:
                    await self._serve(broker)
                rest = RETRY
            except NoBroker as error:
                if not self.bridge.brokers or error.details.get("status") in FINAL:
                    raise
                self._trouble = error
            await trio.sleep(rest)
            rest = min(2 * rest, LONGEST_REST)

    async def _serve(self, broker: WebSocketLink) -> None:
        if await self._greeted(broker):
            self._broker.value = broker
            if self.bridge.brokers:
                click.echo(f"trio-broker: {AGAIN}", err=True)
            else:
                self.nursery.start_soon(self._forth)
            while (lines := await broker.receive()) is not None:
                await self._take(lines)
        self._broker.value = None
        gone = f"{GONE}{broker.farewell()}"
        if broker.socket.closed is not None and broker.socket.closed.code == Ending.EXPIRED.code:
            raise BrokerGone(gone)
        click.echo(f"trio-broker: {gone}; trying again", err=True)
        await self._say(self.bridge.lost(gone))

    async def _greeted(self, broker: WebSocketLink) -> bool:
        """Tell it what was before; False if it has gone meanwhile. Raises what it refuses."""
        for words in self.bridge.greeting():
            try:
                await broker.send(words)
            except trio.BrokenResourceError:
                return False
            while not self.bridge.greeted:
                if (lines := await broker.receive()) is None:
                    return False
                await self._take(lines)
        for trouble in self.bridge.troubles():
            click.echo(f"trio-broker: {trouble}", err=True)
        return True

    async def _take(self, lines: Sequence[bytes]) -> None:
        told = self.bridge.back(b"".join(line + b"\n" for line in lines))
        await self._say(told)
        self.owing.value = self.bridge.owing

    async def _say(self, told: bytes) -> None:
        try:
            async with self._speaking:
                await self.editor.send(told)
        except trio.BrokenResourceError:  # the editor is gone
            self.nursery.cancel_scope.cancel()

    async def _forth(self) -> None:
        """What the editor says, to the broker."""
        while (lines := await self.editor.receive()) is not None:
            for line in lines:
                await self._pass_on(line)
        if self._broker.value is not None:
            with trio.move_on_after(LAST_ANSWERS):
                await self.owing.wait_value(0)
        self.nursery.cancel_scope.cancel()

    async def _pass_on(self, line: bytes) -> None:
        if self._broker.value is None and self.bridge.refusal(line, self._trouble):
            with trio.move_on_after(PATIENCE):
                await self._broker.wait_value(lambda broker: broker is not None)
        if (broker := self._broker.value) is None:
            await self._say(self.bridge.refusal(line, self._trouble))
            return
        frame = self.bridge.forth(line)
        self.owing.value = self.bridge.owing
        try:
            await broker.send(frame)
        except trio.BrokenResourceError:
            pass  # it is gone: what was asked of it is told, or asked again
