"""Several clients on one session: who hears what of whom, and who has a hand in it."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from trio_broker.config.config import Config, ListenConfig
from trio_broker.errors import Forbidden, Misuse
from trio_broker.protocol import jsonrpc
from trio_broker.server.connection import Connection
from trio_broker.testing.clients.user import User, prompt_params
from trio_broker.testing.clients.websocket_peer import TEXT, WebSocketPeer, upgrade_request
from trio_broker.testing.in_process.rig import Rig, open_rig
from trio_broker.testing.in_process.websocket import Web, open_web

BOUND = 600  # virtual seconds


@asynccontextmanager
async def plain(rig: Rig, session: str) -> AsyncGenerator[User, None]:
    """A client that speaks ACP and nothing else, on that session."""
    async with rig.connect() as user:
        await user.call("initialize", protocolVersion=1)
        await user.call("session/resume", sessionId=session, cwd="/tmp", mcpServers=[])
        yield user


async def test_others_are_told_who_prompted_and_the_author_is_spared_the_echo(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(BOUND):
        async with open_rig() as rig, rig.connect() as author:
            session = await author.open("k")
            async with plain(rig, session) as other:
                await author.prompt(session, "say hello")
                await other.call("session/list")
                echo, words = other.updates(session)
                assert echo["content"]["text"] == "say hello" and words["content"]["text"] == "hello"
                name = next(one.name for one in rig.session("k").router.listeners if one.name != "")
                assert echo["_meta"]["trio-broker"]["author"] == name and echo["messageId"]
                assert [update["sessionUpdate"] for update in author.updates(session)] == [
                    "agent_message_chunk"
                ]


async def test_a_mode_that_one_sets_is_told_to_the_others_and_to_who_comes_later(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(BOUND):
        async with open_rig() as rig, rig.connect() as one:
            session = await one.open("k")
            async with plain(rig, session) as other:
                await one.call("session/set_mode", sessionId=session, modeId="code")
                await other.call("session/list")
                assert other.updates(session) == [
                    {"sessionUpdate": "current_mode_update", "currentModeId": "code"}
                ]


async def test_an_observer_hears_everything_and_has_no_hand_in_it(autojump_clock: MockClock) -> None:
    with trio.fail_after(BOUND):
        async with open_rig() as rig, rig.connect() as author, rig.connect() as observer:
            session = await author.open("k")
            await observer.call("_trio_broker/attach", sessionId=session, role="observer", since=1)
            turn = author.later(author.prompt, session, "say hello; ask may I")
            await author.wait_phase("k", "waiting")
            (ask,) = (await observer.call("_trio_broker/asks"))["asks"]
            for method, more in {
                "session/prompt": {"prompt": [{"type": "text", "text": "x"}]},
                "_trio_broker/submit": {"prompt": [{"type": "text", "text": "x"}]},
                "_trio_broker/cancel": {},
                "_trio_broker/answer": {"askId": ask["askId"], "answer": "allow"},
                "session/set_mode": {"modeId": "code"},
            }.items():
                with pytest.raises(Forbidden, match="attach to it as a controller first"):
                    await observer.call(method, sessionId=session, **more)
            observer.client.notify("session/cancel", {"sessionId": session})
            assert observer.asked() == [] and observer.said(session) == "hello" and not turn.done
            await observer.call("_trio_broker/attach", sessionId=session, role="controller", since=1)
            await observer.call("_trio_broker/answer", askId=ask["askId"], answer="allow")
            assert await turn.wait() == "end_turn"


async def test_there_are_two_roles() -> None:
    with trio.fail_after(BOUND):
        async with open_rig() as rig, rig.connect() as user:
            await user.open("k")
            with pytest.raises(Misuse, match="controller, observer"):
                await user.call("_trio_broker/attach", key="k", role="king")


STALLED, READING = 10, 90
LIMITS = Config(listen=ListenConfig(max_per_token=200))


def words_of(count: int, size: int) -> list[str]:
    return [f"{number}|" + "x" * size for number in range(count)]


async def stall(web: Web, stack: AsyncExitStack, door: str, *requests: bytes) -> None:
    """A client that sends these and reads nothing, not even the answers; its socket holds little."""
    if door == "socket":
        stream = await stack.enter_async_context(web.rig.raw())
        await stream.send_all(b"".join(requests))
        return
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await sock.connect(("127.0.0.1", web.port))
    peer = WebSocketPeer(await stack.enter_async_context(trio.SocketStream(sock)))
    await peer.stream.send_all(upgrade_request(Authorization=f"Bearer {web.token}"))
    await peer.read_until(b"\r\n\r\n")
    for request in requests:
        await peer.send(TEXT, request.strip())


def lagging(rig: Rig) -> int:
    """How many clients have not been sent all that there is for them."""
    clients = [client for client in rig.broker.clients if isinstance(client, Connection)]
    return sum(
        any(cursor.has_more() for cursor in client.subscriptions.attached.values()) for client in clients
    )


async def wait_said(user: User, session: str, words: list[str]) -> None:
    """Wait until all of it has come; it has to have come in order, and once."""
    while len(user.updates(session)) < len(words):  # noqa: ASYNC110  # it is on its way
        await trio.sleep(0.05)
    assert user.said(session) == "".join(words)


@pytest.mark.slow
@pytest.mark.parametrize("door", ["socket", "websocket"])
async def test_ten_of_a_hundred_clients_stop_reading_and_the_others_hear_all_in_order(door: str) -> None:
    words = words_of(200, 3000)
    attach = b'{"jsonrpc":"2.0","id":1,"method":"_trio_broker/attach","params":{"key":"k","since":1}}\n'
    with trio.fail_after(200):
        async with (
            open_rig(LIMITS) as rig,
            rig.connect() as author,
            open_web(rig) as web,
            AsyncExitStack() as stack,
        ):
            session = await author.open("k")
            for _ in range(STALLED):
                await stall(web, stack, door, attach)
            connect = rig.connect if door == "socket" else web.connect
            users = [await stack.enter_async_context(connect()) for _ in range(READING)]
            for user in users:
                await user.call("_trio_broker/attach", key="k", since=1)
            await author.prompt(session, "; ".join(f"say {word}" for word in words))
            for user in users:
                await wait_said(user, session, words)
            assert lagging(rig) == STALLED
            assert (await author.status())["clients"] == STALLED + READING + 1


@pytest.mark.slow
@pytest.mark.parametrize("door", ["websocket"])
async def test_ten_of_a_hundred_sessions_have_a_client_that_stops_reading(door: str) -> None:
    words = words_of(50, 12_000)
    text = "; ".join(f"say {word}" for word in words)
    with trio.fail_after(200):
        async with (
            open_rig(LIMITS) as rig,
            rig.connect() as owner,
            open_web(rig) as web,
            AsyncExitStack() as stack,
        ):
            for number in range(STALLED):
                session = await owner.open(f"s{number}")
                await owner.call("_trio_broker/detach", key=f"s{number}")
                prompt = jsonrpc.encode(prompt_params(session, text))
                begun = jsonrpc.request(2, "_trio_broker/attach", b'{"key":"s%d"}' % number)
                await stall(web, stack, door, begun, jsonrpc.request(3, "session/prompt", prompt))
            connect = rig.connect if door == "socket" else web.connect
            users = [await stack.enter_async_context(connect()) for _ in range(READING)]
            sessions = [await user.open(f"r{number}") for number, user in enumerate(users)]
            turns = [
                user.later(user.prompt, session, text) for user, session in zip(users, sessions, strict=True)
            ]
            for user, session, turn in zip(users, sessions, turns, strict=True):
                assert await turn.wait() == "end_turn"
                await wait_said(user, session, words)
            for number in range(STALLED):
                await owner.wait_phase(f"s{number}", "idle")
                assert rig.session(f"s{number}").turns.turns_ended == 1, "its agent waits for no client"
            assert lagging(rig) == STALLED
