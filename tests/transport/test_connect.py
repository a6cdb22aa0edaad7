"""What is no address of a broker, and what answers there and is none, is told with what to do."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from trio_broker.errors import Misuse, NoBroker
from trio_broker.transport.connect import connect_websocket, redact_url

LIMIT = 60


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://127.0.0.1:1",
        "ws://",
        "ws://[1",
        "ws://h:x",
        "ws://h:0",
        "ws://h:70000",
        "ws://h/a b",
        "ws://ü",
        "ws://a..b:1",
        "ws://.:1",
        f"ws://{'a' * 64}:1",
    ],
)
async def test_what_is_no_url_of_a_broker_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(Misuse, match=r"is no URL of a broker; write one such as ws://127\.0\.0\.1:8765"):
        async with connect_websocket(url):
            pytest.fail("it connected")


async def test_a_token_in_the_place_of_a_user_is_refused_and_not_shown() -> None:
    with pytest.raises(Misuse, match="no user in it; give the token with --token") as caught:
        async with connect_websocket("ws://secret@127.0.0.1:1"):
            pytest.fail("it connected")
    assert "secret" not in str(caught.value)
    assert redact_url("ws://secret@host:1/acp?token=secret") == "ws://host:1/acp"


@pytest.mark.parametrize("token", ["a b", "tb_ü", "tb_\n"])
async def test_a_token_that_can_be_none_is_refused_before_anybody_hears_it(token: str) -> None:
    with pytest.raises(Misuse, match="characters that no token has") as caught:
        async with connect_websocket("ws://127.0.0.1:1", token):
            pytest.fail("it connected")
    assert token not in str(caught.value)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n\r\n"])
async def test_who_answers_as_no_broker_does_is_told_so(answer: bytes) -> None:
    async def other(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(answer)

    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            doors = await nursery.start(partial(trio.serve_tcp, other, 0, host="127.0.0.1"))
            port = doors[0].socket.getsockname()[1]
            with pytest.raises(NoBroker, match="look at host and port, and whether it is ws or wss"):
                async with connect_websocket(f"ws://127.0.0.1:{port}"):
                    pytest.fail("it connected")
            nursery.cancel_scope.cancel()
