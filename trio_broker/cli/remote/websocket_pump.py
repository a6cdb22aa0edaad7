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

from trio_broker.cli.remote.bridge import BROKER_GONE, BROKER_TIMEOUT, RECONNECTED, RETRY_INTERVAL, Bridge
from trio_broker.errors import BrokerError, BrokerGone, NoBroker
from trio_broker.model import CloseReason
from trio_broker.transport.base import NdjsonTransport
from trio_broker.transport.connect import connect_websocket
from trio_broker.transport.websocket import WebSocketTransport

LAST_ANSWERS_TIMEOUT = 5.0  # seconds, as of `acp` on a socket
MAX_RETRY_INTERVAL = 8.0  # seconds: each time twice as long
FINAL_STATUSES = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)  # for these, trying again does not help


async def run_websocket_pump(url: str, token: str | None, bind_params: dict[str, Any]) -> int:
    """Copy both ways until the editor's side has ended, over as many connections as that takes; 0.

    `bind_params`: those of `_trio_broker/bind`. Raises NoBroker if there is none at first, BrokerGone when the
    token is good no more, and whatever the broker refuses.
    """
    out, in_ = trio.lowlevel.FdStream(os.dup(1)), trio.lowlevel.FdStream(os.dup(0))
    async with NdjsonTransport(trio.StapledStream(out, in_)) as editor, trio.open_nursery() as nursery:
        await WebSocketPump(editor, Bridge(bind_params or None), nursery).run(url, token)
    return 0


@attrs.define(eq=False)
class WebSocketPump:
    """`unanswered`: how many requests of the editor have no answer yet; after the end of stdin `run` waits for them."""

    editor: NdjsonTransport
    bridge: Bridge
    nursery: trio.Nursery
    unanswered: AsyncValue[int] = attrs.field(factory=lambda: AsyncValue(0))
    _broker: AsyncValue[WebSocketTransport | None] = attrs.field(factory=lambda: AsyncValue(None))
    _last_error: BrokerError = attrs.field(factory=lambda: NoBroker(BROKER_GONE))
    _write_lock: trio.Lock = attrs.field(factory=trio.Lock)

    async def run(self, url: str, token: str | None) -> None:
        """One connection after the other, until the nursery is cancelled."""
        interval = RETRY_INTERVAL
        while True:
            try:
                async with connect_websocket(url, token) as broker:
                    await self._serve(broker)
                interval = RETRY_INTERVAL
            except NoBroker as error:
                if not self.bridge.lost_brokers or error.details.get("status") in FINAL_STATUSES:
                    raise
                self._last_error = error
            await trio.sleep(interval)
            interval = min(2 * interval, MAX_RETRY_INTERVAL)

    async def _serve(self, broker: WebSocketTransport) -> None:
        if await self._handshake(broker):
            self._broker.value = broker
            if self.bridge.lost_brokers:
                click.echo(f"trio-broker: {RECONNECTED}", err=True)
            else:
                self.nursery.start_soon(self._copy_to_broker)
            while (lines := await broker.receive()) is not None:
                await self._receive(lines)
        self._broker.value = None
        gone = f"{BROKER_GONE}{broker.close_reason_text()}"
        if broker.socket.closed is not None and broker.socket.closed.code == CloseReason.EXPIRED.code:
            raise BrokerGone(gone)
        click.echo(f"trio-broker: {gone}; trying again", err=True)
        await self._send_to_editor(self.bridge.broker_lost(gone))

    async def _handshake(self, broker: WebSocketTransport) -> bool:
        """Tell it what was before; False if it has gone meanwhile. Raises what it refuses."""
        for request in self.bridge.handshake():
            try:
                await broker.send(request)
            except trio.BrokenResourceError:
                return False
            while not self.bridge.handshake_done:
                if (lines := await broker.receive()) is None:
                    return False
                await self._receive(lines)
        for error in self.bridge.take_resume_errors():
            click.echo(f"trio-broker: {error}", err=True)
        return True

    async def _receive(self, lines: Sequence[bytes]) -> None:
        output = self.bridge.to_editor(b"".join(line + b"\n" for line in lines))
        await self._send_to_editor(output)
        self.unanswered.value = self.bridge.unanswered

    async def _send_to_editor(self, output: bytes) -> None:
        try:
            async with self._write_lock:
                await self.editor.send(output)
        except trio.BrokenResourceError:  # the editor is gone
            self.nursery.cancel_scope.cancel()

    async def _copy_to_broker(self) -> None:
        """What the editor says, to the broker."""
        while (lines := await self.editor.receive()) is not None:
            for line in lines:
                await self._send_line(line)
        if self._broker.value is not None:
            with trio.move_on_after(LAST_ANSWERS_TIMEOUT):
                await self.unanswered.wait_value(0)
        self.nursery.cancel_scope.cancel()

    async def _send_line(self, line: bytes) -> None:
        if self._broker.value is None and self.bridge.error_reply(line, self._last_error):
            with trio.move_on_after(BROKER_TIMEOUT):
                await self._broker.wait_value(lambda broker: broker is not None)
        if (broker := self._broker.value) is None:
            await self._send_to_editor(self.bridge.error_reply(line, self._last_error))
            return
        frame = self.bridge.to_broker(line)
        self.unanswered.value = self.bridge.unanswered
        try:
            await broker.send(frame)
        except trio.BrokenResourceError:
            pass  # it is gone: what was asked of it is told, or asked again
