"""What an agent asks is answered exactly once: by a policy, by a client, or by a refusal when nobody can."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_broker.errors import RemoteError
from trio_broker.testing.memory import Habits, MemoryAgent
from trio_broker.testing.rig import Json, Rig, User, open_rig
from trio_broker.wire.jsonrpc import Message

MOMENT = 0.1  # virtual seconds: everything that can happen by itself has happened then
PERMISSION = "session/request_permission"
ELICITATION = "elicitation/create"
ALLOW = {"outcome": {"outcome": "selected", "optionId": "allow"}}
REJECT = {"outcome": {"outcome": "selected", "optionId": "reject"}}
CANCELLED = {"outcome": {"outcome": "cancelled"}}


def says(answer: object) -> Callable[[Message], Awaitable[object]]:
    async def on_request(message: Message) -> object:
        await trio.lowlevel.checkpoint()
        return answer

    return on_request


async def think(message: Message) -> object:
    """A person who never answers."""
    await trio.sleep_forever()


async def result(agent: MemoryAgent, title: str = "go", kind: str = "execute") -> Any:
    return (await agent.ask(title, kind)).get("result")


POLICIES = {
    ("approve-all", "execute"): ALLOW,
    ("approve-all", "read"): ALLOW,
    ("approve-reads", "execute"): REJECT,
    ("approve-reads", "read"): ALLOW,
    ("approve-reads", "search"): ALLOW,
    ("deny-all", "execute"): REJECT,
    ("deny-all", "read"): REJECT,
}


@pytest.mark.parametrize("clients", [0, 1])
@pytest.mark.parametrize(("policy", "kind"), POLICIES)
async def test_a_policy_answers_without_asking_anybody(
    policy: str, kind: str, clients: int, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(think) as user:
            await user.open("k", policy=policy)
            if not clients:
                await leave(rig, user)
            assert await result(rig.agent("k"), kind=kind) == POLICIES[policy, kind]
            await trio.sleep(MOMENT)
            assert user.asked() == []
            told = [event for event in user.events if event["kind"] == "answer"]
            assert [event["by"] for event in told] == [f"policy:{policy}"] * clients


async def leave(rig: Rig, user: User) -> None:
    """Have the user hear the session no more, which lives on."""
    async with rig.connect(think) as other:
        session = await other.open("k")
        await user.call("initialize", protocolVersion=1)
        await user.call("session/close", sessionId=session)
    await trio.sleep(MOMENT)


async def test_a_policy_of_one_prompt_is_that_of_its_turn(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(says(REJECT)) as user:
            session = await user.open("k", policy="ask")
            await user.prompt(session, "ask one", policy="approve-all")
            await user.prompt(session, "ask two")
            assert user.said(session) == "allowreject" and len(user.asked()) == 1


async def test_ask_asks_the_client_and_passes_its_answer(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(says(ALLOW)) as user:
            session = await user.open("k", policy="ask")
            await user.prompt(session, "ask to build")
            assert user.said(session) == "allow"
            assert [asked["toolCall"]["title"] for asked in user.asked()] == ["to build"]
            assert user.asked()[0]["sessionId"] == session


async def test_ask_asks_whose_prompt_runs(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with (
            open_rig() as rig,
            rig.connect(says(ALLOW)) as author,
            rig.connect(says(REJECT)) as watcher,
        ):
            session = await author.open("k")
            await watcher.open("k")
            await author.prompt(session, "ask one")
            await watcher.prompt(session, "ask two")
            assert author.said(session) == watcher.said(session) == "allowreject"
            assert (len(author.asked()), len(watcher.asked())) == (1, 1)


async def test_ask_without_clients_is_held_for_hours_until_one_comes(autojump_clock: MockClock) -> None:
    with trio.fail_after(10_000):
        async with open_rig() as rig, rig.connect(says(ALLOW)) as user:
            async with rig.connect() as leaver:
                await leaver.submit(await leaver.open("k"), "wait 10; ask may I")
            await trio.sleep(7200)
            view = await user.view("k")
            assert (view["phase"], view["asks"], view["queue"]) == ("waiting", 1, 0)
            session = await user.open("k")
            await user.wait_phase("k", "idle")
            assert user.said(session) == "allow"


@pytest.mark.parametrize(
    "answer", [{}, {"outcome": {"outcome": "selected", "optionId": "invented"}}, None, 7]
)
async def test_an_answer_that_was_not_offered_is_a_refusal(answer: object, autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(says(answer)) as user:
            session = await user.open("k")
            await user.prompt(session, "ask go")
            assert user.said(session) == "reject"


async def test_a_client_that_can_answer_nothing_refuses(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k")
            await user.prompt(session, "ask go")
            assert user.said(session) == "reject"


async def test_a_permission_goes_to_another_client_when_the_asked_one_leaves(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(says(ALLOW)) as stayer:
            session = await stayer.open("k")
            async with rig.connect(think) as leaver:
                await leaver.open("k")
                leaver.later(leaver.prompt, session, "ask go")
                await leaver.wait_phase("k", "waiting")
                assert stayer.asked() == []
            await stayer.wait_phase("k", "idle")
            assert stayer.said(session) == "allow"


async def test_a_client_that_detaches_is_asked_no_more_and_its_late_answer_is_none(
    autojump_clock: MockClock,
) -> None:
    async def late(message: Message) -> object:  # it answers although the question was withdrawn
        with trio.move_on_after(20, shield=True):
            await trio.sleep(10)
        return ALLOW

    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(late) as author, rig.connect(says(REJECT)) as watcher:
            session = await author.open("k")
            await watcher.open("k")
            await author.call("initialize", protocolVersion=1)
            author.later(author.prompt, session, "ask go")
            await author.wait_phase("k", "waiting")
            await author.call("session/close", sessionId=session)
            await watcher.wait_phase("k", "idle")
            assert watcher.said(session) == "reject"
            assert any(message.method == "$/cancel_request" for message in author.messages)
            await trio.sleep(15)
            assert await author.status() and await watcher.status(), "both connections live"


async def test_the_agent_can_withdraw_what_it_asked(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(think) as user:
            session = await user.open("k")
            agent = rig.agent("k")
            asking = user.later(agent.ask, "go", id="x")
            await user.wait_phase("k", "waiting")
            await agent.send({"method": "$/cancel_request", "params": {"requestId": "y"}})
            await agent.send({"method": "$/cancel_request", "params": {"requestId": "x"}})
            assert (await asking.wait())["error"]["code"] == -32800
            await user.wait_phase("k", "idle")
            assert [message.method for message in user.messages].count("$/cancel_request") == 1
            assert await user.prompt(session, "say next") == "end_turn"


async def test_c13_the_end_of_the_agent_withdraws_what_it_asked(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(think) as user:
            turn = user.later(user.prompt, await user.open("k"), "ask go")
            await user.wait_phase("k", "waiting")
            rig.agent("k").kill()
            assert (await turn.fails()).message
            await trio.sleep(MOMENT)
            assert [message.method for message in user.messages].count("$/cancel_request") == 1
            assert (await user.view("k"))["asks"] == 0


FORM = {"mode": "form", "message": "name?", "requestedSchema": {"type": "object", "properties": {}}}
ABLE: Json = {"clientCapabilities": {"elicitation": {"form": {}}}}
ACCEPTED = {"action": "accept", "content": {"name": "x"}}


@pytest.mark.parametrize(
    ("params", "capabilities", "clients", "expected"),
    [
        (FORM, ABLE, 1, ACCEPTED),
        (FORM, {}, 1, {"action": "decline"}),
        (FORM, ABLE, 0, {"action": "decline"}),
        ({**FORM, "mode": "url"}, ABLE, 1, {"action": "decline"}),
        ({**FORM, "mode": 7}, ABLE, 1, {"action": "decline"}),
    ],
)
async def test_an_elicitation_is_declined_when_nobody_can_answer_it(
    params: Json, capabilities: Json, clients: int, expected: Json, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(says(ACCEPTED)) as user:
            await user.call("initialize", protocolVersion=1, **capabilities)
            await user.open("k")
            if not clients:
                await leave(rig, user)
            assert (await rig.agent("k").request(ELICITATION, params))["result"] == expected


async def test_d4_a_cancel_cancels_an_open_elicitation(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(think) as user:
            await user.call("initialize", protocolVersion=1, **ABLE)
            session = await user.open("k")
            turn = user.later(user.prompt, session, "hang")
            await user.wait_phase("k", "working")
            asking = user.later(rig.agent("k").request, ELICITATION, FORM)
            await user.wait_phase("k", "waiting")
            await user.cancel(session)
            assert (await asking.wait())["result"] == {"action": "cancel"}
            assert await turn.wait() == "cancelled"


@pytest.mark.parametrize("clients", [0, 1])
@pytest.mark.parametrize("method", ["x/unknown", "_vendor/thing", "fs/read_text_file", "terminal/create"])
async def test_c13_unknown_requests_of_the_agent_are_answered(
    method: str, clients: int, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            await user.open("k")
            if not clients:
                await leave(rig, user)
            response = await rig.agent("k").request(method, {"path": "/etc/passwd"})
            assert response["error"]["code"] == -32601
            off = method.startswith(("fs/", "terminal/"))
            assert bool(user.asked(method)) is (clients == 1 and not off)


@pytest.mark.parametrize("method", ["x/unknown", PERMISSION, ELICITATION])
async def test_c13_requests_before_there_is_a_session_are_answered(
    method: str, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        habits = Habits(mute=frozenset({"session/new"}))
        async with open_rig(habits=habits) as rig, rig.connect() as user:
            opening = user.later(user.open, "k")
            await user.wait_phase("k", "starting")
            await trio.sleep(MOMENT)
            agent = rig.agent("k")
            response = await agent.request(method, FORM)
            assert response.get("result") == {"action": "decline"} or response["error"]["code"] == -32601
            await agent.answer(agent.got("session/new")[0]["id"], sessionId="own")
            assert await opening.wait() == "own"


async def test_c13_a_malformed_permission_is_refused(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(think) as user:
            await user.open("k")
            response = await rig.agent("k").request(PERMISSION, {"options": "none"})
            assert response["error"]["code"] == -32602 and user.asked() == []


async def test_an_unknown_request_passes_to_the_client_and_its_answer_back(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(says({"odd": [1, None]})) as user:
            session = await user.open("k")
            response = await rig.agent("k").request("_vendor/thing", {"deep": {"x": 1}})
            assert response["result"] == {"odd": [1, None]}
            assert user.asked("_vendor/thing") == [{"sessionId": session, "deep": {"x": 1}}]


async def test_an_error_of_the_client_passes_to_the_agent_whole(autojump_clock: MockClock) -> None:
    async def fail(message: Message) -> object:
        await trio.lowlevel.checkpoint()
        raise RemoteError(-5, "no", {"x": 1})

    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(fail) as user:
            await user.open("k")
            response = await rig.agent("k").request("_vendor/thing", {})
            assert response["error"] == {"code": -5, "message": "no", "data": {"x": 1}}
