"""Scopes hold at every method: each method with each scope, once with parameters that it would take."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import trio_broker
from trio_broker.auth.grant import Grant, Scope
from trio_broker.broker.status import ProcessTree
from trio_broker.errors import BrokerError, Forbidden
from trio_broker.protocol import jsonrpc
from trio_broker.server.methods import scopes
from trio_broker.server.serve import HANDLERS
from trio_broker.testing.clients.user import Json, User
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import Rig, open_rig

OBSERVE, PROMPT, ANSWER, ADMIN = Scope
TEXT = [{"type": "text", "text": "say hi"}]
INITIALIZE = {"protocolVersion": 1, "clientCapabilities": {}}
ID: Json = {"sessionId": "memory-4000000"}  # what the first agent in memory calls its session

# Every method there is, by the one scope that it needs, with parameters that do something. It repeats the table in
# scopes.py on purpose: to change who may do what takes two edits, and the second is a thought.
NEEDS: dict[Scope, dict[str, Json]] = {
    OBSERVE: {
        "initialize": INITIALIZE,
        "session/list": {},
        "session/load": ID | {"cwd": "/tmp", "mcpServers": []},
        "session/resume": ID | {"cwd": "/tmp", "mcpServers": []},
        "session/close": ID,
        "_trio_broker/status": {},
        "_trio_broker/sessions": {},
        "_trio_broker/agents": {},
        "_trio_broker/attach": ID,
        "_trio_broker/detach": ID,
        "_trio_broker/positions": {},
        "_trio_broker/asks": {},
        "_trio_broker/events": ID,
        "_trio_broker/history": ID,
        "_trio_broker/logs": ID,
        "_trio_broker/queue": ID,
        "_trio_broker/wait": ID,
        "_trio_broker/watch": {},
    },
    PROMPT: {
        "session/new": {"cwd": "/tmp", "mcpServers": []},
        "session/fork": ID,
        "session/prompt": ID | {"prompt": TEXT},
        "_trio_broker/bind": {"agent": "demo"},
        "_trio_broker/open": {"key": "other", "cwd": "/tmp"},
        "_trio_broker/submit": ID | {"prompt": TEXT},
        "_trio_broker/cancel": ID,
        "_trio_broker/queue_edit": ID | {"promptId": "p", "position": 1},
        "_trio_broker/close": ID,
        "_trio_broker/restart": ID,
    },
    ANSWER: {
        "_trio_broker/answer": {"askId": "1-1", "answer": "allow"},
        "session/set_mode": ID | {"modeId": "yolo"},
        "session/set_config_option": ID | {"configId": "mode", "value": "yolo"},
        "session/set_model": ID | {"modelId": "large"},
    },
    ADMIN: {
        "session/delete": ID,
        "authenticate": {"methodId": "key"},
        "logout": {},
        "session/unheard_of": ID,
        "session/cancel": ID,  # as a request nobody knows it, so an agent would get it
        "$/cancel_request": ID | {"requestId": 1},
        "_trio_broker/kill": ID,
        "_trio_broker/delete": ID,
        "_trio_broker/prune": {"olderThan": 1.0},
        "_trio_broker/import": {"lines": []},
        "_trio_broker/export": ID,
        "_trio_broker/forget": ID,
        "_trio_broker/launch": {"cwd": "/tmp"},
        "_trio_broker/reload": {},
        "_trio_broker/shutdown": {},
        "_trio_broker/token_new": {"name": "x", "scopes": ["admin"]},
        "_trio_broker/tokens": {},
        "_trio_broker/token_revoke": {"name": "x"},
        "_trio_broker/unheard_of": {},
    },
}
SCOPE_OF: Mapping[str, Scope] = {method: scope for scope, methods in NEEDS.items() for method in methods}
OWNER_ONLY = {"_trio_broker/launch"}  # an admin's token is not enough
MAY: dict[Scope, set[Scope]] = {
    OBSERVE: {OBSERVE},
    PROMPT: {OBSERVE, PROMPT},
    ANSWER: {OBSERVE, ANSWER},
    ADMIN: set(Scope),
}


def grant_of(*scopes: Scope, name: str = "alice", **more: Any) -> Grant:
    return Grant(name, frozenset(scopes), **({} if ADMIN in scopes else {"roots": ("/tmp",)} | more))


async def outcome(user: User, method: str, params: Json) -> BrokerError | None:
    """The error it ends with, None if it has a result, or none within a minute."""
    try:
        with trio.move_on_after(60):
            await user.call(method, **params)
    except BrokerError as error:
        return error
    return None


@asynccontextmanager
async def open_quiet_rig() -> AsyncGenerator[Rig, None]:
    """One that measures no processes: a clock that jumps does not wait for threads."""
    async with open_rig() as rig:
        rig.broker.snapshots.meter.measure_trees = nothing
        yield rig


async def nothing(_: Iterable[int]) -> dict[int, ProcessTree]:
    await trio.lowlevel.checkpoint()
    return {}


async def introduced(rig: Rig, key: str = "k") -> None:
    """A session of alice's is there."""
    async with rig.connect(grant=grant_of(PROMPT)) as user:
        assert await user.open(key) == ID["sessionId"]


def test_every_method_of_the_broker_has_a_row() -> None:
    """A verb without one is refused to everybody but admins: give it a row in scopes.py, and one in NEEDS here."""
    requests = {*HANDLERS.sync_methods, *HANDLERS.async_methods}
    assert requests - {*scopes.REQUESTS} == set()
    assert requests - {*SCOPE_OF} == set()
    assert {*HANDLERS.notifications} == {*scopes.NOTIFICATIONS}
    assert {method: scopes.of_request(method) for method in SCOPE_OF} == SCOPE_OF
    assert {*scopes.REQUESTS} - {*SCOPE_OF} == set()


@pytest.mark.parametrize("method", SCOPE_OF)
async def test_a_method_is_refused_below_its_scope_and_not_at_it(
    method: str, autojump_clock: MockClock
) -> None:
    with trio.fail_after(600):
        async with open_quiet_rig() as rig:
            await introduced(rig)
            for scope in Scope:  # admin is the last: it may end everything
                async with rig.connect(grant=grant_of(scope)) as user:
                    await user.call("initialize", **INITIALIZE)
                    heard = len(rig.agent("k").received)
                    error = await outcome(user, method, NEEDS[SCOPE_OF[method]][method])
                    allowed = SCOPE_OF[method] in MAY[scope]
                    refused = not allowed or method in OWNER_ONLY
                    assert isinstance(error, Forbidden) is refused, (scope, error)
                    if error is not None and not allowed:
                        assert f"--scope {SCOPE_OF[method].value}" in error.message
                        assert error.rpc_code == -32003
                        assert len(rig.agent("k").received) == heard


@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize("method", ["session/cancel", "session/prompt", "session/unheard_of", "$/unheard_of"])
async def test_a_notification_reaches_an_agent_only_with_its_scope(
    method: str, scope: Scope, autojump_clock: MockClock
) -> None:
    """Above all `session/prompt`: as a notification it would go past queue and log."""
    reaches = {"session/cancel": {PROMPT, ADMIN}, "session/unheard_of": {ADMIN}}.get(method, set())
    with trio.fail_after(600):
        async with open_rig() as rig, rig.connect(grant=grant_of(scope)) as user:
            await introduced(rig)
            async with rig.connect() as owner:
                owner.later(owner.prompt, await owner.open("k"), "hang")
                await owner.wait_phase("k", "working")
                user.client.notify(method, ID | {"prompt": TEXT, "requestId": 1})
                await user.status()
                await trio.sleep(1)
                got = [message for message in rig.agent("k").got(method) if "id" not in message]
                assert bool(got) is (scope in reaches)


async def test_scopes_are_a_set_and_a_token_may_have_two(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_quiet_rig() as rig, rig.connect(grant=grant_of(PROMPT, ANSWER)) as user:
            await introduced(rig)
            await user.call("initialize", **INITIALIZE)
            for method, scope in SCOPE_OF.items():
                if method not in ("_trio_broker/close", "session/close"):
                    error = await outcome(user, method, NEEDS[scope][method])
                    assert isinstance(error, Forbidden) is (scope is ADMIN), (method, error)


PAST_THE_GRANT = re.compile(
    r"(?<!trio_broker\.)broker\.(find|sessions|status|facts|pool(?!\.limit))\b(?!\((.*connection\.)?grant)"
)


def test_handlers_look_for_sessions_through_the_grant_only() -> None:
    """`connection.find`, `.session` and `.sessions` know what is the client's business; the broker does not."""
    server = Path(trio_broker.__file__).parent / "server"
    handlers = [server / "websocket.py", *(server / "methods").glob("*.py")]
    assert len(handlers) > 8
    for file in handlers:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            assert not PAST_THE_GRANT.search(line), f"{file}:{number}: looks past the client's grant"


async def test_what_is_refused_leaves_the_connection_as_it_was(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig() as rig:
            stream = rig.raw(grant_of(OBSERVE))
            for _ in range(3):  # under one id: it is free again each time
                await stream.send_all(jsonrpc.request(1, "_trio_broker/shutdown", b"{}"))
                answer = jsonrpc.decode(await stream.receive_some())
                assert (answer["id"], answer["error"]["data"]["kind"]) == (1, "forbidden")
            await stream.aclose()
            assert not rig.broker.stopping.is_set()


async def test_who_may_not_prompt_wakes_no_agent_by_reading(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig(habits=Habits(resume=True)) as rig:
            await introduced(rig)
            assert rig.session("k").suspend_if_idle()
            async with rig.connect(grant=grant_of(OBSERVE, ANSWER)) as user:
                await user.call("initialize", **INITIALIZE)
                await user.wait_phase("k", "suspended")
                for method in ("session/load", "session/resume"):
                    await user.call(method, **ID, cwd="/tmp", mcpServers=[])
                await user.call("_trio_broker/attach", **ID, since=1)
                assert (await user.view("k"))["phase"] == "suspended"
            assert len(rig.agents.spawned) == 1 + len(rig.broker.registry.control_agents())
