"""Nothing is approved that was not understood: policies, rules and people decide on the whole tool call."""

from __future__ import annotations

import posixpath
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from trio_broker.auth.call import KINDS, READS, Call
from trio_broker.auth.policy import ALLOW, Action, Policy, Rule, Unattended, decide
from trio_broker.config.config import Config, PolicyConfig
from trio_broker.protocol import jsonrpc
from trio_broker.session.permissions import UNATTENDED_AFTER
from trio_broker.session.tool_calls import ToolCalls
from trio_broker.testing.clients.user import Json, User
from trio_broker.testing.in_process.memory_agent import OPTIONS, MemoryAgent
from trio_broker.testing.in_process.rig import Rig, open_rig

PERMISSION = "session/request_permission"
RM: Json = {"toolCallId": "c", "title": "rm -rf /precious", "kind": "execute", "rawInput": {"command": "rm"}}
DENY_EXECUTE = Rule(Action.DENY, kind=("execute",))
DENY_RM = Rule(Action.DENY, title="rm -rf")


def config(*rules: Rule, default: Policy = Policy.APPROVE_ALL, **settings: Any) -> Config:
    return Config(policy=PolicyConfig(default=default, rules=rules, **settings))


async def request(agent: MemoryAgent, **tool_call: Any) -> str:
    """The option that a permission request gets, or its outcome."""
    response = await agent.request(PERMISSION, {"toolCall": tool_call, "options": OPTIONS})
    outcome = response["result"]["outcome"]
    return str(outcome.get("optionId") or outcome["outcome"])


async def rejects(message: object) -> object:
    await trio.lowlevel.checkpoint()
    return {"outcome": {"outcome": "selected", "optionId": "reject"}}


async def thinks(message: object) -> object:
    """A person who never answers."""
    await trio.sleep_forever()


SHORT: list[Json] = [
    {"toolCallId": "c"},
    {"toolCallId": "c", "title": "Bash"},
    {"toolCallId": "c", "title": None, "kind": None},
    {"toolCallId": "c", "kind": "read"},
    {"toolCallId": "c", "kind": "other", "title": "look around", "rawInput": {}},
]


@pytest.mark.parametrize("rule", [DENY_EXECUTE, DENY_RM])
@pytest.mark.parametrize("short", SHORT)
async def test_a_deny_rule_sees_what_was_announced(
    rule: Rule, short: Json, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig(config(rule)) as rig, rig.connect(thinks) as user:
            await user.open("k")
            agent = rig.agent("k")
            await agent.update("tool_call", **RM)
            await agent.update("tool_call_update", toolCallId="c", status="in_progress")
            assert await request(agent, **short) == "reject"
            assert user.asked() == []


async def test_the_whole_call_reaches_people_programs_and_the_log(autojump_clock: MockClock) -> None:
    diff = {"type": "diff", "path": "/a", "oldText": "1", "newText": "2"}
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(thinks) as user, trio.open_nursery() as nursery:
            await user.open("k", policy="ask")
            agent = rig.agent("k")
            await agent.update("tool_call", **RM)
            await agent.update("tool_call_update", toolCallId="c", content=[diff])
            nursery.start_soon(request_nothing, agent, {"toolCallId": "c"})
            await trio.sleep(1)
            whole = {**RM, "content": [diff]}
            assert [asked["toolCall"] for asked in user.asked()] == [whole]
            (listed,) = (await user.call("_trio_broker/asks"))["asks"]
            assert (listed["toolCall"], listed["title"], listed["kind"]) == (whole, RM["title"], "execute")
            (event,) = [event for event in user.events if event["kind"] == "ask"]
            assert event["params"]["toolCall"] == whole and event["title"] == RM["title"]
            (other,) = (await user.call("_trio_broker/asks", askId=listed["askId"]))["asks"]
            assert other["askId"] == listed["askId"]
            assert (await user.call("_trio_broker/asks", askId="0-0"))["asks"] == []
            nursery.cancel_scope.cancel()


async def request_nothing(agent: MemoryAgent, tool_call: Json) -> None:
    await request(agent, **tool_call)


async def test_a_request_that_says_it_all_passes_byte_for_byte(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(thinks) as user, trio.open_nursery() as nursery:
            session = await user.open("k", policy="ask")
            agent = rig.agent("k")
            await agent.update("tool_call", toolCallId="c", title="x", kind="edit", status="pending")
            call = b'{ "kind":"edit", "toolCallId":"c", "title":"\\u0078", "_meta":{"a": 1.0} }'
            params = b'{"sessionId":"%b", "toolCall":%b,"options":[]}' % (session.encode(), call)
            line = b'{"jsonrpc":"2.0","id":1,"method":"session/request_permission","params":%b}\n'
            nursery.start_soon(agent.write, line % params)
            await trio.sleep(1)
            (asked,) = [message for message in user.messages if message.method == PERMISSION]
            assert call in asked.raw


@pytest.mark.parametrize("number", ["1e999", "9" * 5000])
async def test_a_request_with_a_number_that_can_not_be_held_is_refused(
    number: str, autojump_clock: MockClock
) -> None:
    """It ended the session."""
    with trio.fail_after(60):
        async with open_rig(config()) as rig, rig.connect(thinks) as user:
            session = await user.open("k")
            agent = rig.agent("k")
            agent._answers[77] = trio.Event(), {}
            call = f'"options":[],"toolCall":{{"toolCallId":"c","x":{number}}}'
            update = f'"update":{{"sessionUpdate":"usage_update","used":{number}}}'
            lines = {
                '"id":77,"method":"session/request_permission"': call,
                '"method":"session/update"': update,
                '"method":"$/cancel_request"': f'"requestId":{number}',
                '"method":"elicitation/complete"': f'"elicitationId":{number}',
            }
            for head, members in lines.items():
                text = f'{{"jsonrpc":"2.0",{head},"params":{{"sessionId":"{session}",{members}}}}}\n'
                await agent.write(text.encode())
            assert await user.prompt(session, "say alive") == "end_turn"
            (answer,) = [message for message in agent.received if message.get("id") == 77]
            assert answer["error"]["code"] == jsonrpc.INVALID_PARAMS


async def test_a_deny_in_doubt_asks_under_approve_all(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(config(DENY_EXECUTE)) as rig, rig.connect(rejects) as user:
            await user.open("k")
            assert await request(rig.agent("k"), toolCallId="never announced") == "reject"
            assert len(user.asked()) == 1
            assert await request(rig.agent("k"), toolCallId="c", kind="read") == "allow"
            (event,) = [event for event in user.events if event["kind"] == "ask"]
            assert event["reason"] == "policy rule 1 cannot tell whether it matches: the call names no kind"


async def nobody(rig: Rig, user: User) -> MemoryAgent:
    """The agent of a session that all clients have left."""
    session = await user.open("k")
    await user.call("initialize", protocolVersion=1)
    await user.call("_trio_broker/detach", sessionId=session)
    return rig.agent("k")


async def test_a_doubt_is_held_where_somebody_may_come(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with (
            open_rig(config(DENY_EXECUTE)) as rig,
            rig.connect(thinks) as user,
            trio.open_nursery() as nursery,
        ):
            agent = await nobody(rig, user)
            nursery.start_soon(request_nothing, agent, {"toolCallId": "c"})
            await trio.sleep(30)
            (listed,) = (await user.call("_trio_broker/asks"))["asks"]
            assert "cannot tell" in listed["reason"]
            answered = await user.call("_trio_broker/answer", askId=listed["askId"], answer="allow")
            assert answered["optionId"] == "allow"


async def test_a_doubt_is_denied_where_nobody_may_be_asked(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        settings = config(DENY_EXECUTE, unattended=Unattended.DENY)
        async with open_rig(settings) as rig, rig.connect(thinks) as user:
            agent = await nobody(rig, user)
            assert await request(agent, toolCallId="c") == "reject"
            events = (await user.call("_trio_broker/events", key="k", since=1))["events"]
            (answer,) = [event for event in events if event["kind"] == "answer"]
            assert "policy rule 1 cannot tell whether it matches" in answer["note"]
            assert 'unattended = "deny"' in answer["note"]


async def test_a_prompt_with_a_policy_of_its_own_waits_for_nobody(autojump_clock: MockClock) -> None:
    """A script gave --approve-all because nobody is there to answer."""
    with trio.fail_after(60):
        async with (
            open_rig(config(DENY_EXECUTE, default=Policy.ASK)) as rig,
            rig.connect() as user,
            trio.open_nursery() as nursery,
        ):
            session = await user.open("k")
            nursery.start_soon(partial(user.prompt, session, "wait 20", policy="approve-all"))
            await trio.sleep(1)
            before = trio.current_time()
            assert await request(rig.agent("k"), toolCallId="c") == "reject"
            assert trio.current_time() - before == pytest.approx(UNATTENDED_AFTER, abs=0.5)


async def test_approve_reads_asks_about_a_read_that_was_announced_as_something_else(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(60):
        async with open_rig(config(default=Policy.APPROVE_READS)) as rig, rig.connect(rejects) as user:
            await user.open("k")
            agent = rig.agent("k")
            await agent.update("tool_call", **RM)
            await agent.update("tool_call_update", toolCallId="c", kind="read", title="cat", rawInput={})
            assert await request(agent, toolCallId="c", kind="read") == "reject"
            assert len(user.asked()) == 1
            await agent.update("tool_call", toolCallId="d", kind="read", title="cat")
            assert await request(agent, toolCallId="d") == "allow"


async def test_an_allow_rule_does_not_follow_a_link_out_of_its_directory(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    (tmp_path / "lnk").symlink_to("/etc")
    rule = Rule(Action.ALLOW, path=".")
    with trio.fail_after(60):
        async with open_rig(config(rule, default=Policy.DENY_ALL)) as rig, rig.connect(thinks) as user:
            await user.open("k", cwd=str(tmp_path))
            agent = rig.agent("k")
            assert await request(agent, toolCallId="a", kind="edit", locations=[{"path": "new"}]) == "allow"
            assert (
                await request(agent, toolCallId="b", kind="edit", locations=[{"path": "lnk/x"}]) == "reject"
            )


@pytest.mark.parametrize("policy", [policy.value for policy in Policy])
async def test_a_turn_with_actions_that_nobody_was_asked_about_says_so_at_its_end(
    policy: str, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(rejects) as user:
            session = await user.open("k", policy=policy)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(user.prompt, session, "wait 5")
                await trio.sleep(1)
                await rig.agent("k").update(
                    "tool_call", toolCallId="c", kind="execute", title="touch x", status="completed"
                )
            await user.prompt(session, "say that is all")
            kinds = [(event["kind"], event.get("text", "")) for event in user.events]
            notes = [at for at, (kind, text) in enumerate(kinds) if kind == "note" and "'touch x'" in text]
            assert len(notes) == (policy != "approve-all")
            assert all(kinds[at + 1][0] == "ended" for at in notes)


# For random policies, tool calls, and orders of announcement, update and request

ROOTS = ["/w", "/w/src", "/etc"]
PATHS = st.sampled_from(
    ["/w/a", "/w/src/b", "/etc/passwd", "src/c", "../etc/x", "/w/../etc/y", "$HOME/z", "/"]
)
members = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from(KINDS) | st.none(),
        "title": st.sampled_from(["rm -rf x", "Bash", "read it", "touch y"]) | st.none(),
        "locations": st.lists(st.fixed_dictionaries({"path": PATHS}), max_size=2),
        "rawInput": st.dictionaries(st.sampled_from(["path", "command", "cwd", "x"]), PATHS, max_size=2),
        "content": st.lists(
            st.fixed_dictionaries({"type": st.just("diff"), "path": PATHS, "newText": st.just("n")}),
            max_size=1,
        ),
        "status": st.sampled_from(["pending", "in_progress"]),
    },
)
steps = st.lists(st.tuples(st.sampled_from(["tool_call", "tool_call_update"]), members), max_size=4)
rules = st.lists(
    st.builds(
        Rule,
        st.sampled_from(Action),
        kind=st.none() | st.none() | st.lists(st.sampled_from(KINDS), min_size=1, max_size=3).map(tuple),
        title=st.none() | st.none() | st.sampled_from(["rm -rf", "^read", "Bash", "touch"]),
        path=st.none() | st.sampled_from(ROOTS),
    ),
    max_size=3,
)


@settings(max_examples=600)  # most calls are denied or asked about: these say nothing
@given(rules, st.sampled_from([Policy.APPROVE_ALL, Policy.APPROVE_READS, Policy.DENY_ALL]), steps, members)
def test_no_call_is_allowed_that_a_person_would_have_had_to_deny(
    rules: list[Rule], policy: Policy, steps: list[tuple[str, Json]], asked: Json
) -> None:
    seen = ToolCalls()
    whole: Json = {}
    for tag, changes in steps:
        whole |= {name: value for name, value in changes.items() if value is not None}
        update = {"sessionUpdate": tag, "toolCallId": "c", **changes}
        params = jsonrpc.encode({"sessionId": "s", "update": update})
        seen.add_updates(jsonrpc.notification("session/update", params))
    whole |= {name: value for name, value in asked.items() if value is not None}
    call = seen.add_request("s", {"toolCallId": "c", **asked})
    decision = decide(
        rules,
        policy,
        Call(call.members, cwd="/w", home="/home/me", kinds=tuple(call.kinds), titles=tuple(call.titles)),
        [{"optionId": "yes", "kind": "allow_once"}, {"optionId": "no", "kind": "reject_once"}],
    )
    if decision.option_id == "yes":
        assert person(rules, policy, whole) is Action.ALLOW


def person(rules: list[Rule], policy: Policy, whole: Json) -> Action:
    """What these rules say to somebody who reads the whole call and takes each word of it as it stands."""
    for rule in rules:
        if fits(rule, whole):
            return rule.action
    carries = bool(whole.get("content")) or "command" in whole.get("rawInput", {})
    reads = whole.get("kind") in READS and not carries
    return (
        Action.ALLOW
        if policy is Policy.APPROVE_ALL or (policy is Policy.APPROVE_READS and reads)
        else Action.DENY
    )


def fits(rule: Rule, whole: Json) -> bool:
    """A rule that allows fits only a call that lies in its directory with all of its paths; others by one of them."""
    if rule.kind is not None and whole.get("kind", "other") not in rule.kind:
        return False
    if rule.title is not None and rule.title.strip("^") not in whole.get("title", ""):
        return False
    if rule.path is None:
        return True
    texts = [item["path"] for name in ("locations", "content") for item in whole.get(name, [])]
    texts += list(whole.get("rawInput", {}).values())
    paths = [posixpath.normpath(posixpath.join("/w", text.replace("$HOME", "/home/me"))) for text in texts]
    inside = [path == rule.path or path.startswith(rule.path + "/") for path in paths]
    if not texts and whole.get("kind") == "search":
        inside = ["/w".startswith(rule.path)]  # the working directory
    if rule.action is Action.ALLOW:
        return bool(inside) and all(inside) and "command" not in whole.get("rawInput", {})
    return any(inside)


def test_the_person_is_not_asleep() -> None:
    """The judge of the test above denies, and allows, where it should."""
    assert person([], Policy.APPROVE_READS, {"kind": "read", "content": [{"path": "/w/a"}]}) is Action.DENY
    assert person([DENY_EXECUTE], Policy.APPROVE_ALL, {"kind": "execute"}) is Action.DENY
    assert (
        person([Rule(Action.ALLOW, path="/w")], Policy.DENY_ALL, {"locations": [{"path": "/w/a"}]})
        is Action.ALLOW
    )
    assert set(ALLOW) == {"allow_once", "allow_always"}
