"""What a client sends, byte for byte: nonsense is answered, and what the broker does not know passes through."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from trio_broker.errors import RemoteError
from trio_broker.testing.clients.user import Json
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import Rig, open_rig

MOMENT = 0.1  # virtual seconds: everything that can happen by itself has happened then


@attrs.define(eq=False)
class Wire:
    """A client of bare lines; `lines` has what came back."""

    stream: trio.SocketStream
    lines: list[bytes] = attrs.field(factory=list)

    async def read(self) -> None:
        rest = b""
        while data := await self.stream.receive_some(65536):
            *lines, rest = (rest + bytes(data)).split(b"\n")
            self.lines += lines

    async def write(self, line: bytes) -> list[Any]:
        """Send a line; everything that comes back in a moment, decoded."""
        before = len(self.lines)
        await self.stream.send_all(line + b"\n")
        await trio.sleep(MOMENT)
        return [json.loads(got) for got in self.lines[before:]]

    async def send(self, **message: Any) -> list[Any]:
        return await self.write(json.dumps({"jsonrpc": "2.0", **message}).encode())

    async def start(self) -> str:
        """initialize and session/new; the session's id."""
        await self.send(id="init", method="initialize", params={"protocolVersion": 1})
        made = await self.send(id="new", method="session/new", params={"cwd": "/tmp", "mcpServers": []})
        id: str = made[0]["result"]["sessionId"]
        return id


@asynccontextmanager
async def open_wire(rig: Rig) -> AsyncGenerator[Wire, None]:
    async with rig.raw() as stream, trio.open_nursery() as nursery:
        wire = Wire(stream)
        nursery.start_soon(wire.read)
        yield wire
        nursery.cancel_scope.cancel()


def prompt(session: str, text: str) -> Json:
    return {"sessionId": session, "prompt": [{"type": "text", "text": text}]}


MALFORMED = {
    b"not json": -32700,
    b"{": -32700,
    b'{"jsonrpc":"2.0","id":1,"method":"x\xff"}': -32700,
    b"[]": -32600,
    b'[{"jsonrpc":"2.0","id":1,"method":"x"}]': -32600,
    b"7": -32600,
    b"null": -32600,
    b'{"jsonrpc":"2.0"}': -32600,
    b'{"jsonrpc":"2.0","id":1,"method":7}': -32600,
    b'{"jsonrpc":"2.0","id":null,"method":"initialize"}': -32600,
    b'{"jsonrpc":"2.0","id":true,"method":"initialize"}': -32600,
    b'{"jsonrpc":"2.0","id":[1],"method":"initialize"}': -32600,
}


@pytest.mark.parametrize("line", MALFORMED)
async def test_a_malformed_line_is_answered_and_the_connection_lives(
    line: bytes, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, open_wire(rig) as wire:
            (answer,) = await wire.write(line)
            assert answer["error"]["code"] == MALFORMED[line]
            (status,) = await wire.send(id=5, method="_trio_broker/status")
            assert status["id"] == 5 and status["result"]["clients"] == 1


@pytest.mark.parametrize("id", [7, "seven", -1, 1.5, ""])
async def test_a_pending_id_that_comes_again_is_refused(id: object, autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, open_wire(rig) as wire:
            session = await wire.start()
            assert await wire.send(id=id, method="session/prompt", params=prompt(session, "wait 20")) == []
            (refused,) = await wire.send(id=id, method="_trio_broker/status")
            assert refused["id"] == id and refused["error"]["code"] == -32600
            await trio.sleep(30)
            assert json.loads(wire.lines[-1]) == {
                "jsonrpc": "2.0",
                "id": id,
                "result": {"stopReason": "end_turn"},
            }
            (again,) = await wire.send(id=id, method="_trio_broker/status")
            assert again["id"] == id and "result" in again, "the id is free again"


async def test_ids_that_look_alike_are_different(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, open_wire(rig) as wire:
            session = await wire.start()
            await wire.write(
                b'{"jsonrpc":"2.0","id":1,"method":"session/prompt","params":%b}'
                % json.dumps(prompt(session, "hang")).encode()
            )
            for id in (b'"1"', b"1.0"):
                await wire.write(b'{"jsonrpc":"2.0","id":%b,"method":"_trio_broker/status"}' % id)
                assert b'"id":%b,' % id in wire.lines[-1] and b'"result"' in wire.lines[-1]


@pytest.mark.parametrize("queued", [False, True])
async def test_cancel_request_of_the_client_cancels_its_prompt(
    queued: bool, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, open_wire(rig) as wire:
            session = await wire.start()
            if queued:
                await wire.send(id="first", method="session/prompt", params=prompt(session, "hang"))
            await wire.send(id="mine", method="session/prompt", params=prompt(session, "hang"))
            assert await wire.send(method="$/cancel_request", params={"requestId": "other"}) == []
            (answer,) = await wire.send(method="$/cancel_request", params={"requestId": "mine"})
            assert answer["id"] == "mine" and answer["result"]["stopReason"] == "cancelled"
            assert len(rig.agents.spawned[-1].got("session/cancel")) == (not queued)


async def test_cancel_request_of_what_passed_through_goes_under_its_id_there(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=Habits(mute=frozenset({"x/slow"}))) as rig, open_wire(rig) as wire:
            session = await wire.start()
            await wire.send(id="mine", method="x/slow", params={"sessionId": session})
            await wire.send(method="$/cancel_request", params={"requestId": "mine"})
            agent = rig.agents.spawned[-1]
            (there,) = agent.got("x/slow")
            assert agent.got("$/cancel_request")[0]["params"] == {"requestId": there["id"]}
            await agent.refuse(there["id"], {"code": -32800, "message": "Request cancelled"})
            await trio.sleep(MOMENT)
            answer = json.loads(wire.lines[-1])
            assert answer["id"] == "mine" and answer["error"]["code"] == -32800


ODD = b'{"sessionId":"%b","odd":[1.0,1e3,"\\u00e9\\/",null],  "x":{"b":1,"a":2},"big":123456789012345678901234567890}'


async def test_unknown_methods_and_fields_pass_byte_for_byte(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=Habits(mute=frozenset({"x/odd"}))) as rig, open_wire(rig) as wire:
            params = ODD % (await wire.start()).encode()
            agent = rig.agents.spawned[-1]
            await wire.write(b'{"jsonrpc":"2.0","id":1,"method":"x/odd","params":%b}' % params)
            (there,) = agent.got("x/odd")
            assert there["params"] == json.loads(params)
            await agent.write(b'{"jsonrpc":"2.0","id":%d,"result":%b}\n' % (there["id"], params))
            await agent.write(b'{"method":"x/told","params":%b,"jsonrpc":"2.0"}\n' % params)
            await trio.sleep(MOMENT)
            assert params in wire.lines[-2]
            assert wire.lines[-1] == b'{"method":"x/told","params":%b,"jsonrpc":"2.0"}' % params
            await wire.write(b'{"jsonrpc":"2.0","method":"x/note","params":%b}' % params)
            assert agent.got("x/note")[0]["params"] == json.loads(params)


async def test_unknown_fields_of_a_prompt_and_of_its_answer_pass(autojump_clock: MockClock) -> None:
    habits = Habits(mute=frozenset({"session/prompt"}))
    with trio.fail_after(60):
        async with open_rig(habits=habits) as rig, open_wire(rig) as wire:
            session = await wire.start()
            params = {**prompt(session, "x"), "_meta": {"vendor": [1]}, "new": {"field": None}}
            await wire.send(id=1, method="session/prompt", params=params)
            agent = rig.agents.spawned[-1]
            (there,) = agent.got("session/prompt")
            assert there["params"] == params
            await agent.answer(there["id"], stopReason="end_turn", usage={"tokens": 5}, _meta={"x": 1})
            await trio.sleep(MOMENT)
            assert json.loads(wire.lines[-1])["result"] == {
                "stopReason": "end_turn",
                "usage": {"tokens": 5},
                "_meta": {"x": 1},
            }


async def test_initialize_is_answered_from_memory_the_second_time(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig(habits=Habits(start=10)) as rig, rig.connect() as one, rig.connect() as two:
            first = await one.call("initialize", protocolVersion=1)
            assert trio.current_time() >= 10 and len(rig.agents.spawned) == 1
            with trio.fail_after(MOMENT):
                assert await two.call("initialize", protocolVersion=1) == first
            assert len(rig.agents.spawned) == 1
            assert first["protocolVersion"] == 1 and first["agentCapabilities"]["sessionCapabilities"]


async def test_initialize_is_known_from_any_session_of_the_agent(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as one, rig.connect() as two:
            await one.open("k")
            await two.call("initialize", protocolVersion=1)
            assert len(rig.agents.spawned) == 1


@pytest.mark.parametrize("method", ["authenticate", "logout"])
async def test_logging_in_and_out_go_to_the_control_session(method: str, autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=Habits(mute=frozenset({method}))) as rig, rig.connect() as user:
            await user.call("initialize", protocolVersion=1)
            await user.open("k")
            call = user.later(user.call, method, methodId="key")
            await trio.sleep(MOMENT)
            control, session = rig.agents.spawned
            assert control.got(method)[0]["params"] == {"methodId": "key"} and not session.got(method)
            await control.answer(control.got(method)[0]["id"], done=True)
            assert await call.wait() == {"done": True}


async def test_c13_what_an_agent_asks_before_there_is_a_session_is_answered_and_logged(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=Habits(mute=frozenset({"authenticate"}))) as rig, rig.connect() as user:
            await user.call("initialize", protocolVersion=1)
            user.later(user.call, "authenticate", methodId="key")
            await trio.sleep(MOMENT)
            (control,) = rig.agents.spawned
            asked = await control.request("elicitation/create", {"message": "which?"}, of_session=False)
            assert asked["result"] == {"action": "decline"}
            read = await control.request("fs/read_text_file", {"path": "/x"}, of_session=False)
            assert read["error"]["code"] == -32601
            assert read["error"]["message"].endswith("before there is a session: fs/read_text_file")
            for said in ("'elicitation/create' params='{\"message\": \"which?\"}'", "'fs/read_text_file'"):
                assert f"request_refused agent=demo method={said}" in caplog.text


@pytest.mark.parametrize("method", ["session/fork", "_trio_broker/invented"])
async def test_what_the_broker_does_not_offer_is_refused_by_name(
    method: str, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k")
            error = await user.later(user.call, method, sessionId=session).fails()
            assert isinstance(error, RemoteError) and error.rpc_code == -32601 and method in error.message


async def test_session_list_shows_what_lives(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            a, b = await user.open("a"), await user.open("b", cwd="/")
            await rig.agent("b").update("session_info_update", title="Second")
            await trio.sleep(MOMENT)
            found = (await user.call("session/list"))["sessions"]
            assert [(one["sessionId"], one["cwd"], one.get("title")) for one in found] == [
                (a, "/tmp", None),
                (b, "/", "Second"),
            ]
            here = (await user.call("session/list", cwd="/"))["sessions"]
            assert [one["sessionId"] for one in here] == [b]
            await user.call("_trio_broker/close", key="a")
            assert [one["sessionId"] for one in (await user.call("session/list"))["sessions"]] == [b]
