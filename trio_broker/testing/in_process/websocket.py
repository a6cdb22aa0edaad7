"""A rig's broker over the WebSocket.

async with open_rig() as rig, open_web(rig) as web, web.connect() as user:
    assert await user.prompt(await user.open("a"), "say hello") == "end_turn"
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio

from trio_broker.auth.grant import Grant, Scope
from trio_broker.client import refuse_all
from trio_broker.config.config import BrokerConfig, Config, ListenConfig
from trio_broker.server.websocket import WebSocketServer
from trio_broker.session.agent_request import AgentRequest
from trio_broker.session.session import Session
from trio_broker.testing.clients.user import OnRequest, User, open_user
from trio_broker.testing.clients.websocket_peer import (
    Response,
    WebSocketPeer,
    parse_response,
    read_all,
    upgrade_request,
)
from trio_broker.testing.in_process.rig import Rig, open_rig
from trio_broker.transport.connect import connect_websocket as dialled
from trio_broker.transport.listeners import Listener, open_listeners, url_of

ADMIN = Grant("tester", frozenset({Scope.ADMIN}))
SETTLE_TIMEOUT = 30.0  # seconds: a wrong token waits for its answer for 5


@attrs.define(eq=False)
class Web:
    """A WebSocket door that is open at `url`; `token` is an admin's."""

    rig: Rig
    door: WebSocketServer
    url: str
    token: str

    @asynccontextmanager
    async def connect(
        self,
        on_request: OnRequest = refuse_all,
        *,
        token: str | None = None,
        query: str = "",
    ) -> AsyncGenerator[User, None]:
        """A client of its own connection, with that token or the admin's; leaving the block disconnects."""
        async with (
            dialled(self.url + query, token or self.token) as link,
            open_user(link, on_request) as user,
        ):
            yield user

    async def new_token(self, name: str, *scopes: Scope, **more: Any) -> str:
        """A token of the broker's."""
        return await self.rig.broker.tokens.create(Grant(name, frozenset(scopes), **more))

    async def dial(self) -> trio.SocketStream:
        """A connection, for bytes."""
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def answer(self, request: bytes) -> Response:
        """Send the bytes of a request, and read what comes to its end."""
        async with await self.dial() as stream:
            await stream.send_all(request)
            return parse_response(await read_all(stream))

    @asynccontextmanager
    async def peer(self, target: str = "/acp", **headers: str) -> AsyncGenerator[WebSocketPeer, None]:
        """A peer that was let in, with the admin's token unless it brings another, and has sent nothing yet."""
        async with await self.dial() as stream:
            peer = WebSocketPeer(stream)
            await stream.send_all(
                upgrade_request(target, **{"Authorization": f"Bearer {self.token}", **headers})
            )
            peer.handshake = parse_response(await peer.read_until(b"\r\n\r\n"))
            assert peer.handshake.status == 101, peer.handshake
            yield peer

    def resource_counts(self) -> dict[str, int]:
        """What this process has of everything that a client which is gone could leave behind."""
        sessions, door = self.rig.broker.sessions(), self.door
        return {
            "tasks": trio.lowlevel.current_statistics().tasks_living,
            "files": len(os.listdir("/proc/self/fd")),
            "clients": len(self.rig.broker.clients),
            "handshakes": door.handshaking,
            "delayed": door.delayed,
            "tokens in use": sum(door.by_token.values()) + len(door.by_token),
            "listeners": sum(len(session.router.listeners) for session in sessions),
            "observers": sum(len(session.router.observers) for session in sessions),
            "cursors": sum(len(session.log.cursors) for session in sessions),
            "turns": sum(len(session.turns.queued()) for session in sessions),
            "asked": sum(len(ask.asked_clients) for session in sessions for ask in open_requests(session)),
        }

    async def wait_settled(self, before: dict[str, int]) -> None:
        """Wait until there is as much of everything as `before`; a difference that stays is told."""
        with trio.move_on_after(SETTLE_TIMEOUT) as scope:
            while more := self._differences(before):  # noqa: ASYNC110  # seen from outside only
                await trio.sleep(0.02)
        assert not scope.cancelled_caught, more

    def _differences(self, before: dict[str, int]) -> dict[str, tuple[int, int]]:
        now = self.resource_counts()
        return {name: (count, now[name]) for name, count in before.items() if now[name] != count}

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2].partition("/")[0])


def open_requests(session: Session) -> list[AgentRequest]:
    """Those that are open."""
    return session.router.requests.open if session.router.requests is not None else []


@asynccontextmanager
async def open_web_rig(broker: BrokerConfig | None = None, **listen: Any) -> AsyncGenerator[Web, None]:
    """A rig and its door, with these settings in `[listen]`."""
    config = Config(broker=broker or BrokerConfig(), listen=ListenConfig(**listen))
    async with open_rig(config) as rig, open_web(rig) as web:
        yield web


@asynccontextmanager
async def open_web(rig: Rig) -> AsyncGenerator[Web, None]:
    """Open a door at a free port of 127.0.0.1, with whatever else `[listen]` of the rig's broker says."""
    config = attrs.evolve(rig.broker.config.listen, websocket="127.0.0.1:0")
    listeners: list[Listener] = await open_listeners(config)
    door = WebSocketServer(rig.broker)
    token = await rig.broker.tokens.create(ADMIN)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(door.run, listeners, rig.nursery))
        yield Web(rig, door, url_of(listeners), token)
        nursery.cancel_scope.cancel()
