"""The WebSocket serves what the Unix socket serves, to those who bring a token."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio

from trio_broker.auth.grant import Scope
from trio_broker.config.config import Config, ListenConfig
from trio_broker.errors import BrokerGone, NoBroker
from trio_broker.model import CloseReason
from trio_broker.testing.in_process.rig import open_rig, settings
from trio_broker.testing.in_process.websocket import open_web
from trio_broker.transport.connect import connect_websocket as dialled

BOUND = 60


def listening(**listen: Any) -> Config:
    """A configuration with these settings in its table `[listen]`."""
    return Config(listen=attrs.evolve(ListenConfig(), **listen))


@pytest.mark.parametrize("compression", [False, True])
async def test_a_session_is_opened_prompted_and_heard(compression: bool) -> None:
    with trio.fail_after(BOUND):
        async with (
            open_rig(listening(compression=compression)) as rig,
            open_web(rig) as web,
            web.connect() as user,
        ):
            session = await user.open("a")
            assert await user.prompt(session, "say hello; say ☃") == "end_turn"
            assert user.said(session) == "hello☃"


async def test_long_messages_and_many_come_whole_and_in_order() -> None:
    with trio.fail_after(BOUND):
        async with open_rig() as rig, open_web(rig) as web, web.connect() as user:
            session = await user.open("a")
            sizes = [1, 120, 125, 126, 65535, 65536, 70000]
            await user.prompt(session, "; ".join(f"say {'x' * size}" for size in sizes))
            words = [update["content"]["text"] for update in user.updates(session) if "content" in update]
            assert [len(word) for word in words] == sizes
            await user.prompt(session, "; ".join(f"say {number}" for number in range(3000)))
            assert user.said(session).endswith("".join(str(number) for number in range(3000)))


@pytest.mark.parametrize("token", ["", "tb_wrong"])
async def test_without_a_token_of_ours_nobody_gets_in(
    token: str, autojump_clock: trio.testing.MockClock
) -> None:
    with trio.fail_after(BOUND):
        async with open_rig() as rig, open_web(rig) as web:
            with pytest.raises(NoBroker, match="401: a token"):
                async with dialled(web.url, token):
                    pytest.fail("it got in")
            assert rig.broker.clients == set()
            assert web.door.throttle.total == (1 if token else 0)


@pytest.mark.parametrize(
    ("query", "message"),
    [("?agent=nosuch", "404: there is no agent 'nosuch'"), ("?session=a", "404: no agent was named")],
)
async def test_an_agent_that_is_not_known_is_named_before_the_connection_is_open(
    query: str, message: str, autojump_clock: trio.testing.MockClock
) -> None:
    with trio.fail_after(BOUND):
        async with open_rig() as rig, open_web(rig) as web:
            rig.broker.registry.config = attrs.evolve(rig.broker.config, default_agent=None)
            with pytest.raises(NoBroker, match=message):
                async with dialled(web.url + query, web.token):
                    pytest.fail("it got in")
            assert rig.broker.clients == set()


async def test_a_token_that_is_revoked_ends_its_connections_and_not_their_turns(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(BOUND):
        async with open_rig() as rig, open_web(rig) as web, web.connect() as admin:
            token = await web.new_token("bob", Scope.ADMIN)
            async with web.connect(token=token) as bob:
                session = await bob.open("a")
                later = bob.later(bob.prompt, session, "wait 1; say done")
                await admin.wait_phase("a", "working")
                await rig.broker.tokens.revoke("bob")
                error = await later.fails()
                assert isinstance(error, BrokerGone) and error.message.endswith(
                    "revoked; `trio-broker token new` beside the broker makes one"
                )
            await admin.wait_phase("a", "idle")
            assert rig.session("a").turns.turns_ended == 1


async def test_who_does_not_introduce_itself_is_let_go(autojump_clock: trio.testing.MockClock) -> None:
    async with open_rig() as rig, open_web(rig) as web, dialled(web.url, web.token) as link:
        await link.send(b'{"jsonrpc":"2.0","method":"$/ping"}\n')
        with trio.fail_after(31):
            assert await link.receive() is None
        assert CloseReason.NOT_INITIALIZED.text in link.close_reason_text()


async def test_the_limit_of_clients_holds_and_says_so() -> None:
    with trio.fail_after(BOUND):
        async with open_rig(settings(max_clients=1)) as rig, open_web(rig) as web, web.connect():
            with pytest.raises(NoBroker, match=r"503: 1 clients are connected, the limit; raise max_clients"):
                async with web.connect():
                    pytest.fail("it got in")
