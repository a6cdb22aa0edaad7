"""A WebSocket that is silent is asked whether it is there; one that does not answer twice is gone."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from trio_broker.testing.clients.websocket_peer import PING, PONG, TEXT, WebSocketPeer
from trio_broker.testing.in_process.websocket import Web, open_web_rig
from trio_broker.transport.websocket import PING_EVERY, PINGS_MISSED


async def introduced(peer: WebSocketPeer) -> None:
    await peer.call(1, "_trio_broker/status")


async def alone(web: Web) -> float:
    """When no client is left."""
    while web.rig.broker.clients:  # noqa: ASYNC110  # seen from outside only
        await trio.sleep(0.1)
    return trio.current_time()


async def test_who_answers_pings_stays_for_hours(autojump_clock: MockClock) -> None:
    with trio.fail_after(3 * 3600):
        async with open_web_rig() as web, web.peer() as peer:
            await introduced(peer)
            begun = trio.current_time()
            for number in range(1, 200):
                opcode, payload = await peer.receive_frame()
                assert opcode == PING
                assert trio.current_time() - begun == pytest.approx(number * PING_EVERY, abs=1)
                await peer.send(PONG, payload)
            assert "result" in await peer.call(2, "_trio_broker/status")


@pytest.mark.parametrize("compression", [False, True])
async def test_who_misses_two_pings_is_gone_and_its_turn_goes_on(
    compression: bool, autojump_clock: MockClock
) -> None:
    offer = {"Sec_WebSocket_Extensions": "permessage-deflate"} if compression else {}
    with trio.fail_after(600):
        async with open_web_rig(compression=compression) as web, web.rig.connect() as owner:
            session = await owner.open("k")
            turn = owner.later(owner.prompt, session, "wait 200; say still at it")
            async with web.peer(**offer) as peer:
                begun = trio.current_time()
                await peer.send(TEXT, b'{"jsonrpc":"2.0","id":1,"method":"_trio_broker/attach"}')
                while len(web.rig.broker.clients) > 1:  # noqa: ASYNC110  # seen from outside only
                    await trio.sleep(0.1)
                lasted = trio.current_time() - begun
                assert lasted == pytest.approx((PINGS_MISSED + 1) * PING_EVERY, abs=1)
            assert await turn.wait() == "end_turn"
            assert owner.said(session) == "still at it"


async def test_any_sign_of_life_will_do(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with open_web_rig() as web, web.peer() as peer:
            await introduced(peer)
            for _ in range(40):
                await trio.sleep(PING_EVERY * PINGS_MISSED - 1)
                await peer.send(PING, b"here")
            assert len(web.rig.broker.clients) == 1


async def test_a_word_a_minute_is_too_little_when_pings_are_ignored(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with open_web_rig() as web, web.peer() as peer:
            await introduced(peer)
            begun = trio.current_time()
            assert (await alone(web)) - begun <= (PINGS_MISSED + 1) * PING_EVERY + 1
