"""Over a WebSocket: what frames may carry, how connections end, and that only theirs does."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from trio_broker.auth.grant import Scope
from trio_broker.config.config import BrokerConfig
from trio_broker.model import CloseReason
from trio_broker.server.connection import Connection
from trio_broker.testing.clients.user import prompt_params
from trio_broker.testing.clients.websocket_peer import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    WebSocketPeer,
    encode_frame,
)
from trio_broker.testing.in_process.websocket import Web, open_web_rig

LIMIT = 60


def request(id: int, method: str, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).encode()


async def alive(peer: WebSocketPeer) -> None:
    assert "result" in await peer.call(99, "_trio_broker/status")


async def test_a_turn_over_it_is_as_anywhere() -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web, web.connect() as user:
            session = await user.open("a")
            assert await user.prompt(session, "say hello") == "end_turn"
            assert user.said(session) == "hello"
            assert (await user.status())["clients"] == 1


@pytest.mark.parametrize("compression", [False, True])
async def test_messages_of_every_length_come_whole(compression: bool) -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig(compression=compression) as web:
            offer = {"Sec_WebSocket_Extensions": "permessage-deflate; client_max_window_bits"}
            async with web.peer(**offer) as peer:
                assert ("sec-websocket-extensions" in peer.handshake.headers) == compression
                if not compression:
                    for size in (1, 125, 126, 65535, 65536, 300_000):
                        answer = await peer.call(size, "no/such", text="x" * size)
                        assert answer["id"] == size


async def test_fragments_and_whitespace_and_several_in_one_frame() -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web, web.peer() as peer:
            text = request(1, "_trio_broker/status")
            await peer.send(TEXT, text[:5], final=False)
            await peer.send(PING, b"between")
            await peer.send(0, text[5:20], final=False)
            await peer.send(0, text[20:])
            assert await peer.receive_frame() == (PONG, b"between")
            assert (await peer.receive())["id"] == 1
            await peer.send(TEXT, b" \r\n" + request(2, "_trio_broker/status") + b"\n\n")
            assert (await peer.receive())["id"] == 2
            await peer.send(
                TEXT, request(3, "_trio_broker/agents") + b"\n" + request(4, "_trio_broker/agents")
            )
            assert [(await peer.receive())["id"], (await peer.receive())["id"]] == [3, 4]
            await peer.send(
                TEXT, json.dumps(json.loads(request(5, "_trio_broker/agents")), indent=2).encode()
            )
            assert (await peer.receive())["id"] == 5


async def test_binary_frames_and_empty_ones_mean_nothing() -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web, web.peer() as peer:
            await peer.send(BINARY, request(1, "_trio_broker/status"))
            await peer.send(TEXT, b"")
            await peer.send(TEXT, b"\n")
            await alive(peer)


async def test_a_plain_acp_client_is_sent_messages_and_no_empty_frames() -> None:
    """Of a turn's events most are none for it, and so no bytes."""
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web, web.peer() as peer:
            await peer.call(1, "initialize", protocolVersion=1)
            opened = await peer.call(2, "session/new", cwd="/tmp", mcpServers=[])
            id = opened["result"]["sessionId"]
            await peer.send(TEXT, request(3, "session/prompt", **prompt_params(id, "say a; say b")))
            words = []
            while "method" in (message := await peer.receive()):
                words.append(message["params"]["update"]["content"]["text"])
            assert message["result"] == {"stopReason": "end_turn"} and words == ["a", "b"]
            await alive(peer)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"{", -32700),
        (b"[]", -32600),
        (b'[{"jsonrpc":"2.0","id":1,"method":"a"}]', -32600),
        (b"[" * 100_000, -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"a","params":' + b"[" * 100_000, -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"a":NaN}}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"session/new","params":{}}', -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"initialize"}', -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"initialize"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"_trio_broker/nothing"}', -32601),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_nonsense_is_answered_and_the_connection_lives(text: bytes, code: int) -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web, web.peer() as peer:
            await peer.send(TEXT, text)
            assert (await peer.receive())["error"]["code"] == code
            await alive(peer)


async def test_before_initialize_notifications_are_ignored() -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web, web.peer() as peer:
            await peer.send_message({"jsonrpc": "2.0", "method": "$/ping"})
            await peer.send_message({"jsonrpc": "2.0", "method": "some/thing", "params": {}})
            answer = await peer.call(1, "session/list")
            assert answer["error"]["code"] == -32600 and "initialize" in answer["error"]["message"]
            assert "result" in await peer.call(2, "initialize", protocolVersion=1)


@pytest.mark.parametrize(
    ("opcode", "payload", "how", "code"),
    [
        (TEXT, b"\xff\xfe", {}, 1007),
        (TEXT, b"{}", {"masked": False}, 1002),
        (3, b"", {}, 1002),
        (TEXT, b"{}", {"rsv": 4}, 1002),
        (0, b"{}", {}, 1002),
        (PING, b"x" * 126, {}, 1002),
        (CLOSE, b"\x03\xe8bye", {}, 1000),
        (CLOSE, b"", {}, 1005),
    ],
    ids=repr,
)
async def test_a_bad_frame_ends_the_connection_with_its_code(
    opcode: int, payload: bytes, how: dict[str, Any], code: int
) -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web, web.connect() as user:
            async with web.peer() as peer:
                await alive(peer)
                await peer.send(opcode, payload, **how)
                assert (await peer.wait_closed())[0] == code
            await gone(web, but=1)
            assert (await user.status())["clients"] == 1


async def test_a_message_above_max_line_is_refused_with_its_name() -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig(BrokerConfig(max_line=2048)) as web, web.peer() as peer:
            assert "id" in await peer.call(1, "no/such", text="x" * 1900)
            await peer.send(TEXT, request(2, "no/such", text="x" * 5000))
            assert (await peer.wait_closed())[0] == 1009


async def test_a_stop_of_the_broker_is_told() -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web, web.peer() as peer:
            await alive(peer)
            web.rig.broker.stop()
            [client] = web.rig.broker.clients
            client.finish(CloseReason.STOPPING)
            assert await peer.wait_closed() == (1001, "the broker is stopping")


async def test_a_revoked_token_ends_its_connections_and_no_turn() -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web, web.connect() as user:
            session = await user.open("a")
            token = await web.new_token("phone", Scope.OBSERVE)
            async with web.peer(Authorization=f"Bearer {token}") as peer:
                await peer.call(1, "_trio_broker/attach", key="a")
                await web.rig.broker.tokens.revoke("phone")
                assert await peer.wait_closed() == CloseReason.EXPIRED.value
            assert await user.prompt(session, "say still here") == "end_turn"


async def test_requests_in_flight_are_bounded() -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig(max_in_flight=2) as web, web.peer() as peer:
            opened = await peer.call(1, "_trio_broker/open", key="a", cwd="/tmp", agent="demo")
            prompt = prompt_params(opened["result"]["sessionId"], "hang")
            for id in (2, 3):
                await peer.send(TEXT, request(id, "session/prompt", **prompt))
            answer = await peer.call(4, "_trio_broker/status")
            assert (
                answer["error"]["code"] == -32600
                and "max_in_flight in [listen]" in answer["error"]["message"]
            )
            await peer.send_message({"jsonrpc": "2.0", "method": "session/cancel", "params": prompt})
            ended = [await peer.receive_response(), await peer.receive_response()]
            assert {answer["id"] for answer in ended} == {2, 3}
            await alive(peer)


async def test_ids_are_the_clients_own_to_the_last_digit_and_not_used_twice() -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web, web.peer() as peer:
            for id in (b"9007199254740993", b'"1"', b"1.50", b"-7", b"123456789012345678901234567890"):
                await peer.send(TEXT, b'{"jsonrpc":"2.0","id":%b,"method":"_trio_broker/agents"}' % id)
                opcode, payload = await peer.receive_frame()
                assert opcode == TEXT and b'"id":%b,' % id in payload
            opened = await peer.call(1, "_trio_broker/open", key="a", cwd="/tmp", agent="demo")
            prompt = prompt_params(opened["result"]["sessionId"], "hang")
            await peer.send(TEXT, request(2, "session/prompt", **prompt))
            await peer.send(TEXT, request(2, "_trio_broker/agents"))
            second = await peer.receive_response()
            assert second["error"]["code"] == -32600 and "still open" in second["error"]["message"]
            await peer.send_message({"jsonrpc": "2.0", "method": "session/cancel", "params": prompt})
            assert (await peer.receive_response())["result"]["stopReason"] == "cancelled", (
                "the first has its answer"
            )


async def test_a_session_that_is_none_and_an_answer_to_nothing() -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web, web.peer() as peer:
            await peer.call(1, "initialize", protocolVersion=1)
            for method in ("session/prompt", "session/load", "session/set_mode", "_trio_broker/attach"):
                answer = await peer.call(
                    2, method, sessionId="none", prompt=[], cwd="/tmp", mcpServers=[], modeId="x"
                )
                assert answer["error"]["code"] == -32002 and answer["error"]["data"]["sessionId"] == "none"
            await peer.send_message({"jsonrpc": "2.0", "id": 1, "result": {}})
            await peer.send_message({"jsonrpc": "2.0", "id": "x", "error": {"code": 1, "message": "no"}})
            await alive(peer)


async def test_an_option_that_was_not_offered_is_no_answer_to_a_permission() -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web, web.peer() as peer:
            opened = await peer.call(1, "_trio_broker/open", key="a", cwd="/tmp", agent="demo")
            prompt = prompt_params(opened["result"]["sessionId"], "ask go")
            await peer.send(TEXT, request(2, "session/prompt", **prompt))
            while (message := await peer.receive()).get("method") != "session/request_permission":
                pass
            chosen = {"outcome": {"outcome": "selected", "optionId": "invented"}}
            await peer.send_message({"jsonrpc": "2.0", "id": message["id"], "result": chosen})
            [ask] = (await peer.call(3, "_trio_broker/asks"))["result"]["asks"]
            assert ask["asked"] == []
            await peer.call(4, "_trio_broker/answer", askId=ask["askId"], answer="allow")


async def test_a_frame_that_is_cut_off_ends_its_connection_only() -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web, web.connect() as user:
            for text in (request(1, "_trio_broker/status"), b"x" * 70_000):
                whole = encode_frame(TEXT, text)
                for cut in (1, 3, len(whole) // 2, len(whole) - 1):
                    async with web.peer() as peer:
                        await peer.stream.send_all(whole[:cut])
                    await gone(web, but=1)
            assert (await user.status())["clients"] == 1


async def test_who_lags_too_far_is_told_so_with_1008() -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web, web.connect() as user:
            await user.status()
            others = set(web.rig.broker.clients)
            async with web.peer() as peer:
                await peer.call(1, "_trio_broker/open", key="k", cwd="/tmp")
                [lagging] = web.rig.broker.clients - others
                assert isinstance(lagging, Connection)
                lagging.outbox.limit = 100
                for id in range(2, 6):  # in one piece, so that the broker has no time to write between them
                    await peer.stream.send_all(
                        b"".join(
                            encode_frame(TEXT, request(10 * id + n, "_trio_broker/agents")) for n in range(9)
                        )
                    )
                assert await peer.wait_closed() == CloseReason.TOO_SLOW.value
            assert (await user.status())["clients"] == 1


async def test_a_fault_of_ours_in_a_connection_is_told_with_1011_and_is_no_others() -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web, web.connect() as user:
            await user.status()
            others = set(web.rig.broker.clients)
            async with web.peer() as peer:
                await alive(peer)
                [faulty] = web.rig.broker.clients - others
                assert isinstance(faulty, Connection)
                faulty.nursery.start_soon(fail)
                assert await peer.wait_closed() == CloseReason.FAILED.value
            assert (await user.status())["clients"] == 1


async def fail() -> None:
    await trio.lowlevel.checkpoint()
    raise ZeroDivisionError


@pytest.mark.slow
async def test_64_mib_are_a_message_and_one_byte_more_is_refused() -> None:
    limit = BrokerConfig().max_line
    head = b'{"jsonrpc":"2.0","id":1,"method":"no/such","params":{"text":"'
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web:
            for more, code in ((0, None), (1, 1009)):
                async with web.peer() as peer:
                    text = head + b"x" * (limit + more - len(head) - 3) + b'"}}'
                    assert len(text) == limit + more
                    await peer.send(TEXT, text)
                    if code is None:
                        assert (await peer.receive())["id"] == 1
                    else:
                        assert (await peer.wait_closed())[0] == code


async def gone(web: Web, but: int = 0) -> None:
    """Wait until so many clients are left."""
    while len(web.rig.broker.clients) > but:  # noqa: ASYNC110  # seen from outside only
        await trio.sleep(0.01)
