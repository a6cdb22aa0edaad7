"""`_trio_broker/asks` and `/answer`: every open question, and an answer from whoever is not asked."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_broker.auth.grant import Grant, Scope
from trio_broker.errors import Misuse, NoAsk
from trio_broker.protocol.jsonrpc import Message
from trio_broker.testing.clients.user import Json, User
from trio_broker.testing.in_process.memory_agent import OPTIONS
from trio_broker.testing.in_process.rig import Rig, open_rig

FORM = {"mode": "form", "message": "name?", "requestedSchema": {"type": "object", "properties": {}}}


async def think(message: Message) -> object:
    """A person who never answers."""
    await trio.sleep_forever()


async def pending(user: User, **which: Any) -> list[Json]:
    found: list[Json] = (await user.call("_trio_broker/asks", **which))["asks"]
    return found


async def asking(rig: Rig, user: User, key: str, title: str) -> str:
    """Have the agent of a session ask; the ask's id."""
    user.later(rig.agent(key).ask, title)
    await user.wait_phase(key, "waiting")
    return str((await pending(user, key=key))[-1]["askId"])


async def test_asks_lists_every_question_the_oldest_first(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig() as rig, rig.connect(think) as user, rig.connect() as other:
            sessions = {key: await user.open(key) for key in ("b", "a")}
            for key in ("b", "a"):
                await asking(rig, user, key, f"go {key}")
                await trio.sleep(100)
            first, second = await pending(other)
            assert (first["key"], second["key"]) == ("b", "a") and first["askId"] != second["askId"]
            assert first["since"] == pytest.approx(200, abs=1) and second["since"] == pytest.approx(
                100, abs=1
            )
            (name,) = [one.name for one in rig.session("b").router.listeners]
            expected = {
                "title": "go b",
                "kind": "execute",
                "options": OPTIONS,
                "asked": [name],
                "cwd": "/tmp",
            }
            expected |= {"sessionId": sessions["b"], "agent": "demo", "method": "session/request_permission"}
            assert {field: first[field] for field in expected} == expected
            assert [one["key"] for one in await pending(other, key="a")] == ["a"]
            assert [one["key"] for one in await pending(other, sessionId=sessions["b"])] == ["b"]
            page = await other.call("_trio_broker/events", key="b", since=first["seq"], limit=1)
            assert page["events"][0]["params"]["toolCall"]["title"] == "go b", "where the details stand"


@pytest.mark.parametrize(
    ("verdict", "option"),
    [({"answer": "allow"}, "allow"), ({"answer": "deny"}, "reject"), ({"optionId": "reject"}, "reject")],
)
async def test_answer_settles_it_and_closes_the_dialogs(
    verdict: Json, option: str, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(think) as user, rig.connect() as other:
            session = await user.open("k")
            turn = user.later(user.prompt, session, "ask go")
            await user.wait_phase("k", "waiting")
            (ask,) = await pending(other)
            answered = await other.call("_trio_broker/answer", askId=ask["askId"], **verdict)
            name = {one["optionId"]: one["name"] for one in OPTIONS}[option]
            assert answered == {
                "askId": ask["askId"], "key": "k", "title": "go", "outcome": "selected",
                "optionId": option, "option": name,
            }  # fmt: skip
            assert await turn.wait() == "end_turn" and user.said(session) == option
            assert [message.method for message in user.messages].count("$/cancel_request") == 1
            assert await pending(other) == []
            late = other.later(other.call, "_trio_broker/answer", askId=ask["askId"], answer="allow")
            error = await late.fails()
            assert isinstance(error, NoAsk) and f"settled already: {name}, by owner (client-" in error.message
            assert error.details["settled"]["optionId"] == option


@pytest.mark.parametrize("id", ["", "1", "1-", "-1", "1-1", "99-99", "x-y", "1-99999999999999999999", "²-³"])
async def test_an_unknown_id_is_told(id: str, autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(think) as user:
            await user.open("k")
            error = await user.later(user.call, "_trio_broker/answer", askId=id, answer="allow").fails()
            assert isinstance(error, NoAsk) and "there is no ask" in error.message


@pytest.mark.parametrize(
    ("verdict", "says"),
    [
        ({}, "say either which option"),
        ({"optionId": "allow", "answer": "allow"}, "say either which option"),
        ({"answer": "perhaps"}, "expected allow, deny or cancel, not 'perhaps'"),
        (
            {"answer": "allow", "always": True},
            "has no option to allow always; it offers allow (Allow, allow_once)",
        ),
        ({"optionId": "invented"}, "offers no option 'invented'; it offers allow (Allow, allow_once)"),
    ],
)
async def test_what_is_no_answer_leaves_it_open(verdict: Json, says: str, autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(think) as user:
            await user.open("k")
            id = await asking(rig, user, "k", "go")
            error = await user.later(user.call, "_trio_broker/answer", askId=id, **verdict).fails()
            assert isinstance(error, Misuse) and says in error.message
            assert [one["askId"] for one in await pending(user)] == [id]


FIELDS = {
    "type": "object",
    "properties": {"age": {"type": "integer", "minimum": 18}, "name": {"type": "string", "default": "x"}},
    "required": ["age"],
}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "is a form: `trio-broker answer ID --field NAME=VALUE` fills it in (params.content"),
        ({}, "field 'age' is required: an integer of at least 18"),
        ({"age": "20"}, "field 'age' expects an integer of at least 18, not '20'"),
        ({"age": 20, "nmae": "y"}, "the form has no field 'nmae'; its fields are age, name"),
    ],
)
async def test_content_that_does_not_fit_names_the_field_and_leaves_the_form_open(
    content: Json | None, says: str, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(think) as user:
            await user.open("k")
            params = {**FORM, "requestedSchema": FIELDS}
            reply = user.later(rig.agent("k").request, "elicitation/create", params)
            await user.wait_phase("k", "waiting")
            (ask,) = await pending(user)
            verdict = {"askId": ask["askId"], "answer": "allow", "content": content}
            error = await user.later(user.call, "_trio_broker/answer", **verdict).fails()
            assert isinstance(error, Misuse) and says.replace("ID", ask["askId"]) in error.message
            assert error.message.endswith("\n  age: an integer of at least 18, required\n  name: a text [x]")
            await user.call("_trio_broker/answer", **verdict | {"content": {"age": 20}})
            assert (await reply.wait())["result"] == {"action": "accept", "content": {"age": 20}}


NEVER = {"optionId": "never", "name": "Never", "kind": "reject_always"}


@pytest.mark.parametrize(
    ("options", "verdict", "outcome"),
    [
        ([*OPTIONS, NEVER], {"answer": "deny", "always": True}, "never"),
        ([*OPTIONS, NEVER], {"answer": "deny"}, "reject"),
        ([OPTIONS[0]], {"answer": "deny"}, None),
        ([], {"answer": "deny"}, None),
        ([NEVER], {"answer": "deny"}, Misuse),
        ([NEVER], {"answer": "allow"}, Misuse),
        ([], {"answer": "allow"}, Misuse),
    ],
)
async def test_yes_and_no_choose_what_says_just_that(
    options: list[Json], verdict: Json, outcome: object, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(think) as user:
            await user.open("k")
            params = {"toolCall": {"toolCallId": "x"}, "options": options}
            reply = user.later(rig.agent("k").request, "session/request_permission", params)
            await user.wait_phase("k", "waiting")
            (ask,) = await pending(user)
            answering = user.later(user.call, "_trio_broker/answer", askId=ask["askId"], **verdict)
            if outcome is Misuse:
                assert isinstance(await answering.fails(), Misuse) and not reply.done
                return
            chosen = {"outcome": "selected", "optionId": outcome} if outcome else {"outcome": "cancelled"}
            assert (await reply.wait())["result"] == {"outcome": chosen}


@pytest.mark.parametrize(
    ("verdict", "result"),
    [
        ({"answer": "allow", "content": {"name": "x"}}, {"action": "accept", "content": {"name": "x"}}),
        ({"answer": "deny"}, {"action": "decline"}),
        ({"answer": "cancel"}, {"action": "cancel"}),
        ({"answer": "allow"}, None),
        ({"answer": "allow", "content": {"name": {}}}, None),
        ({"optionId": "allow"}, None),
    ],
)
async def test_a_form_can_be_answered_too(
    verdict: Json, result: Json | None, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(think) as user:
            await user.call("initialize", protocolVersion=1, clientCapabilities={"elicitation": {"form": {}}})
            await user.open("k")
            reply = user.later(rig.agent("k").request, "elicitation/create", FORM)
            await user.wait_phase("k", "waiting")
            (ask,) = await pending(user)
            assert (ask["title"], ask["options"], ask["kind"]) == ("name?", [], None)
            answering = user.later(user.call, "_trio_broker/answer", askId=ask["askId"], **verdict)
            if result is None:
                assert isinstance(await answering.fails(), Misuse) and not reply.done
            else:
                assert (await reply.wait())["result"] == result


async def test_what_only_its_client_knows_is_not_answered_here(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(think) as user:
            await user.open("k")
            reply = user.later(rig.agent("k").request, "_vendor/thing", {})
            await user.wait_phase("k", "waiting")
            (ask,) = await pending(user)
            for verdict in ({"answer": "allow"}, {"answer": "deny"}, {"optionId": "x"}):
                call = user.later(user.call, "_trio_broker/answer", askId=ask["askId"], **verdict)
                assert isinstance(await call.fails(), Misuse) and not reply.done


async def test_a_client_sees_and_answers_the_asks_of_its_own_sessions_only(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(think) as user:
            for key in ("mine", "yours"):
                await user.open(key)
            ids = {key: await asking(rig, user, key, "go") for key in ("mine", "yours")}
            (client,) = rig.broker.clients
            client.grant = Grant("phone", frozenset({Scope.ANSWER}), sessions=("mine",))  # type: ignore[attr-defined]
            assert [one["key"] for one in await pending(user)] == ["mine"]
            call = user.later(user.call, "_trio_broker/answer", askId=ids["yours"], answer="allow")
            assert isinstance(await call.fails(), NoAsk)
            await user.call("_trio_broker/answer", askId=ids["mine"], answer="allow")
            events = (await user.call("_trio_broker/events", key="mine"))["events"]
            assert [one["by"].startswith("phone (") for one in events if one["kind"] == "answer"] == [True]
