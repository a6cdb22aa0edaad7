"""`fs = "client"` and `terminal = "client"`: what an agent has its client do goes to the opener of the session."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_broker.agent.catalog import AgentSpec
from trio_broker.agent.spawn import spawn_agent
from trio_broker.config.config import AgentConfig, Config, ServedBy
from trio_broker.errors import RemoteError
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import Message
from trio_broker.session.client_services import served_by
from trio_broker.testing.clients.user import Json, User
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import Rig, open_rig

AGENT = (sys.executable, "-S", "-E", str(Path(__file__).with_name("requesting_agent.py")))
MOMENT = 0.1  # virtual seconds: everything that can happen by itself has happened then
ALL: Json = {"fs": {"readTextFile": True, "writeTextFile": True}, "terminal": True}
READ, WRITE = "fs/read_text_file", "fs/write_text_file"
FILE = {"path": "/tmp/a.py", "line": 1, "_unknown": [1.50]}
CLIENT = ServedBy.CLIENT


def rig_with(fs: ServedBy = CLIENT, terminal: ServedBy = CLIENT, **habits: Any) -> Any:
    config = Config("demo", agents={"demo": AgentConfig(("demo",), fs=fs, terminal=terminal)})
    return open_rig(config, Habits(**habits))


def says(answer: object) -> Callable[[Message], Awaitable[object]]:
    async def on_request(message: Message) -> object:
        await trio.lowlevel.checkpoint()
        return answer

    return on_request


async def never(message: Message) -> object:
    await trio.sleep_forever()


async def refuses(message: Message) -> object:
    await trio.lowlevel.checkpoint()
    raise RemoteError(-32002, "no such file", {"path": "/tmp/a.py"})


async def introduce(user: User, name: str = "zed", capabilities: Json = ALL) -> None:
    info = {"name": name, "version": "1"}
    await user.call("initialize", protocolVersion=1, clientCapabilities=capabilities, clientInfo=info)


async def open_as(user: User, key: str = "k", name: str = "zed", capabilities: Json = ALL) -> str:
    await introduce(user, name, capabilities)
    return await user.open(key)


def offered(rig: Rig, key: str = "k") -> Json:
    (message,) = rig.agent(key).got("initialize")
    found: Json = message["params"]["clientCapabilities"]
    return {name: found[name] for name in ("fs", "terminal")}


def asked(user: User) -> list[tuple[str, Json]]:
    """The requests on files and terminals that a client got."""
    found = [(one.method or "", jsonrpc.decode(one.params)) for one in user.messages if one.id is not None]
    return [(method, params) for method, params in found if method.startswith(("fs/", "terminal/"))]


NOTHING: Json = {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False}


@pytest.mark.parametrize("method", [READ, WRITE, "terminal/create", "terminal/output", "fs/of_tomorrow"])
async def test_a_request_goes_to_the_opener_and_its_answer_back_untouched(
    method: str, autojump_clock: MockClock
) -> None:
    result = {"content": "text\n", "terminalId": "t", "_more": [1.5, None]}
    with trio.fail_after(60):
        async with rig_with() as rig, rig.connect(says(result)) as zed, rig.connect(says({})) as other:
            session = await open_as(zed)
            await open_as(other, name="other")
            answer = await rig.agent("k").request(method, FILE, id="odd id")
            if method == "fs/of_tomorrow":  # nobody has offered that
                assert answer["error"]["code"] == -32601 and asked(zed) == []
            else:
                assert answer["result"] == result and answer["id"] == "odd id"
                assert asked(zed) == [(method, {"sessionId": session, **FILE})]
            assert asked(other) == []


async def test_an_error_of_the_client_goes_back_as_it_came(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with rig_with() as rig, rig.connect(refuses) as zed:
            await open_as(zed)
            answer = await rig.agent("k").request(READ, FILE)
            assert answer["error"] == {
                "code": -32002,
                "message": "no such file",
                "data": {"path": "/tmp/a.py"},
            }


async def test_session_ids_are_translated_for_the_client(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with rig_with(session_id="same") as rig, rig.connect(says({"content": ""})) as zed:
            await introduce(zed)
            first, second = await zed.open("a"), await zed.open("b")
            assert first != second
            for key in ("a", "b"):
                assert "result" in await rig.agent(key).request(READ, FILE)
            assert [params["sessionId"] for _, params in asked(zed)] == [first, second]


async def test_session_new_makes_an_opener_too(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with rig_with() as rig, rig.connect(says({"content": "x"})) as zed:
            await introduce(zed)
            opened = await zed.call("session/new", cwd="/tmp", mcpServers=[])
            agent = next(one for one in rig.agents.spawned if one.session_id == opened["sessionId"])
            assert agent.got("initialize")[0]["params"]["clientCapabilities"]["terminal"] is True
            assert (await agent.request(READ, FILE))["result"] == {"content": "x"}


OFFERS = [
    (ALL, CLIENT, CLIENT, ALL),
    (ALL, ServedBy.NOBODY, ServedBy.NOBODY, NOTHING),
    (ALL, CLIENT, ServedBy.NOBODY, ALL | {"terminal": False}),
    (ALL, ServedBy.NOBODY, ServedBy.BROKER, NOTHING | {"terminal": True}),
    ({}, CLIENT, CLIENT, NOTHING),
    (
        {"fs": {"readTextFile": True}},
        CLIENT,
        CLIENT,
        NOTHING | {"fs": {"readTextFile": True, "writeTextFile": False}},
    ),
    ({"fs": "yes", "terminal": "yes"}, CLIENT, CLIENT, NOTHING),
    ({"fs": {"readTextFile": 1, "writeTextFile": None}, "terminal": {}}, CLIENT, CLIENT, NOTHING),
]


@pytest.mark.parametrize(("has", "fs", "terminal", "wanted"), OFFERS)
async def test_an_agent_is_offered_what_is_configured_and_the_opener_can_do(
    has: Json, fs: ServedBy, terminal: ServedBy, wanted: Json, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with rig_with(fs, terminal) as rig, rig.connect(says({})) as able, rig.connect(says({})) as zed:
            await open_as(zed, capabilities=has)
            await open_as(able, name="able")
            assert offered(rig) == wanted
            for method, can in ((READ, wanted["fs"]["readTextFile"]), (WRITE, wanted["fs"]["writeTextFile"])):
                answer = await rig.agent("k").request(method, FILE)
                assert ("result" in answer) == can
                if not can:
                    assert answer["error"]["code"] == -32601
                if not can and fs is CLIENT:
                    assert (
                        "'zed'" in answer["error"]["message"]
                        and 'fs = "client"' in answer["error"]["message"]
                    )
            assert asked(able) == []


async def test_a_client_that_has_no_name_of_its_own_is_named_by_its_connection(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(60):
        async with rig_with() as rig, rig.connect(says({})) as user:
            await user.open("k")  # without initialize: it has no capabilities
            (name,) = [one.name for one in rig.session("k").router.listeners]
            assert offered(rig) == NOTHING
            answer = await rig.agent("k").request(READ, FILE)
            assert name in answer["error"]["message"]


@pytest.mark.parametrize("how", ["disconnect", "detach", "close"])
async def test_the_opener_leaves_and_its_open_request_ends_with_an_error_that_names_it(
    how: str, autojump_clock: MockClock
) -> None:
    answers: list[Json] = []
    with trio.fail_after(60):
        async with rig_with() as rig, rig.connect(says({})) as other:
            await introduce(other, "other")
            async with rig.connect(never) as zed, trio.open_nursery() as nursery:
                session = await open_as(zed)
                await other.open("k")
                agent = rig.agent("k")

                async def read() -> None:
                    answers.append(await agent.request(READ, FILE))

                nursery.start_soon(read)
                await trio.sleep(MOMENT)
                assert asked(zed) and not answers
                if how == "detach":
                    await zed.call("_trio_broker/detach", key="k")
                elif how == "close":
                    await zed.call("session/close", sessionId=session)
                if how != "disconnect":
                    await trio.sleep(MOMENT)
                    assert [one.method for one in zed.messages].count("$/cancel_request") == 1
                    assert len(answers) == 1
                nursery.cancel_scope.deadline = trio.current_time() + (0 if how == "disconnect" else 1)
            await trio.sleep(MOMENT)
            later = await agent.request(WRITE, FILE)
            for answer in [*answers, later]:
                assert answer["error"]["code"] == -32603
                assert (
                    "'zed' (client-" in answer["error"]["message"]
                    and "has left" in answer["error"]["message"]
                )
                assert 'fs = "client"' in answer["error"]["message"]
            assert asked(other) == []
            responses = [
                one for one in agent.received if "method" not in one and one.get("id") == later["id"]
            ]
            assert len(responses) == 1
            requests = [one["id"] for one in agent.received if "method" not in one and "error" in one]
            assert len(requests) == len(set(requests)) == 2


async def test_another_client_that_comes_later_does_not_take_its_place(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with rig_with(resume=True) as rig, rig.connect(says({"content": "other"})) as other:
            async with rig.connect(says({"content": "zed"})) as zed:
                session = await open_as(zed)
            await introduce(other, "other")
            for method in ("session/load", "session/resume"):
                await other.call(method, sessionId=session, cwd="/tmp", mcpServers=[])
                answer = await rig.agent("k").request(READ, FILE)
                assert "'zed'" in answer["error"]["message"] and asked(other) == []


async def test_who_opens_a_session_without_a_process_is_its_opener_unless_the_first_is_there(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(60):
        async with rig_with(resume=True) as rig, rig.connect(says({"content": "late"})) as late:
            await introduce(late, "late")
            async with rig.connect(says({"content": "zed"})) as zed:
                session = await open_as(zed)
                rig.agent("k").kill()
                await zed.wait_phase("k", "dead")
                await late.call("session/resume", sessionId=session, cwd="/tmp", mcpServers=[])
                assert offered(rig) == ALL
                assert (await rig.agent("k").request(READ, FILE))["result"] == {"content": "zed"}
            rig.agent("k").kill()
            await late.wait_phase("k", "dead")
            await late.prompt(session, "say hello")  # that opens nothing
            assert offered(rig) == NOTHING
            assert "'zed'" in (await rig.agent("k").request(READ, FILE))["error"]["message"]
            rig.agent("k").kill()
            await late.wait_phase("k", "dead")
            await late.call("session/load", sessionId=session, cwd="/tmp", mcpServers=[])
            assert offered(rig) == ALL
            assert (await rig.agent("k").request(READ, FILE))["result"] == {"content": "late"}


async def test_the_opener_may_load_its_own_session_again(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with rig_with() as rig, rig.connect(says({"content": "zed"})) as zed:
            session = await open_as(zed)
            await zed.call("session/load", sessionId=session, cwd="/tmp", mcpServers=[])
            assert (await rig.agent("k").request(READ, FILE))["result"] == {"content": "zed"}


async def test_a_request_before_the_opener_hears_the_session_waits_for_it(autojump_clock: MockClock) -> None:
    """Some agents read files as soon as they have a session; the client has no answer to its `session/new` then."""
    with trio.fail_after(60):
        async with (
            rig_with(mute=frozenset({"session/new"})) as rig,
            rig.connect(says({"content": "x"})) as zed,
        ):
            await introduce(zed)
            opening = zed.later(zed.open, "k")
            while not rig.agents.spawned or not rig.agents.spawned[-1].got("session/new"):  # noqa: ASYNC110  # no event
                await trio.sleep(MOMENT)
            agent = rig.agent("k")
            (new,) = agent.got("session/new")
            both = [
                {"jsonrpc": "2.0", "id": new["id"], "result": {"sessionId": agent.session_id}},
                {
                    "jsonrpc": "2.0",
                    "id": 1,
                    "method": READ,
                    "params": {"sessionId": agent.session_id, **FILE},
                },
            ]
            event: Json = {}
            agent._answers[1] = (trio.Event(), event)
            await agent.write(b"".join(jsonrpc.encode(one) + b"\n" for one in both))
            await opening.wait()
            await trio.sleep(MOMENT)
            assert event["result"] == {"content": "x"}
            order = [one.method or "reply" for one in zed.messages if one.method in (None, READ)]
            assert order[-2:] == ["reply", READ]


async def test_a_client_that_leaves_while_its_session_starts_is_asked_nothing(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(60):
        async with rig_with(start=5.0) as rig, rig.connect(says({})) as other:
            async with rig.connect(says({})) as zed:
                info = {"name": "zed", "version": "1"}
                await zed.call("initialize", protocolVersion=1, clientCapabilities=ALL, clientInfo=info)
                zed.later(zed.open, "k")
                await trio.sleep(1)
            await other.open("k")
            answer = await rig.agent("k").request(READ, FILE)
            assert "'zed'" in answer["error"]["message"] and "has left" in answer["error"]["message"]


async def test_the_agent_takes_a_request_back(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with rig_with() as rig, rig.connect(never) as zed, trio.open_nursery() as nursery:
            await open_as(zed)
            agent, answers = rig.agent("k"), []

            async def read() -> None:
                answers.append(await agent.request(READ, FILE, id=7))

            nursery.start_soon(read)
            await trio.sleep(MOMENT)
            await agent.send({"method": "$/cancel_request", "params": {"requestId": 7}})
            await trio.sleep(MOMENT)
            assert answers[0]["error"]["code"] == -32800
            assert [one.method for one in zed.messages].count("$/cancel_request") == 1


async def test_the_session_ends_and_the_client_need_not_answer(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with rig_with() as rig, rig.connect(never) as zed, trio.open_nursery() as nursery:
            await open_as(zed)
            nursery.start_soon(rig.agent("k").request, READ, FILE)
            await trio.sleep(MOMENT)
            await zed.call("_trio_broker/close", key="k")
            await trio.sleep(MOMENT)
            assert [one.method for one in zed.messages].count("$/cancel_request") == 1
            nursery.cancel_scope.cancel()


async def test_a_write_that_a_client_is_asked_for_stands_in_the_log(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with rig_with() as rig, rig.connect(says(None)) as zed:
            await open_as(zed)
            await rig.agent("k").request(READ, FILE)
            await rig.agent("k").request(WRITE, FILE | {"content": "x"})
            await trio.sleep(MOMENT)
            notes = [event["text"] for event in zed.events if event["kind"] == "note"]
            assert len(notes) == 1 and "'zed'" in notes[0] and "/tmp/a.py" in notes[0]


async def test_a_secret_in_a_file_is_written_as_it_is_and_shown_to_nobody_else(
    autojump_clock: MockClock,
) -> None:
    secret = "s3cret-0123456789-abcdefgh"
    with trio.fail_after(60):
        async with rig_with() as rig, rig.connect(says(None)) as zed, rig.connect() as other:
            await introduce(zed)
            await zed.open("k", env={"API_KEY": secret})
            await other.open("k")
            await rig.agent("k").request(WRITE, {"path": f"/tmp/{secret}", "content": secret})
            ((_, params),) = asked(zed)
            assert params["content"] == secret and params["path"] == f"/tmp/{secret}"
            await trio.sleep(MOMENT)
            assert [event["text"] for event in other.events if event["kind"] == "note"] != []
            assert secret not in b"".join(one.raw for one in other.messages).decode()


@pytest.mark.parametrize("fs", [ServedBy.NOBODY, CLIENT])
async def test_a_refused_request_with_a_secret_leaves_no_trace_of_it(
    fs: ServedBy, autojump_clock: MockClock
) -> None:
    secret = "s3cret-0123456789-abcdefgh"
    with trio.fail_after(60):
        async with rig_with(fs) as rig, rig.connect(says(None)) as zed:
            await zed.open("k", env={"API_KEY": secret})
            agent = rig.agent("k")
            answer = await agent.request(WRITE, {"path": "/x", "content": secret})
            assert answer["error"]["code"] == -32601
            agent.session_id = await zed.open("another")
            answer = await agent.request(WRITE, {"path": "/x", "content": secret})
            assert answer["error"]["code"] == -32602
            assert secret not in str(await zed.call("_trio_broker/logs", key="k"))


@pytest.mark.process
async def test_what_one_client_is_told_does_not_come_of_what_another_can() -> None:
    """The answer to `initialize` is remembered; one that an agent gave to an able client is not for all others."""
    agent = AgentConfig(AGENT, fs=CLIENT)
    with trio.fail_after(60):
        async with open_rig(Config("x", agents={"x": agent}), spawn=spawn_agent) as rig, rig.connect() as zed:
            await open_as(zed)
            async with rig.connect() as other:
                result = await other.call("initialize", protocolVersion=1, clientCapabilities={})
                assert result["_meta"]["offered"]["fs"] == NOTHING["fs"]


async def test_parameters_that_are_no_object_reach_the_client(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with rig_with() as rig, rig.connect(refuses) as zed:
            await open_as(zed)
            agent = rig.agent("k")
            event: Json = {}
            agent._answers["x"] = (trio.Event(), event)
            await agent.send({"id": "x", "method": WRITE, "params": [1]})
            await trio.sleep(MOMENT)
            assert event["error"]["code"] == -32002


@pytest.mark.parametrize(
    ("method", "by"),
    [
        (READ, ServedBy.CLIENT),
        ("terminal/create", ServedBy.BROKER),
        ("session/request_permission", ServedBy.NOBODY),
        ("_terminal/x", ServedBy.NOBODY),
        ("", ServedBy.NOBODY),
    ],
)
def test_who_serves_a_method(method: str, by: ServedBy) -> None:
    assert served_by(AgentSpec("x", ("x",), fs=CLIENT, terminal=ServedBy.BROKER), method) is by
