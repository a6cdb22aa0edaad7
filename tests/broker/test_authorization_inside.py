"""What a client inside an agent may: look everywhere, prompt other sessions, open some; nothing in its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from trio_broker.auth.grant import Grant, InsideAgent, Scope
from trio_broker.errors import BrokerError, Forbidden
from trio_broker.server.methods import scopes
from trio_broker.testing.clients.user import Json, User
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import open_rig

BOUND = 600  # virtual seconds
WHY = "it runs in an agent"
TEXT = [{"type": "text", "text": "say no"}]
ANSWERS = [name for name, scope in scopes.REQUESTS.items() if scope is Scope.ANSWER]
OWNERS = [name for name, scope in scopes.REQUESTS.items() if scope is Scope.ADMIN]


def inside(key: str | None = "own", root: object = "/tmp") -> Grant:
    chosen = Scope.OBSERVE if key is None else Scope.PROMPT
    return Grant(
        f"agent of session {key!r}",
        frozenset({chosen}),
        roots=(str(root),),
        inside=InsideAgent(WHY, "do not", key),
    )


async def refused(user: User, method: str, **params: object) -> str:
    with pytest.raises(BrokerError) as caught:
        await user.call(method, **params)
    assert isinstance(caught.value, Forbidden), (method, caught.value)
    message = caught.value.message
    assert WHY in message and message.endswith("do not") and "the token" not in message, message
    return message


@pytest.mark.parametrize("method", [*ANSWERS, *OWNERS, "_trio_broker/unheard_of", "unheard/of"])
async def test_what_is_the_owners_is_refused_in_every_session(method: str, autojump_clock: MockClock) -> None:
    with trio.fail_after(BOUND):
        async with open_rig() as rig, rig.connect() as owner, rig.connect(grant=inside()) as user:
            await owner.open("own")
            session = await owner.open("other")
            for key in ("own", "other"):
                await refused(user, method, key=key, sessionId=session)
            assert (await owner.status())["counts"]["idle"] == 2


OWN: list[tuple[str, Json]] = [
    ("_trio_broker/open", {"cwd": "/tmp"}),
    ("_trio_broker/open", {"cwd": "/tmp", "create": False}),
    ("_trio_broker/open", {"cwd": "/tmp", "fresh": True}),
    ("_trio_broker/submit", {"prompt": TEXT}),
    ("_trio_broker/submit", {"prompt": TEXT, "ifBusy": "interrupt"}),
    ("_trio_broker/submit", {"prompt": TEXT, "policy": "deny-all"}),
    ("_trio_broker/cancel", {}),
    ("_trio_broker/cancel", {"promptId": "waits"}),
    ("_trio_broker/queue_edit", {"promptId": "waits", "remove": True}),
    ("_trio_broker/queue_edit", {"promptId": "waits", "position": 1}),
    ("_trio_broker/queue_edit", {"promptId": "waits", "prompt": TEXT}),
    ("_trio_broker/close", {}),
    ("_trio_broker/restart", {}),
    ("_trio_broker/attach", {"role": "controller"}),
]


@pytest.mark.parametrize(("method", "more"), OWN, ids=str)
async def test_its_own_session_is_not_acted_on(method: str, more: Json, autojump_clock: MockClock) -> None:
    with trio.fail_after(BOUND):
        async with open_rig() as rig, rig.connect() as owner, rig.connect(grant=inside()) as user:
            session = await owner.open("own")
            turn = owner.later(owner.prompt, session, "wait 5; say done")
            await owner.wait_phase("own", "working")
            await owner.submit(session, "say second", promptId="waits")
            assert "may look at session 'own' but not act on it" in await refused(
                user, method, key="own", **more
            )
            assert await turn.wait() == "end_turn"
            await owner.wait_phase("own", "idle")
            assert rig.agent("own").prompts() == ["wait 5; say done", "say second"]


async def test_plain_acp_does_not_act_on_its_own_session_either(autojump_clock: MockClock) -> None:
    with trio.fail_after(BOUND):
        async with open_rig() as rig, rig.connect() as owner, rig.connect(grant=inside()) as user:
            session = await owner.open("own")
            turn = owner.later(owner.prompt, session, "wait 5; say done")
            await owner.wait_phase("own", "working")
            await user.call("initialize", protocolVersion=1)
            await user.call("_trio_broker/bind", key="own")
            await refused(user, "session/new", cwd="/tmp", mcpServers=[])
            for method in ("session/load", "session/resume"):
                await user.call(method, sessionId=session, cwd="/tmp", mcpServers=[])
                await refused(user, "session/prompt", sessionId=session, prompt=TEXT)
                user.client.notify("session/cancel", {"sessionId": session})
            await user.call("session/close", sessionId=session)
            assert await turn.wait() == "end_turn"
            assert (await owner.view("own"))["phase"] == "idle", "it has only let go of it"
            assert rig.agent("own").prompts() == ["wait 5; say done"]


async def test_a_look_at_its_own_session_wakes_no_agent_and_makes_it_nobodys_audience(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(BOUND):
        habits = Habits(load=True)
        async with open_rig(habits=habits) as rig, rig.connect() as owner:
            session = await owner.open("own")
            await owner.call("_trio_broker/detach", key="own")
            assert rig.session("own").suspend_if_idle()
            async with rig.connect(grant=inside()) as user:
                await user.call("initialize", protocolVersion=1)
                await user.call("session/load", sessionId=session, cwd="/tmp", mcpServers=[])
                for more in ({}, {"role": "observer"}):
                    await user.call("_trio_broker/attach", key="own", **more)
                    assert rig.session("own").router.controllers == []
                for method in ("events", "history", "logs", "queue", "asks", "wait"):
                    await user.call(f"_trio_broker/{method}", key="own")
                assert (await user.view("own"))["phase"] == "suspended"
            assert len(rig.agents.spawned) == 1


async def test_other_sessions_are_prompted_in_its_name_and_it_is_asked_nothing(
    autojump_clock: MockClock,
) -> None:
    asked: list[str] = []

    async def on_request(message: object) -> Json:
        asked.append(str(message))
        await trio.lowlevel.checkpoint()
        return {"outcome": {"outcome": "selected", "optionId": "allow"}}

    with trio.fail_after(BOUND):
        async with open_rig() as rig, rig.connect() as owner:
            await owner.open("own")
            session = await owner.open("other", cwd="/usr", policy="ask")
            async with rig.connect(on_request, grant=inside()) as user:
                await user.call("initialize", protocolVersion=1)
                turn = user.later(user.prompt, session, "ask edit; say done")
                await owner.wait_phase("other", "waiting")
                (ask,) = (await user.call("_trio_broker/asks"))["asks"]
                await refused(user, "_trio_broker/answer", askId=ask["askId"], answer="allow")
                assert all("agent" not in name for name in ask["asked"]), "it is not asked"
                await owner.call("_trio_broker/answer", askId=ask["askId"], answer="allow")
                assert await turn.wait() == "end_turn"
                page = await user.call("_trio_broker/events", key="other", since=1)
                (started,) = (event for event in page["events"] if event["kind"] == "started")
                (answer,) = (event for event in page["events"] if event["kind"] == "answer")
                assert started["author"].startswith("agent of session 'own'/client-")
                assert answer["by"].startswith("owner (") and asked == []
            assert {view["key"] for view in (await owner.status())["sessions"]} == {"own", "other"}


async def test_it_chooses_no_policy_but_to_deny(autojump_clock: MockClock) -> None:
    with trio.fail_after(BOUND):
        async with open_rig() as rig, rig.connect() as owner, rig.connect(grant=inside()) as user:
            session = await owner.open("other")
            for name in ("approve-all", "approve-reads", "ask"):
                for method in ("open", "submit", "bind"):
                    params = {"key": "other", "cwd": "/tmp", "prompt": TEXT, "policy": name}
                    assert "policies" in await refused(user, f"_trio_broker/{method}", **params)
                meta = {"trio-broker": {"policy": name}}
                await refused(user, "session/prompt", sessionId=session, prompt=TEXT, _meta=meta)
            assert await user.prompt(session, "ask x; say hi", policy="deny-all") == "end_turn"


async def test_it_opens_sessions_below_its_roots_and_ends_those_alone(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    stdio = {"name": "x", "command": "/bin/sh", "args": [], "env": []}
    with trio.fail_after(BOUND):
        async with open_rig() as rig, rig.connect(grant=inside(root=tmp_path)) as user:
            for params in (
                {"cwd": "/"},
                {"cwd": str(tmp_path), "command": ["/bin/sh"]},
                {"cwd": str(tmp_path), "env": {"LD_PRELOAD": "x"}},
                {"cwd": str(tmp_path), "mcpServers": [stdio]},
            ):
                await refused(user, "_trio_broker/open", key="new", **params)
            assert rig.broker.pool.snapshot() == ()
            session = await user.open("new", cwd=str(tmp_path))
            assert await user.prompt(session, "say hi") == "end_turn"
            async with rig.connect(grant=inside("another")) as other:
                await refused(other, "_trio_broker/close", key="new")
            await user.call("_trio_broker/close", key="new")
            assert rig.broker.pool.snapshot() == ()


async def test_of_an_unknown_session_it_only_looks(autojump_clock: MockClock) -> None:
    with trio.fail_after(BOUND):
        async with open_rig() as rig, rig.connect() as owner, rig.connect(grant=inside(None)) as user:
            session = await owner.open("other")
            await user.call("initialize", protocolVersion=1)
            for method, scope in scopes.REQUESTS.items():
                if scope is not Scope.OBSERVE:
                    await refused(user, method, sessionId=session, key="other", cwd="/tmp", prompt=TEXT)
            await refused(user, "_trio_broker/attach", key="other", role="controller")
            await user.call("_trio_broker/attach", key="other")
            assert [view["key"] for view in (await user.status())["sessions"]] == ["other"]
