"""The golden frames of tests/protocol/golden on their way through a broker: what is passed on arrives as it was sent.

`WAYS` says of each method what becomes of it. Whatever agents and clients are sent here fits the published schema.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from jsonschema import Draft202012Validator
from trio.testing import MockClock

from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import Message
from trio_broker.testing.clients.user import Json, User
from trio_broker.testing.in_process.memory_agent import Habits, MemoryAgent
from trio_broker.testing.in_process.rig import Rig, open_rig

WIRE = Path(__file__).parents[1] / "protocol"
DEFS = json.loads((WIRE / "schema" / "schema.json").read_text(encoding="utf-8"))["$defs"]
FRAMES = {path.stem: json.loads(path.read_bytes()) for path in sorted((WIRE / "golden").glob("*.json"))}
SHAPES = {(shape["x-method"], name[-7:]): name for name, shape in DEFS.items() if "x-method" in shape}
SESSION = "sess_7f3a"  # theirs
LIMIT = 60

PASSED_TO_AGENT = {
    *("session/new", "session/prompt", "session/set_mode", "session/set_config_option"),
    *("authenticate", "logout"),
}
PASSED_TO_CLIENT = {
    *("session/update", "session/request_permission", "elicitation/create", "elicitation/complete")
}
SERVED = {
    *("initialize", "session/load", "session/resume", "session/list", "session/close", "session/delete"),
}
REFUSED = {method for method, _ in SHAPES if method.startswith(("fs/", "terminal/"))}  # never offered (D5)
MADE = {"session/cancel", "$/cancel_request"}  # anew: what they aim at has another name there
WAYS = [PASSED_TO_AGENT, PASSED_TO_CLIENT, SERVED, REFUSED, MADE]


def body(name: str) -> Json:
    frame = FRAMES[name]
    found: Json = frame["result"] if "result" in frame else frame["params"]
    return found


def faults(method: str, what: str, value: object) -> list[str]:
    """What is wrong with the `Request`, `Response` or `Notification` of a method."""
    validator = Draft202012Validator({"$ref": f"#/$defs/{SHAPES[method, what[-7:]]}", "$defs": DEFS})
    return [error.message for error in validator.iter_errors(value)]


def check(message: Json) -> None:
    """That a message with a method, if the schema has it, is as the schema says."""
    method, what = message.get("method", ""), "Request" if "id" in message else "Notification"
    if (method, what[-7:]) in SHAPES:
        assert faults(method, what, message["params"]) == [], message


async def come_true(holds: Callable[[], object]) -> None:
    while not holds():  # noqa: ASYNC110  # seen from outside only
        await trio.sleep(0.01)


@asynccontextmanager
async def scene(**answers: str) -> AsyncGenerator[tuple[Rig, User, MemoryAgent], None]:
    """A golden client of a golden session, and the session's agent, which leaves every request to the test.

    `answers` are the names of the client's, by those of the agent's requests.
    """

    async def answer(message: Message) -> object:  # noqa: ASYNC124  # an OnRequest
        [name] = [name for asked, name in answers.items() if FRAMES[asked]["method"] == message.method]
        return body(name)

    habits = Habits(session_id=SESSION, mute=frozenset(PASSED_TO_AGENT))
    with trio.fail_after(LIMIT):
        async with open_rig(habits=habits) as rig, rig.connect(answer) as user:
            introduced = await user.call("initialize", **body("InitializeRequest"))
            assert faults("initialize", "Response", introduced) == []
            opening = user.later(user.call, "session/new", **body("NewSessionRequest"))
            agent, asked = await heard(rig, "session/new")
            await agent.answer(asked["id"], **body("NewSessionResponse"))
            assert await opening.wait() == body("NewSessionResponse")
            yield rig, user, agent
            for message in [message for one in rig.agents.spawned for message in one.received]:
                check(message)
            for said in user.messages:
                check(json.loads(said.raw))


async def heard(rig: Rig, method: str) -> tuple[MemoryAgent, Json]:
    """The agent that was sent this method, and the message."""
    await come_true(lambda: any(agent.got(method) for agent in rig.agents.spawned))
    return next((agent, agent.got(method)[-1]) for agent in rig.agents.spawned if agent.got(method))


def test_every_method_has_a_way() -> None:
    assert set().union(*WAYS) == {method for method, _ in SHAPES}
    assert sum(map(len, WAYS)) == len(set().union(*WAYS))


async def test_a_new_session_is_asked_for_as_the_client_did(autojump_clock: MockClock) -> None:
    async with scene() as (_, _, agent):
        assert agent.got("session/new")[0]["params"] == body("NewSessionRequest")


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        ("PromptRequest", "PromptResponse"),
        ("SetSessionModeRequest", "SetSessionModeResponse"),
        ("SetSessionConfigOptionRequest.select", "SetSessionConfigOptionResponse"),
        ("SetSessionConfigOptionRequest.boolean", "SetSessionConfigOptionResponse"),
        ("AuthenticateRequest", "AuthenticateResponse"),
        ("LogoutRequest", "LogoutResponse"),
    ],
)
async def test_a_request_reaches_the_agent_and_its_answer_the_client(
    request_: str, response: str, autojump_clock: MockClock
) -> None:
    method = FRAMES[request_]["method"]
    async with scene() as (rig, user, _):
        calling = user.later(user.call, method, **body(request_))
        agent, asked = await heard(rig, method)
        assert asked["params"] == body(request_)
        assert type(asked["id"]) is int and asked["id"] >= 1
        await agent.answer(asked["id"], **body(response))
        assert await calling.wait() == body(response)


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        ("RequestPermissionRequest", "RequestPermissionResponse.selected"),
        ("RequestPermissionRequest", "RequestPermissionResponse.cancelled"),
        ("CreateElicitationRequest.form", "CreateElicitationResponse.accept"),
        ("CreateElicitationRequest.form", "CreateElicitationResponse.decline"),
        ("CreateElicitationRequest.url", "CreateElicitationResponse.cancel"),
    ],
)
async def test_a_question_reaches_the_client_and_its_answer_the_agent(
    request_: str, response: str, autojump_clock: MockClock
) -> None:
    method = FRAMES[request_]["method"]
    async with scene(**{request_: response}) as (_, user, agent):
        answer = await agent.request(method, body(request_), id="the agent's")
        assert answer == {"jsonrpc": "2.0", "id": "the agent's", "result": body(response)}
        [asked] = [message for message in user.messages if message.method == method]
        assert json.loads(asked.params) == body(request_)
        assert type(json.loads(asked.id or b"")) is int


@pytest.mark.parametrize("name", [name for name in FRAMES if name.startswith("SessionNotification.")])
async def test_an_update_comes_byte_for_byte(name: str, autojump_clock: MockClock) -> None:
    line = b" ".join(map(bytes.strip, (WIRE / "golden" / f"{name}.json").read_bytes().splitlines()))
    async with scene() as (_, user, agent):
        await agent.write(line + b"\n")
        await come_true(lambda: any(message.method == "session/update" for message in user.messages))
        assert [said.raw for said in user.messages if said.method == "session/update"] == [line]


async def test_who_opened_a_url_hears_that_it_is_done(autojump_clock: MockClock) -> None:
    asked, done = "CreateElicitationRequest.url", "CompleteElicitationNotification"
    async with scene(**{asked: "CreateElicitationResponse.accept"}) as (_, user, agent):
        await agent.request("elicitation/create", body(asked))
        await agent.send(FRAMES[done])
        await come_true(lambda: user.messages[-1].method == FRAMES[done]["method"])
        assert json.loads(user.messages[-1].params) == body(done)


@pytest.mark.parametrize("name", [name for name, frame in FRAMES.items() if frame.get("method") in REFUSED])
async def test_what_was_never_offered_is_refused(name: str, autojump_clock: MockClock) -> None:
    async with scene() as (_, user, agent):
        answer = await agent.request(FRAMES[name]["method"], body(name))
        assert answer["error"]["code"] == jsonrpc.METHOD_NOT_FOUND
        assert not [said for said in user.messages if said.method == FRAMES[name]["method"]]


async def test_what_the_broker_answers_itself_fits_the_schema(autojump_clock: MockClock) -> None:
    async with scene() as (_, user, agent):
        await agent.send(FRAMES["SessionNotification.session_info_update"])
        for name in ("LoadSession", "ResumeSession", "ListSessions", "CloseSession", "DeleteSession"):
            method = FRAMES[f"{name}Request"]["method"]
            asked = {
                key: value for key, value in body(f"{name}Request").items() if key != "cursor"
            }  # no page of ours
            told = await user.call(method, **asked)
            assert faults(method, "Response", told) == [], told
            if name == "ListSessions":
                assert [one["sessionId"] for one in told["sessions"]] == [SESSION]
            if name in ("LoadSession", "ResumeSession"):
                assert told["modes"] == body("NewSessionResponse")["modes"]


async def test_a_cancel_is_said_anew_for_the_turn_it_aims_at(autojump_clock: MockClock) -> None:
    async with scene() as (rig, user, agent):
        turn = user.later(user.call, "session/prompt", **body("PromptRequest"))
        _, asked = await heard(rig, "session/prompt")
        user.client.notify("session/cancel", body("CancelNotification"))
        _, cancel = await heard(rig, "session/cancel")
        assert cancel["params"] == {"sessionId": SESSION}
        await agent.answer(asked["id"], stopReason="cancelled")
        assert await turn.wait() == {"stopReason": "cancelled"}


async def test_a_request_that_is_cancelled_is_so_under_its_id_there(autojump_clock: MockClock) -> None:
    async with scene() as (rig, _, agent), rig.raw() as stream:
        lines = [FRAMES["InitializeRequest"], FRAMES["SetSessionModeRequest"] | {"id": "seven"}]
        await stream.send_all(jsonrpc.encode(lines[0]) + b"\n")
        await stream.receive_some()  # it is introduced
        cancel = FRAMES["CancelRequestNotification"] | {
            "params": body("CancelRequestNotification") | {"requestId": "seven"}
        }
        await stream.send_all(b"".join(jsonrpc.encode(line) + b"\n" for line in [lines[1], cancel]))
        _, told = await heard(rig, "$/cancel_request")
        assert told["params"] == {"requestId": agent.got("session/set_mode")[-1]["id"]}
