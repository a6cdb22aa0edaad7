"""Several clients on one session: who hears what of whom, and who has a hand in it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from trio_broker.config import Config, ListenConfig
from trio_broker.errors import Forbidden, Misuse
from trio_broker.testing.rig import Rig, User, open_rig
from trio_broker.testing.web import open_web

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
                name = next(one.name for one in rig.session("k").relay.listeners if one.name != "")
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


@pytest.mark.slow
@pytest.mark.parametrize("door", ["socket", "websocket"])
async def test_ten_of_a_hundred_clients_stop_reading_and_the_others_hear_all_in_order(door: str) -> None:
    count = 500
    with trio.fail_after(120):
        async with (
            open_rig(Config(listen=ListenConfig(max_per_token=100))) as rig,
            rig.connect() as author,
            open_web(rig) as web,
            AsyncExitStack() as stack,
        ):
            session = await author.open("k")
            stalled = [await stack.enter_async_context(rig.raw()) for _ in range(10)]
            for stream in stalled:
                await stream.send_all(
                    b'{"jsonrpc":"2.0","id":1,"method":"_trio_broker/attach","params":{"key":"k","since":1}}\n'
                )
            connect = rig.connect if door == "socket" else web.connect
            users = [await stack.enter_async_context(connect()) for _ in range(90)]
            for user in users:
                await user.call("_trio_broker/attach", key="k", since=1)
            words = [f"{number}|" + "x" * 200 for number in range(count)]
            await author.prompt(session, "; ".join(f"say {word}" for word in words))
            for user in users:
                while len(user.updates(session)) < count:  # noqa: ASYNC110  # it is on its way
                    await trio.sleep(0.05)
                assert user.said(session) == "".join(words)
