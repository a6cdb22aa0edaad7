"""Bytes and frames of strangers, and of clients that were let in: nobody else notices, and nothing of it stays.

Each example is a broker of its own, in virtual time, with a neighbour who must be served as ever. `FUZZ=5000 bin/test
tests/behaviour/test_fuzz.py` looks longer.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from trio_broker.auth.grant import Scope
from trio_broker.broker.status import ProcessTree
from trio_broker.protocol import jsonrpc
from trio_broker.server.methods.scopes import NOTIFICATIONS, REQUESTS
from trio_broker.server.serve import HANDLERS
from trio_broker.testing.clients.user import User
from trio_broker.testing.clients.websocket_peer import (
    CLOSE,
    TEXT,
    WebSocketPeer,
    encode_frame,
    upgrade_request,
)
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.websocket import Web, open_web_rig

EXAMPLES = int(os.environ.get("FUZZ", "50"))
BOUND = 3600  # virtual seconds
ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: its close is a reset
NEIGHBOUR = "a key that nobody hits upon"
OF_CLIENTS = (
    "clients",
    "handshakes",
    "delayed",
    "tokens in use",
    "listeners",
    "observers",
    "cursors",
    "asked",
)
LATER = 1000.0  # virtual seconds: what is kept for a while, such as an agent without a conversation, is gone
Json = dict[str, Any]

# What a stranger sends: something, or what is nearly a request.

lines = st.sampled_from(
    [
        "GET /acp HTTP/1.1",
        "GET /acp?token=x HTTP/1.1",
        "POST / HTTP/1.1",
        "GET /healthz HTTP/1.0",
        "Host: 127.0.0.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol: acp.v1, bearer.x",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=99",
        "Authorization: Bearer wrong",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Expect: 100-continue",
        "",
        "",
    ]
)
words = lines | st.text(max_size=20)
heads = st.lists(words, max_size=14).map(lambda found: "\r\n".join(found).encode("utf-8", "surrogatepass"))
strangers = st.lists(
    st.one_of(heads, st.binary(max_size=200), st.just(upgrade_request())), min_size=1, max_size=3
)

# What a client sends: any method with any parameters, answers to nothing, text and frames that are none.

ID = "memory-4000001"  # what the second agent in memory calls its session; the first is the neighbour's
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
json_values = (
    scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(max_size=5), scalars, max_size=3)
)


def likely(*values: Any) -> st.SearchStrategy[Any]:
    """One of these as a rule, else anything."""
    return st.sampled_from(values) | st.sampled_from(values) | json_values


params = st.fixed_dictionaries(
    {},
    optional={
        "sessionId": likely(ID),
        "key": likely("k", "other"),
        "cwd": likely("/tmp", "/nonexistent", "tmp"),
        "mcpServers": likely([], [{"name": "x", "command": "x", "args": [], "env": []}]),
        "prompt": likely([{"type": "text", "text": "say a; ask may I; say b"}], [{"type": "text"}], []),
        "promptId": likely("p"),
        "protocolVersion": likely(1, 0, "1"),
        "clientCapabilities": likely({"elicitation": {"form": {}}, "session": {"notices": {}}}),
        "since": likely(1, 0, -1, 10**30),
        "limit": likely(1),
        "role": likely("observer", "controller"),
        "askId": likely("1-3", "1-4"),
        "answer": likely("allow", "deny"),
        "requestId": likely(1, "a"),
        "policy": likely("ask", "approve-all"),
        "agent": likely("demo", "nobody"),
        "command": likely(["true"]),
        "modeId": likely("code"),
        "until": likely("idle", "ask"),
        "fresh": likely(True),
        "lines": likely([], ["{}"]),
        "name": likely("x"),
        "scopes": likely(["observe"]),
    },
)
METHODS = sorted(
    {*REQUESTS, *NOTIFICATIONS, *HANDLERS.sync_methods, *HANDLERS.async_methods} - {"_trio_broker/shutdown"}
)
methods = st.sampled_from([*METHODS, "_vendor/thing", "$/ping", "session/update"]) | st.text(max_size=5)
ids = st.sampled_from([1, 2, 2**53 + 1, "1", 1.5, True, None, -1]) | json_values
messages = st.one_of(
    st.fixed_dictionaries({"method": methods, "id": ids}, optional={"params": params | json_values}),
    st.fixed_dictionaries({"method": methods}, optional={"params": params | json_values}),
    st.fixed_dictionaries({"id": ids}, optional={"result": json_values, "error": json_values}),
    st.fixed_dictionaries(
        {"id": st.integers(1, 3)},
        optional={"result": st.just({"outcome": {"outcome": "selected", "optionId": "allow"}})},
    ),
).map(lambda message: encode_frame(TEXT, jsonrpc.encode({"jsonrpc": "2.0", **message})))
odd = st.one_of(
    st.builds(
        encode_frame,
        st.integers(0, 15),
        st.binary(max_size=130),
        final=st.booleans(),
        masked=st.booleans(),
        rsv=st.sampled_from([0, 0, 0, 1, 4, 7]),
    ),
    st.text(max_size=20).map(lambda text: encode_frame(TEXT, text.encode("utf-8", "replace"))),
    st.binary(min_size=1, max_size=20),
    messages.map(lambda data: data[: len(data) // 2]),
)
OPEN = encode_frame(
    TEXT, b'{"jsonrpc":"2.0","id":"o","method":"_trio_broker/open","params":{"key":"k","cwd":"/tmp"}}'
)
INTRODUCE = encode_frame(
    TEXT, b'{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":1}}'
)
clients = st.tuples(
    st.lists(st.sampled_from([OPEN, INTRODUCE]), unique=True),
    st.lists(messages, max_size=12),
    st.lists(odd, max_size=1),
    st.lists(messages, max_size=2),
).map(lambda parts: [piece for part in parts for piece in part])
endings = st.sampled_from(["close", "reset", "eof", "goodbye"])


@asynccontextmanager
async def neighboured(**listen: Any) -> AsyncGenerator[tuple[Web, User], None]:
    """A door, and a neighbour with a session who is served before, and after, and for whom nothing is left."""
    with trio.fail_after(BOUND):
        async with open_web_rig(**listen) as web, web.rig.connect() as owner:
            web.rig.broker.snapshots.meter.measure_trees = (
                nothing  # a clock that jumps does not wait for threads
            )
            web.rig.agents.habits = Habits(session_id="neighbour")
            session = await owner.open(NEIGHBOUR)
            web.rig.agents.habits = Habits()
            before = web.resource_counts()
            yield web, owner
            await web.wait_settled({name: before[name] for name in OF_CLIENTS})
            assert await owner.prompt(session, "say hello") == "end_turn"
            assert owner.said(session).endswith("hello")
            for view in (await owner.status())["sessions"]:
                if view["key"] != NEIGHBOUR:
                    await owner.call("_trio_broker/close", key=view["key"])
            await trio.sleep(LATER)
            await web.wait_settled(before)
            assert (await owner.status())["clients"] == 1


async def nothing(_: Iterable[int]) -> dict[int, ProcessTree]:
    await trio.lowlevel.checkpoint()
    return {}


async def leave(stream: trio.SocketStream, how: str) -> None:
    if how == "reset":
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
    elif how == "eof":
        await stream.send_eof()
    elif how == "goodbye":
        await stream.send_all(encode_frame(CLOSE, b"\x03\xe8"))
    await trio.aclose_forcefully(stream)


async def send(stream: trio.SocketStream, pieces: Sequence[bytes], ending: str) -> None:
    """All of it, as far as it is taken, and then go."""
    try:
        for piece in pieces:
            await stream.send_all(piece)
            await trio.sleep(0.1)
        await leave(stream, ending)
    except trio.BrokenResourceError:
        pass  # the broker was the first to go
    finally:
        await trio.aclose_forcefully(stream)


async def as_a_stranger(pieces: Sequence[bytes], ending: str) -> None:
    async with neighboured(max_handshakes=4) as (web, _):
        for _ in range(2):
            await send(await web.dial(), pieces, ending)
        assert len(web.rig.broker.clients) == 1 and not web.door.by_token, "it did not get in"


async def as_a_client(scope: Scope, pieces: Sequence[bytes], ending: str, compression: bool) -> None:
    async with neighboured(compression=compression) as (web, _):
        roots = {} if scope is Scope.ADMIN else {"roots": ("/tmp",)}
        token = await web.new_token("fuzz", scope, **roots)
        stream = await web.dial()
        offer = {"Sec_WebSocket_Extensions": "permessage-deflate"} if compression else {}
        await stream.send_all(upgrade_request(Authorization=f"Bearer {token}", **offer))
        assert b" 101 " in await WebSocketPeer(stream).read_until(b"\r\n\r\n")
        await send(stream, pieces, ending)


def run(scene: Callable[[], Awaitable[None]], caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    trio.run(scene, clock=MockClock(autojump_threshold=0))
    assert [one.getMessage() for one in caplog.records if one.levelname == "ERROR"] == []


def test_whatever_a_stranger_sends_nothing_stays(caplog: pytest.LogCaptureFixture) -> None:
    @settings(max_examples=EXAMPLES)
    @given(strangers, endings)
    def check(pieces: list[bytes], ending: str) -> None:
        run(partial(as_a_stranger, pieces, ending), caplog)

    check()


@pytest.mark.parametrize("scope", Scope)
def test_whatever_a_client_sends_nobody_else_notices(scope: Scope, caplog: pytest.LogCaptureFixture) -> None:
    @settings(max_examples=EXAMPLES)
    @given(clients, endings, st.booleans())
    def check(pieces: list[bytes], ending: str, compression: bool) -> None:
        run(partial(as_a_client, scope, pieces, ending, compression), caplog)

    check()
