"""What an agent asks is answered exactly once: by a policy, by a client, or by a refusal when nobody can."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_broker.auth.policy import Action, Rule, Unattended
from trio_broker.config.config import Config, PolicyConfig
from trio_broker.errors import RemoteError
from trio_broker.protocol.jsonrpc import Message
from trio_broker.session.permissions import UNATTENDED_AFTER
from trio_broker.testing.clients.user import Json, User
from trio_broker.testing.in_process.memory_agent import Habits, MemoryAgent
from trio_broker.testing.in_process.rig import Rig, open_rig

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


def after(seconds: float, answer: object) -> Callable[[Message], Awaitable[object]]:
    async def on_request(message: Message) -> object:
        await trio.sleep(seconds)
        return answer

    return on_request


def withdrawn(user: User) -> int:
    """How many of its dialogs the user was told to close."""
    return [message.method for message in user.messages].count("$/cancel_request")


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


async def test_every_controller_is_asked_and_the_first_answer_wins(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with (
            open_rig() as rig,
            rig.connect(think) as author,
            rig.connect(after(5, ALLOW)) as quick,
            rig.connect(after(9, REJECT)) as slow,
        ):
            users = (author, quick, slow)
            session, *_ = [await user.open("k") for user in users]
            await author.prompt(session, "ask one")
            assert [len(user.asked()) for user in users] == [1, 1, 1]
            await trio.sleep(20)
            assert author.said(session) == "allow"
            assert [withdrawn(user) for user in users] == [1, 0, 1]
            (answer,) = [event for event in author.events if event["kind"] == "answer"]
            (asked,) = [event for event in author.events if event["kind"] == "ask"]
            assert answer["askId"] == asked["askId"] and answer["after"] == pytest.approx(5)
            names = {listener.identity for listener in rig.session("k").router.listeners}
            assert answer["by"] in names and (answer["outcome"], answer["optionId"]) == ("selected", "allow")


async def test_who_comes_later_is_asked_too_after_the_replay(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(think) as author, rig.connect(after(1, ALLOW)) as late:
            session = await author.open("k")
            turn = author.later(author.prompt, session, "say before; ask go")
            await author.wait_phase("k", "waiting")
            await late.call("initialize", protocolVersion=1)
            await late.call("session/load", sessionId=session, cwd="/tmp", mcpServers=[])
            assert await turn.wait() == "end_turn"
            assert author.said(session) == "beforeallow" and withdrawn(author) == 1
            heard = [message.method for message in late.messages if message.method != "_trio_broker/event"]
            # the replay, the reply to session/load, the question
            assert heard[heard.index("session/update") :][:4] == ["session/update"] * 2 + [None, PERMISSION]


async def test_an_observer_is_not_asked(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(says(ALLOW)) as user, rig.connect(says(REJECT)) as other:
            session = await user.open("k")
            await other.open("k")
            relay = rig.session("k").router
            relay.observers.add(relay.listeners[1])
            await user.prompt(session, "ask one")
            assert other.asked() == [] and user.said(session) == "allow"


async def test_closing_a_dialog_at_one_of_several_is_no_answer_but_the_authors_is(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(60):
        async with (
            open_rig() as rig,
            rig.connect(after(5, CANCELLED)) as author,
            rig.connect(after(1, CANCELLED)) as phone,
            rig.connect(after(9, ALLOW)) as desk,
        ):
            session, *_ = [await user.open("k") for user in (author, phone, desk)]
            await author.prompt(session, "ask one")
            assert author.said(session) == "cancelled" and withdrawn(desk) == 1
            await desk.prompt(session, "ask two")  # desk is primary now, and the two others' say nothing
            assert desk.said(session) == "cancelledallow" and withdrawn(desk) == 1


async def test_the_last_who_closes_its_dialog_cancels(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as author, rig.connect(after(1, CANCELLED)) as other:
            session = await author.open("k")
            await other.open("k")
            await author.prompt(session, "ask one")
            assert author.said(session) == "cancelled"


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


NO_ANSWERS = [
    {},
    {"outcome": "cancelled"},
    {"outcome": {"outcome": "selected", "optionId": "invented"}},
    {"outcome": {"outcome": "selected"}},
    {"outcome": {"outcome": "perhaps", "optionId": "allow"}},
    None,
    7,
]


@pytest.mark.parametrize("answer", NO_ANSWERS)
async def test_what_is_no_answer_is_an_abstention(answer: object, autojump_clock: MockClock) -> None:
    with trio.fail_after(4000):
        async with open_rig() as rig, rig.connect(says(answer)) as user, rig.connect() as other:
            session = await user.open("k")
            turn = user.later(user.prompt, session, "ask go")
            await user.wait_phase("k", "waiting")
            await other.open("k")  # which answers with an error
            await trio.sleep(3600)
            assert (await user.view("k"))["asks"] == 1, "nobody has answered, so it is held"
            async with rig.connect(says(ALLOW)) as able:
                await able.open("k")
                await turn.wait()
            assert user.said(session) == "allow" and len(user.asked()) == len(other.asked()) == 1


async def test_who_abstained_and_comes_back_is_asked_again(autojump_clock: MockClock) -> None:
    replies = iter(({}, ALLOW))

    async def second_thoughts(message: Message) -> object:
        await trio.lowlevel.checkpoint()
        return next(replies)

    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(second_thoughts) as user:
            session = await user.open("k")
            turn = user.later(user.prompt, session, "ask go")
            await user.wait_phase("k", "waiting")
            await user.call("_trio_broker/detach", sessionId=session)
            await user.open("k")
            assert await turn.wait() == "end_turn" and len(user.asked()) == 2


@pytest.mark.parametrize("clients", [0, 1])
async def test_unattended_deny_refuses_when_nobody_is_there_and_says_so(
    clients: int, autojump_clock: MockClock
) -> None:
    asking = PolicyConfig(unattended=Unattended.DENY)
    with trio.fail_after(60):
        async with open_rig(Config(policy=asking)) as rig, rig.connect() as user:
            await user.open("k")
            if not clients:
                await leave(rig, user)
            begun = trio.current_time()
            assert await result(rig.agent("k")) == REJECT
            assert trio.current_time() - begun == pytest.approx(UNATTENDED_AFTER, abs=MOMENT)
            (answer,) = await answers(user)
            assert (answer["by"], answer["optionId"]) == ("policy:unattended", "reject")
            assert 'unattended = "deny" in [policy]' in answer["note"]


async def test_unattended_deny_gives_a_client_that_attaches_anew_its_time(autojump_clock: MockClock) -> None:
    asking = PolicyConfig(unattended=Unattended.DENY)
    with trio.fail_after(60):
        async with open_rig(Config(policy=asking)) as rig, rig.connect(after(10, ALLOW)) as user:
            session = await user.open("k")
            asked = user.later(result, rig.agent("k"))
            await user.wait_phase("k", "waiting")
            await user.call("_trio_broker/detach", sessionId=session)
            await trio.sleep(UNATTENDED_AFTER / 2)
            await user.open("k")
            assert await asked.wait() == ALLOW


@pytest.mark.parametrize("clients", [0, 1])
async def test_an_ask_expires_whoever_is_there(clients: int, autojump_clock: MockClock) -> None:
    with trio.fail_after(6000):
        async with open_rig(Config(policy=PolicyConfig(expire=600.0))) as rig, rig.connect(think) as user:
            await user.open("k")
            if not clients:
                await leave(rig, user)
            begun = trio.current_time()
            first = user.later(result, rig.agent("k"), "one")
            await trio.sleep(100)
            second = user.later(result, rig.agent("k"), "two")
            assert await first.wait() == REJECT
            assert trio.current_time() - begun == pytest.approx(600, abs=MOMENT)
            assert await second.wait() == REJECT
            assert trio.current_time() - begun == pytest.approx(700, abs=MOMENT)
            await trio.sleep(MOMENT)
            assert withdrawn(user) == 2 * clients
            found = [(one["by"], one["outcome"], one["optionId"], one["note"]) for one in await answers(user)]
            note = "nobody answered for 600 s (expire in [policy])"
            assert found == [("expiry", "expired", "reject", note)] * 2


async def test_expiry_takes_no_option_that_says_more_than_not_now(autojump_clock: MockClock) -> None:
    options = [{"optionId": "never", "name": "Never", "kind": "reject_always"}]
    with trio.fail_after(60):
        async with open_rig(Config(policy=PolicyConfig(expire=1.0))) as rig, rig.connect(think) as user:
            await user.open("k")
            params = {"toolCall": {"toolCallId": "x"}, "options": options}
            assert (await rig.agent("k").request(PERMISSION, params))["result"] == CANCELLED


async def test_rules_come_before_the_policy_of_the_session(autojump_clock: MockClock) -> None:
    rules = (Rule(Action.DENY, title="^rm "), Rule(Action.ALLOW, session="k*", kind=("read",)))
    with trio.fail_after(60):
        async with open_rig(Config(policy=PolicyConfig(rules=rules))) as rig, rig.connect(think) as user:
            await user.open("k", policy="approve-all")
            agent = rig.agent("k")
            assert await result(agent, "rm -r /", "execute") == REJECT
            await user.open("k2", policy="deny-all")
            assert await result(rig.agent("k2"), "look", "read") == ALLOW
            assert await result(rig.agent("k2"), "look", "edit") == REJECT
            assert await result(agent, "write", "edit") == ALLOW
            by = [[one["by"] for one in await answers(user, key)] for key in ("k", "k2")]
            assert by == [["policy rule 1", "policy:approve-all"], ["policy rule 2", "policy:deny-all"]]


async def answers(user: User, key: str = "k") -> list[Json]:
    """The answers in the log of a session."""
    page = await user.call("_trio_broker/events", key=key)
    return [event for event in page["events"] if event["kind"] == "answer"]


async def test_the_leaving_of_one_leaves_the_question_to_the_others(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(after(5, ALLOW)) as stayer:
            session = await stayer.open("k")
            async with rig.connect(think) as leaver:
                await leaver.open("k")
                leaver.later(leaver.prompt, session, "ask go")
                await leaver.wait_phase("k", "waiting")
                await trio.sleep(MOMENT)
            await stayer.wait_phase("k", "idle")
            assert stayer.said(session) == "allow" and withdrawn(stayer) == 0


async def test_a_client_that_detaches_is_asked_no_more_and_its_late_answer_is_none(
    autojump_clock: MockClock,
) -> None:
    async def late(message: Message) -> object:  # it answers although the question was withdrawn
        with trio.move_on_after(20, shield=True):
            await trio.sleep(10)
        return ALLOW

    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(late) as author, rig.connect(after(5, REJECT)) as watcher:
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


URL = {"mode": "url", "message": "log in", "url": "https://x", "elicitationId": "e1"}


@pytest.mark.parametrize(
    ("params", "capabilities", "clients"),
    [(FORM, {}, 1), (FORM, ABLE, 0), (URL, ABLE, 1), ({**FORM, "mode": None}, {}, 1)],
)
async def test_an_elicitation_that_nobody_can_show_is_held_and_listed_for_anybody_to_answer(
    params: Json, capabilities: Json, clients: int, autojump_clock: MockClock
) -> None:
    with trio.fail_after(10_000):
        async with open_rig() as rig, rig.connect(think) as user, rig.connect() as other:
            await user.call("initialize", protocolVersion=1, **capabilities)
            await user.open("k")
            if not clients:
                await leave(rig, user)
            asking = user.later(rig.agent("k").request, ELICITATION, params)
            await user.wait_phase("k", "waiting")
            await trio.sleep(7200)
            (ask,) = (await other.call("_trio_broker/asks"))["asks"]
            assert (ask["method"], ask["asked"], ask["title"]) == (ELICITATION, [], params["message"])
            content: Json = {} if params is URL else {"content": {}}
            await other.call("_trio_broker/answer", askId=ask["askId"], answer="allow", **content)
            assert (await asking.wait())["result"] == {"action": "accept", **content}
            (answer,) = await answers(other)
            assert (answer["method"], answer["outcome"], answer["askId"]) == (
                ELICITATION,
                "accept",
                ask["askId"],
            )
            assert answer["by"].startswith("owner (client-") and user.asked(ELICITATION) == []


@pytest.mark.parametrize("mode", [7, "_new", ["form"], {}])
async def test_an_elicitation_of_a_mode_that_was_not_offered_is_an_error_in_the_log(
    mode: object, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(think) as user:
            await able(rig, user, form={}, url={})
            response = await rig.agent("k").request(ELICITATION, {**FORM, "mode": mode})
            assert response["error"]["code"] == -32602
            assert "params.mode: expected form or url" in response["error"]["message"]
            (answer,) = await answers(user)
            assert (answer["by"], answer["outcome"], answer["method"]) == ("broker", "refused", ELICITATION)


async def test_a_client_that_knows_another_mode_is_asked_in_it(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(says({"action": "later"})) as user:
            await able(rig, user, _new={})
            response = await rig.agent("k").request(ELICITATION, {**FORM, "mode": "_new"})
            assert response["result"] == {"action": "later"}


async def test_a_held_form_goes_to_a_client_that_can_show_it_as_soon_as_one_comes(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(10_000):
        async with open_rig() as rig, rig.connect() as first, rig.connect(says(ACCEPTED)) as late:
            await first.open("k")
            asking = first.later(rig.agent("k").request, ELICITATION, FORM)
            await first.wait_phase("k", "waiting")
            await trio.sleep(3600)
            await able(rig, late, form={})
            assert (await asking.wait())["result"] == ACCEPTED


@pytest.mark.parametrize("how", ["leaves", "abstains"])
async def test_a_form_is_held_when_the_only_client_that_can_show_it_is_no_help(
    how: str, autojump_clock: MockClock
) -> None:
    with trio.fail_after(10_000):
        async with open_rig() as rig, rig.connect() as watcher:
            async with rig.connect(think if how == "leaves" else says({"neither": "nor"})) as user:
                await able(rig, user, form={})
                await watcher.open("k")
                asking = watcher.later(rig.agent("k").request, ELICITATION, FORM)
                await watcher.wait_phase("k", "waiting")
                await trio.sleep(MOMENT)
            await trio.sleep(3600)
            (ask,) = (await watcher.call("_trio_broker/asks"))["asks"]
            await watcher.call("_trio_broker/answer", askId=ask["askId"], answer="deny")
            assert (await asking.wait())["result"] == {"action": "decline"}


@pytest.mark.parametrize("params", [FORM, URL])
async def test_unattended_deny_cancels_an_elicitation_that_nobody_sees_and_says_so(
    params: Json, autojump_clock: MockClock
) -> None:
    asking = PolicyConfig(unattended=Unattended.DENY)
    with trio.fail_after(60):
        async with open_rig(Config(policy=asking)) as rig, rig.connect(think) as user:
            await user.open("k")
            response = await rig.agent("k").request(ELICITATION, params)
            assert response["result"] == {"action": "cancel"}
            (answer,) = await answers(user)
            assert (answer["by"], answer["outcome"]) == ("policy:unattended", "cancel")
            assert "nobody was there" in answer["note"]


async def test_an_elicitation_expires(autojump_clock: MockClock) -> None:
    with trio.fail_after(6000):
        async with open_rig(Config(policy=PolicyConfig(expire=600.0))) as rig, rig.connect(think) as user:
            await able(rig, user, form={})
            response = await rig.agent("k").request(ELICITATION, FORM)
            assert response["result"] == {"action": "cancel"}
            (answer,) = await answers(user)
            assert (answer["by"], answer["outcome"]) == ("expiry", "expired")


# A single choice


def choice(**schema: object) -> Json:
    properties = {"pick": schema or {"type": "string", "enum": ["red", "green"]}}
    return {**FORM, "requestedSchema": {"type": "object", "properties": properties, "required": ["pick"]}}


def selected(option: str) -> Json:
    return {"outcome": {"outcome": "selected", "optionId": option}}


@pytest.mark.parametrize(
    ("params", "answer", "expected"),
    [
        (choice(), selected("green"), {"action": "accept", "content": {"pick": "green"}}),
        (choice(type="boolean"), selected("false"), {"action": "accept", "content": {"pick": False}}),
        (choice(type="boolean"), selected("decline"), {"action": "decline"}),
        (choice(), CANCELLED, {"action": "cancel"}),
        (choice(type="integer", enum=[1, 2]), selected("2"), {"action": "accept", "content": {"pick": 2}}),
    ],
)
async def test_a_single_choice_is_a_permission_request_for_a_client_without_forms(
    params: Json, answer: Json, expected: Json, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(says(answer)) as user:
            session = await user.open("k")
            assert (await rig.agent("k").request(ELICITATION, params))["result"] == expected
            (asked,) = user.asked(PERMISSION)
            assert asked["sessionId"] == session and asked["toolCall"]["title"] == "name?"
            (event,) = [event for event in user.events if event["kind"] == "ask"]
            assert asked["toolCall"]["toolCallId"] == f"elicitation-{event['askId']}"
            assert user.asked(ELICITATION) == []
            (logged,) = await answers(user)
            assert logged["outcome"] == expected["action"] and logged["method"] == ELICITATION


@pytest.mark.parametrize("answer", [selected("blue"), {"action": "accept", "content": {"pick": "red"}}, None])
async def test_what_is_no_answer_to_a_single_choice_leaves_it_held(
    answer: object, autojump_clock: MockClock
) -> None:
    with trio.fail_after(4000):
        async with open_rig() as rig, rig.connect(says(answer)) as user:
            await user.open("k")
            asking = user.later(rig.agent("k").request, ELICITATION, choice())
            await trio.sleep(3600)
            (ask,) = (await user.call("_trio_broker/asks"))["asks"]
            assert [option["optionId"] for option in ask["options"]] == ["red", "green", "decline"]
            answered = await user.call("_trio_broker/answer", askId=ask["askId"], optionId="red")
            assert (answered["outcome"], answered["option"]) == ("accept", "red")
            assert (await asking.wait())["result"] == {"action": "accept", "content": {"pick": "red"}}


@pytest.mark.parametrize("first", ["form", "permission"])
async def test_the_first_answer_wins_over_both_kinds_of_dialogs(
    first: str, autojump_clock: MockClock
) -> None:
    by_form = after(1 if first == "form" else 9, {"action": "accept", "content": {"pick": "red"}})
    by_option = after(9 if first == "form" else 1, selected("green"))
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(by_form) as forms, rig.connect(by_option) as plain:
            await able(rig, forms, form={})
            await plain.open("k")
            answer = (await rig.agent("k").request(ELICITATION, choice()))["result"]
            assert answer["content"] == {"pick": "red" if first == "form" else "green"}
            await trio.sleep(20)
            assert (len(forms.asked(ELICITATION)), len(forms.asked(PERMISSION))) == (1, 0)
            assert (len(plain.asked(ELICITATION)), len(plain.asked(PERMISSION))) == (0, 1)
            assert [withdrawn(forms), withdrawn(plain)] == ([0, 1] if first == "form" else [1, 0])


async def test_a_form_that_is_no_single_choice_is_not_turned_into_a_permission_request(
    autojump_clock: MockClock,
) -> None:
    two = {"a": {"type": "boolean"}, "b": {"type": "boolean"}}
    params = {**FORM, "requestedSchema": {"type": "object", "properties": two}}
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(think) as user:
            await user.open("k")
            user.later(rig.agent("k").request, ELICITATION, params)
            await user.wait_phase("k", "waiting")
            await trio.sleep(MOMENT)
            assert user.asked(PERMISSION) == user.asked(ELICITATION) == []


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
            (answer,) = await answers(user)
            assert answer["method"] == method and answer["outcome"] in ("refused", "error")


@pytest.mark.parametrize("method", ["x/unknown", PERMISSION, ELICITATION])
async def test_c13_requests_before_there_is_a_session_are_answered_and_logged(
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
            (answer,) = await answers(user)
            assert (answer["method"], answer["by"]) == (method, "broker")
            assert "before it had opened the session" in answer["note"]


async def test_c13_a_malformed_permission_is_refused(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(think) as user:
            await user.open("k")
            response = await rig.agent("k").request(PERMISSION, {"options": "none"})
            assert response["error"]["code"] == -32602 and user.asked() == []
            (answer,) = await answers(user)
            assert (answer["by"], answer["outcome"]) == ("broker", "refused")
            assert answer["note"] == response["error"]["message"]


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


async def able(rig: Rig, user: User, **modes: Json) -> str:
    """Have the user open the session, as a client that shows elicitations of these modes."""
    await user.call("initialize", protocolVersion=1, clientCapabilities={"elicitation": modes})
    return await user.open("k")


async def test_a_form_goes_to_all_who_can_show_it_and_the_first_answer_wins(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(60):
        async with (
            open_rig() as rig,
            rig.connect(after(1, {"action": "cancel"})) as closes,
            rig.connect(says({"neither": "nor"})) as odd,
            rig.connect(after(5, {"action": "decline"})) as quick,
            rig.connect(think) as primary,
            rig.connect(think) as unable,
        ):
            for user in (closes, odd, quick, primary):
                await able(rig, user, form={})
            await unable.open("k")
            answer = await rig.agent("k").request(ELICITATION, FORM)
            assert answer["result"] == {"action": "decline"}
            await trio.sleep(MOMENT)
            users = (closes, odd, quick, primary, unable)
            assert [len(user.asked(ELICITATION)) for user in users] == [1, 1, 1, 1, 0]
            assert [withdrawn(user) for user in users] == [0, 0, 0, 1, 0]


async def test_a_url_goes_to_the_primary_only_and_its_completion_to_who_opened_it(
    autojump_clock: MockClock,
) -> None:
    url = {"mode": "url", "message": "log in", "url": "https://x", "elicitationId": "e1"}
    with trio.fail_after(60):
        async with (
            open_rig() as rig,
            rig.connect(think) as other,
            rig.connect(says({"action": "accept"})) as primary,
        ):
            await able(rig, other, url={})
            await able(rig, primary, url={})
            agent = rig.agent("k")
            assert (await agent.request(ELICITATION, url))["result"] == {"action": "accept"}
            for id in ("e2", "e1", "e1"):
                await agent.send({"method": "elicitation/complete", "params": {"elicitationId": id}})
            await trio.sleep(MOMENT)
            told = [
                [message for message in user.messages if message.method == "elicitation/complete"]
                for user in (other, primary)
            ]
            assert [len(messages) for messages in told] == [0, 1] and other.asked(ELICITATION) == []


async def test_a_url_that_the_primary_can_not_open_is_held_until_the_primary_can(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(says({"action": "accept"})) as other:
            await able(rig, other, url={})
            async with rig.connect(think) as primary:
                await able(rig, primary, form={})
                asking = other.later(rig.agent("k").request, ELICITATION, URL)
                await other.wait_phase("k", "waiting")
                await trio.sleep(MOMENT)
                assert other.asked(ELICITATION) == primary.asked(ELICITATION) == []
            assert (await asking.wait())["result"] == {"action": "accept"}


async def test_an_elicitation_of_a_request_goes_to_whose_request_it_is_under_its_own_id(
    autojump_clock: MockClock,
) -> None:
    """ACP §7: ids hide in parameters, too."""
    with trio.fail_after(60):
        habits = Habits(mute=frozenset({"_vendor/login"}))
        async with (
            open_rig(habits=habits) as rig,
            rig.connect(says(ACCEPTED)) as owner,
            rig.connect(think) as primary,
        ):
            session = await able(rig, owner, form={})
            await able(rig, primary, form={})
            await owner.status()  # so that its ids and the agent's differ
            owner.later(owner.call, "_vendor/login", sessionId=session)
            await trio.sleep(MOMENT)
            agent = rig.agent("k")
            (request,) = agent.got("_vendor/login")
            params = {**FORM, "requestId": request["id"]}
            response = await agent.request(ELICITATION, params, of_session=False)
            assert response["result"] == ACCEPTED and primary.asked(ELICITATION) == []
            (asked,) = owner.asked(ELICITATION)
            own = [message for message in owner.messages if message.method == ELICITATION]
            assert asked["requestId"] != request["id"] and "sessionId" not in asked and len(own) == 1


@pytest.mark.parametrize("number", [77, True, "1"])
async def test_an_elicitation_of_nobodys_request_is_held_and_shown_to_no_client(
    number: object, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(think) as user:
            await able(rig, user, form={})
            params = {**FORM, "requestId": number}
            asking = user.later(rig.agent("k").request, ELICITATION, params, of_session=False)
            await user.wait_phase("k", "waiting")
            (ask,) = (await user.call("_trio_broker/asks"))["asks"]
            assert user.asked(ELICITATION) == []
            await user.call("_trio_broker/answer", askId=ask["askId"], answer="deny")
            assert (await asking.wait())["result"] == {"action": "decline"}


@pytest.mark.parametrize(("params", "shown"), [(FORM, False), (choice(), True)])
async def test_an_elicitation_of_a_request_whose_client_can_not_show_it_is_held_or_a_permission_for_it(
    params: Json, shown: bool, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        habits = Habits(mute=frozenset({"_vendor/login"}))
        async with open_rig(habits=habits) as rig, rig.connect(think) as owner, rig.connect(think) as other:
            session = await owner.open("k")
            await able(rig, other, form={})
            owner.later(owner.call, "_vendor/login", sessionId=session)
            await trio.sleep(MOMENT)
            agent = rig.agent("k")
            (request,) = agent.got("_vendor/login")
            bound = {**params, "requestId": request["id"]}
            asking = owner.later(agent.request, ELICITATION, bound, of_session=False)
            await owner.wait_phase("k", "waiting")
            await trio.sleep(MOMENT)
            assert other.asked(ELICITATION) == other.asked(PERMISSION) == []
            assert [asked["sessionId"] for asked in owner.asked(PERMISSION)] == [session] * shown
            (ask,) = (await other.call("_trio_broker/asks"))["asks"]
            await other.call("_trio_broker/answer", askId=ask["askId"], answer="cancel")
            assert (await asking.wait())["result"] == {"action": "cancel"}


async def test_an_unknown_request_goes_to_the_primary_and_to_the_next_when_that_leaves(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(says({"by": "other"})) as other:
            await other.open("k")
            async with rig.connect(think) as primary:
                await primary.open("k")
                asking = other.later(rig.agent("k").request, "_vendor/thing", {})
                await other.wait_phase("k", "waiting")
                assert other.asked("_vendor/thing") == [] and len(primary.asked("_vendor/thing")) == 1
            assert (await asking.wait())["result"] == {"by": "other"}
