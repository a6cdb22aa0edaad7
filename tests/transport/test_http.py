"""The WebSocket's door: who is let in, and who is turned away with which words, before there is any WebSocket."""

from __future__ import annotations

import logging
import uuid

import pytest
import trio

from trio_broker.auth.grant import Scope
from trio_broker.config.config import BrokerConfig
from trio_broker.testing.clients.websocket_peer import TEXT, upgrade_request
from trio_broker.testing.in_process.websocket import Web, open_web_rig

LIMIT = 60


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def request(first: str, *lines: str, host: str = "127.0.0.1") -> bytes:
    return "\r\n".join([first, f"Host: {host}", *lines, "", ""]).encode()


async def alone(web: Web) -> None:
    """Wait until no client is left."""
    while web.rig.broker.clients or web.door.by_token:  # noqa: ASYNC110  # seen from outside only
        await trio.sleep(0.01)


async def test_the_upgrade_carries_a_connection_id_of_its_own() -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web, web.peer() as one, web.peer() as other:
            answers = [peer.handshake.headers for peer in (one, other)]
            ids = {uuid.UUID(headers["acp-connection-id"]) for headers in answers}
            assert len(ids) == 2 and {found.version for found in ids} == {4}
            assert answers[0]["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, 1.3
            assert not {"sec-websocket-extensions", "sec-websocket-protocol"} & answers[0].keys()


@pytest.mark.parametrize("way", ["header", "lower-case scheme", "query", "sub-protocol"])
async def test_a_token_comes_in_one_of_three_ways(way: str) -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web:
            headers, target = {"Authorization": ""}, "/acp"
            if way == "header":
                headers = bearer(web.token)
            elif way == "lower-case scheme":
                headers = {"Authorization": f"bearer {web.token}"}
            elif way == "query":
                target = f"/acp?token={web.token}"
            else:
                headers["Sec_WebSocket_Protocol"] = f"acp.v1, bearer.{web.token}"
            async with web.peer(target, **headers) as peer:
                protocol = peer.handshake.headers.get("sec-websocket-protocol")
                assert protocol == ("acp.v1" if way == "sub-protocol" else None)
                assert "result" in await peer.call(1, "_trio_broker/status")


async def test_a_token_is_never_echoed_nor_logged(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    caplog.set_level(logging.DEBUG)
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web:
            offer = {"Sec_WebSocket_Protocol": f"bearer.{web.token}", "Authorization": ""}
            async with web.peer(**offer) as peer:
                assert "sec-websocket-protocol" not in peer.handshake.headers
            async with web.peer(f"/acp?token={web.token}", Authorization="") as peer:
                await peer.call(1, "_trio_broker/status")
            for head in (
                upgrade_request(f"/nothing?token={web.token}", **bearer(web.token)),
                upgrade_request(f"/acp/nobody?token={web.token}", **bearer(web.token)),
                upgrade_request("/acp", **bearer("tb_wrong-and-secret"), Origin="https://evil.example"),
                upgrade_request("/acp?token=tb_wrong-and-secret"),
                f"GET /acp?token={web.token} and spaces HTTP/1.1\r\n\r\n".encode(),
                f"GET /acp HTTP/1.1\r\nAuthorization Bearer {web.token}\r\n\r\n".encode(),
            ):
                answer = await web.answer(head)
                assert answer.status >= 400
                for secret in (web.token, "wrong-and-secret"):
                    assert secret not in answer.body and secret not in str(answer.headers)
            assert web.token not in caplog.text and "wrong-and-secret" not in caplog.text


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({}, 401, "`trio-broker token new` makes one"),
        ({"Authorization": "Bearer wrong"}, 401, "`trio-broker token new` makes one"),
        ({"Authorization": "Basic d3Jvbmc6d3Jvbmc="}, 401, "a token"),
        ({"Origin": "https://evil.example"}, 403, "origins in [listen]"),
        ({"Origin": "null"}, 403, "origins in [listen]"),
        ({"Host": "evil.example:8765"}, 403, "hosts in [listen]"),
        ({"Host": "127.0.0.1.evil.example"}, 403, "hosts in [listen]"),
        ({"Sec_WebSocket_Version": "8"}, 426, "version 13"),
        ({"Sec_WebSocket_Key": "short"}, 400, "RFC 6455"),
        ({"Sec_WebSocket_Key": ""}, 400, "RFC 6455"),
        ({"Connection": "close"}, 400, "RFC 6455"),
        ({"Upgrade": ""}, 426, "ws://"),
        ({"Upgrade": "h2c"}, 426, "ws://"),
        ({"Content_Length": "5"}, 400, "no body"),
        ({"Transfer_Encoding": "chunked"}, 400, "no body"),
    ],
    ids=str,
)
async def test_a_refusal_is_plain_http_with_a_sentence(
    headers: dict[str, str], status: int, words: str, autojump_clock: trio.testing.MockClock
) -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web:
            answer = await web.answer(upgrade_request(**headers))
            assert (answer.status, answer.headers["content-type"]) == (status, "text/plain; charset=utf-8")
            assert words in answer.body and answer.body.count("\n") == 1
            assert ("www-authenticate" in answer.headers) == (status == 401)
            assert web.rig.broker.clients == set()


@pytest.mark.parametrize(
    "host", ["127.0.0.1:1", "[::1]:8765", "[::1]", "localhost", "LOCALHOST:9", "broker.lan:8765", "10.0.0.7"]
)
async def test_names_and_origins_that_are_let_in(host: str) -> None:
    with trio.fail_after(LIMIT):
        async with (
            open_web_rig(hosts=("Broker.lan",), origins=("https://Editor.example/",)) as web,
            web.peer(Host=host, Origin="https://editor.example") as peer,
        ):
            assert "result" in await peer.call(1, "_trio_broker/status")


@pytest.mark.parametrize(
    "headers",
    [
        {"Connection": "keep-alive\r\nConnection: Upgrade"},
        {"Connection": "Upgrade\r\nConnection: keep-alive"},
        {"Upgrade": "websocket, h2c"},
        {"Host": "127.0.0.1:" + "9" * 100},
        {"Host": "127.0.0.1:%%%..%%%"},
        {"Sec_WebSocket_Extensions": "permessage-deflate; client_max_window_bits=twelve"},
        {"Sec_WebSocket_Extensions": "permessage-deflate; server_max_window_bits="},
        {"Sec_WebSocket_Extensions": "permessage-deflate; server_max_window_bits=8"},
        {"Sec_WebSocket_Extensions": "permessage-deflate; unheard_of=1"},
        {"Sec_WebSocket_Protocol": "acp.v1\r\nSec-WebSocket-Protocol: other"},
        {"Cookie": "\xff\xfe"},
    ],
    ids=str,
)
async def test_an_odd_head_gets_in_or_gets_an_answer_and_leaves_nothing(headers: dict[str, str]) -> None:
    """trio-websocket waits for ever for a handshake that wsproto did not take."""
    with trio.fail_after(LIMIT):
        async with open_web_rig(compression=True, max_per_token=1) as web:
            async with await web.dial() as stream:
                await stream.send_all(upgrade_request(**bearer(web.token), **headers))
                first = bytes(await stream.receive_some(12))
                assert first[9:12] in (b"101", b"400", b"403", b"426"), first
            await alone(web)
            async with web.peer() as peer:
                assert "result" in await peer.call(1, "_trio_broker/status")


async def test_a_client_may_speak_before_its_upgrade_is_answered() -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web:
            async with web.peer() as peer:
                pass
            async with await web.dial() as stream:
                from trio_broker.testing.clients.websocket_peer import WebSocketPeer, encode_frame

                first = encode_frame(TEXT, b'{"jsonrpc":"2.0","id":1,"method":"_trio_broker/status"}')
                await stream.send_all(upgrade_request(**bearer(web.token)) + first)
                peer = WebSocketPeer(stream)
                await peer.read_until(b"\r\n\r\n")
                assert (await peer.receive())["id"] == 1


async def test_what_the_path_names() -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web:
            for target in ("/", "/acp", "/acp/", "/acp/demo", "/acp?agent=demo&other=1", "/?session=s"):
                async with web.peer(target) as peer:
                    assert "result" in await peer.call(1, "_trio_broker/status")
            for target in ("/other", "/acp/demo/more", "//acp", "/demo"):
                assert (await web.answer(upgrade_request(target, **bearer(web.token)))).status == 404
            answer = await web.answer(upgrade_request("/acp/nobody", **bearer(web.token)))
            assert answer.status == 404 and "nobody" in answer.body
            answer = await web.answer(upgrade_request("/acp/no%0abody", **bearer(web.token)))
            assert answer.status == 404 and answer.body.count("\n") == 1


async def test_a_session_in_the_url_is_the_one_that_session_new_gets() -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web:
            async with web.connect(query="/demo?session=phone") as user:
                await user.call("initialize", protocolVersion=1)
                opened = await user.call("session/new", cwd="/tmp", mcpServers=[])
                assert (await user.view("phone"))["sessionId"] == opened["sessionId"]
            token = await web.new_token("robot", Scope.PROMPT, sessions=("robot:*",))
            answer = await web.answer(upgrade_request("/acp?session=phone", **bearer(token)))
            assert answer.status == 403 and "phone" in answer.body
            async with web.peer("/acp?session=robot:1", **bearer(token)):
                pass


async def test_the_limits_say_which_they_are() -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig(BrokerConfig(max_clients=3), max_per_token=2) as web:
            async with web.peer() as one, web.peer() as two:
                for peer in (one, two):
                    await peer.call(1, "_trio_broker/status")
                answer = await web.answer(upgrade_request(**bearer(web.token)))
                assert answer.status == 503 and "max_per_token in [listen]" in answer.body
                other = bearer(await web.new_token("other", Scope.OBSERVE))
                async with web.peer(**other) as three:
                    await three.call(1, "_trio_broker/status")
                    answer = await web.answer(upgrade_request(**other))
                    assert answer.status == 503 and "max_clients in [broker]" in answer.body
            await alone(web)
            async with web.peer(), web.peer():
                pass


async def test_a_slow_head_ends_and_only_so_many_stand_at_the_door(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig(max_handshakes=2) as web:
            async with await web.dial() as slow, await web.dial() as slower:
                for stream in (slow, slower):
                    await stream.send_all(b"GET /acp HTTP/1.1\r\n")
                await trio.testing.wait_all_tasks_blocked(0.01)
                answer = await web.answer(upgrade_request(**bearer(web.token)))
                assert answer.status == 503 and "max_handshakes in [listen]" in answer.body
                begun = trio.current_time()
                for stream in (slow, slower):
                    assert b" 408 " in await stream.receive_some(4096)
                assert 9 <= trio.current_time() - begun <= 12
            async with web.peer():
                pass


async def test_plain_http_gets_an_answer() -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web:
            for path in ("/healthz", "/readyz"):
                answer = await web.answer(request(f"GET {path} HTTP/1.1", host="balancer"))
                assert (answer.status, answer.body) == (200, "ok\n")
                answer = await web.answer(request(f"HEAD {path} HTTP/1.1"))
                assert (answer.status, answer.body, answer.headers["content-length"]) == (200, "", "3")
            answer = await web.answer(request("POST /acp HTTP/1.1", "Content-Length: 2") + b"{}")
            assert answer.status == 426 and answer.headers["upgrade"] == "websocket"
            web.rig.broker.stopping.set()
            assert (await web.answer(request("GET /readyz HTTP/1.1"))).status == 503
            assert (await web.answer(request("GET /healthz HTTP/1.1"))).status == 200
            answer = await web.answer(upgrade_request(**bearer(web.token)))
            assert answer.status == 503 and "stopping" in answer.body


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /acp HTTP/1.1\r\n\r\n", 400),
        (b"GET http://[::1/acp HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (upgrade_request().replace(b"HTTP/1.1", b"HTTP/1.0"), 426),
        (upgrade_request(X="x" * 17_000), 431),
        (upgrade_request(X="x" * 200_000), 431),
        (upgrade_request(**{f"X{number}": "x" for number in range(3000)}), 431),
        (upgrade_request("/acp?" + "&".join("a=1" for _ in range(1000))), 400),
        (upgrade_request(Authorization="Bearer a\r\nAuthorization: Bearer b"), 401),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_a_head_that_is_none_or_too_large(
    head: bytes, status: int, autojump_clock: trio.testing.MockClock
) -> None:
    with trio.fail_after(LIMIT):
        async with open_web_rig() as web:
            assert (await web.answer(head)).status == status


async def test_a_wrong_token_waits_longer_each_time_and_a_right_one_never(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(600):
        async with open_web_rig() as web:
            waits = []
            for _ in range(12):
                begun = trio.current_time()
                assert (await web.answer(upgrade_request(**bearer("wrong")))).status == 401
                waits.append(trio.current_time() - begun)
                begun = trio.current_time()
                async with web.peer():
                    assert trio.current_time() - begun < 0.05
            assert waits[0] < 0.5 and waits[-1] > 2 and max(waits) < 15
            await trio.sleep(300)
            begun = trio.current_time()
            assert (await web.answer(upgrade_request(**bearer("wrong")))).status == 401
            assert trio.current_time() - begun < 0.5, "forgotten"
