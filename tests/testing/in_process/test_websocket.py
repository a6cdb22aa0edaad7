"""The WebSocket of a broker in the process of a test: clients with tokens, single frames, and what is left of them."""

from __future__ import annotations

import pytest
import trio

from trio_broker.auth.grant import Scope
from trio_broker.errors import BrokerError
from trio_broker.testing.clients.websocket_peer import upgrade_request
from trio_broker.testing.in_process.websocket import open_web_rig

LIMIT = 30.0


async def test_a_client_may_what_the_scopes_of_its_token_allow() -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web:
            token = await web.new_token("reader", Scope.OBSERVE)
            async with web.connect() as admin, web.connect(token=token) as reader:
                await admin.open("k")
                assert (await reader.view("k"))["key"] == "k"
                with pytest.raises(BrokerError):
                    await reader.open("other")


async def test_a_client_that_has_left_leaves_nothing_behind() -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web, web.rig.connect() as owner:
            await owner.open("k")
            before = web.resource_counts()
            async with web.connect() as user:
                await user.status()
                assert web.resource_counts() != before
            await web.wait_settled(before)


async def test_a_peer_was_let_in_and_a_request_is_answered() -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web:
            async with web.peer() as peer:
                assert peer.handshake.status == 101
                assert "result" in await peer.call(1, "_trio_broker/status")
            request = upgrade_request("/acp/nobody", Authorization=f"Bearer {web.token}")
            assert (await web.answer(request)).status == 404
