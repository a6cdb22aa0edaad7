"""What a token may open, and with what: directories below its roots, no programs of its own, no policy beyond it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_broker.auth.grant import Grant, Scope
from trio_broker.errors import BrokerError, Forbidden, NoSession
from trio_broker.testing.clients.user import Json, User
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import Rig, open_rig

BOUND = 600  # virtual seconds
STDIO: Json = {"name": "x", "command": "/bin/sh", "args": ["-c", "id"], "env": []}
HTTP: Json = {"type": "http", "name": "x", "url": "https://x", "headers": []}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory, with a link in it that leads out of it."""
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    (tmp_path / "rootless").mkdir()
    (root / "link").symlink_to(tmp_path / "rootless")
    return root


def token(*roots: Path, scopes: tuple[Scope, ...] = (Scope.PROMPT,), **more: Any) -> Grant:
    return Grant("alice", frozenset(scopes), roots=tuple(map(str, roots)), **more)


async def refused(user: User, method: str, **params: Any) -> BrokerError:
    with pytest.raises(BrokerError) as caught:
        await user.call(method, **params)
    return caught.value


async def test_sessions_are_opened_below_the_roots_only(root: Path, autojump_clock: MockClock) -> None:
    outside = [root.parent, f"{root}/..", f"{root}/link", f"{root}less", "/", "root", f"{root}\0", "/none"]
    with trio.fail_after(BOUND):
        async with open_rig() as rig, rig.connect(grant=token(root)) as user:
            await user.call("initialize", protocolVersion=1)
            for cwd in map(str, outside):
                for method in ("_trio_broker/open", "session/new"):
                    error = await refused(user, method, key="k", cwd=cwd, mcpServers=[])
                    assert isinstance(error, Forbidden) and "--root DIR" in error.message, cwd
                more = [str(root), cwd]
                error = await refused(
                    user, "session/new", cwd=str(root), mcpServers=[], additionalDirectories=more
                )
                assert isinstance(error, Forbidden) and "additionalDirectories" in error.message
            assert rig.broker.pool.snapshot() == ()
            await user.open("k", cwd=str(root / "deep"))
            assert rig.agent("k").got("session/new")[0]["params"]["cwd"] == str(root / "deep")


async def test_without_roots_none_is_opened_and_an_admin_opens_anywhere(autojump_clock: MockClock) -> None:
    with trio.fail_after(BOUND):
        async with open_rig() as rig, rig.connect(grant=token()) as user:
            error = await refused(user, "_trio_broker/open", key="k", cwd="/tmp")
            assert isinstance(error, Forbidden) and "nowhere" in error.message
            async with rig.connect(grant=token(scopes=(Scope.ADMIN,))) as admin:
                await admin.open("k", cwd="/")


@pytest.mark.parametrize("method", ["_trio_broker/open", "session/new", "session/load", "session/resume"])
@pytest.mark.parametrize(
    "server",
    [STDIO, STDIO | {"type": "stdio"}, HTTP | {"command": "/bin/sh"}, HTTP | {"type": "acp"}, {}],
    ids=str,
)
async def test_mcp_servers_that_are_programs_are_an_admins(
    method: str, server: object, autojump_clock: MockClock
) -> None:
    with trio.fail_after(BOUND):
        async with open_rig() as rig, rig.connect(grant=token(Path("/tmp"))) as user:
            await user.call("initialize", protocolVersion=1)
            which = {"sessionId": await user.open("there")} if method[-1] in "de" else {"key": "k"}
            params = which | {"cwd": "/tmp", "mcpServers": [HTTP, server]}
            error = await refused(user, method, **params)
            assert isinstance(error, Forbidden) and "--scope admin" in error.message
            assert len(rig.broker.pool.snapshot()) == (1 if "sessionId" in which else 0)
            await user.call(method, **params | {"mcpServers": [HTTP]})


@pytest.mark.parametrize("method", ["_trio_broker/open", "_trio_broker/bind"])
@pytest.mark.parametrize(
    ("params", "scope"),
    [
        ({"command": ["/bin/sh"]}, "admin"),
        ({"env": {"LD_PRELOAD": "/tmp/x.so"}}, "admin"),
        ({"policy": "approve-all"}, "answer"),
        ({"policy": "ask"}, "answer"),
    ],
    ids=str,
)
async def test_programs_environments_and_policies_need_their_scope(
    method: str, params: Json, scope: str, autojump_clock: MockClock
) -> None:
    with trio.fail_after(BOUND):
        async with open_rig() as rig, rig.connect(grant=token(Path("/tmp"))) as user:
            error = await refused(user, method, key="k", cwd="/tmp", **params)
            assert isinstance(error, Forbidden) and f"--scope {scope}" in error.message
            await user.call(method, key="k", cwd="/tmp", policy="deny-all")


async def test_a_prompt_carries_no_policy_of_its_own_and_no_extras(autojump_clock: MockClock) -> None:
    with trio.fail_after(BOUND):
        async with open_rig() as rig, rig.connect(grant=token(Path("/tmp"))) as user:
            session = await user.open("k")
            with pytest.raises(Forbidden, match="--scope answer"):
                await user.prompt(session, "say hi", policy="approve-all")
            prompt = [{"type": "text", "text": "say hi"}]
            meta = {"claudeCode": {"options": {"permissionMode": "yolo"}}, "traceparent": "t"}
            await user.call("session/prompt", sessionId=session, prompt=prompt, systemPrompt="x", _meta=meta)
            (heard,) = rig.agent("k").got("session/prompt")
            assert heard["params"] == {
                "sessionId": session,
                "prompt": prompt,
                "_meta": {"traceparent": "t"},
            }


async def others(rig: Rig, user: User, root: Path) -> None:
    """A session outside the roots, and one of another key within."""
    await user.open("outside", cwd=str(root.parent))
    await user.open("other:1", cwd=str(root))


async def test_a_setting_carries_no_extras(autojump_clock: MockClock) -> None:
    with trio.fail_after(BOUND):
        async with open_rig() as rig, rig.connect(grant=token(scopes=(Scope.ANSWER,))) as user:
            async with rig.connect() as owner:
                session = await owner.open("k")
            await user.call("initialize", protocolVersion=1)
            meta = {"traceparent": "t", "extension": {"command": ["sh"]}}
            mode = {"sessionId": session, "modeId": "code"}
            await user.call("session/set_mode", **mode, command=["sh"], _meta=meta)
            (got,) = rig.agent("k").got("session/set_mode")
            assert got["params"] == {**mode, "_meta": {"traceparent": "t"}}


async def test_other_sessions_are_as_if_there_were_none(root: Path, autojump_clock: MockClock) -> None:
    grant = token(root, scopes=(Scope.PROMPT, Scope.ANSWER), sessions=("mine:*", "outside"))
    with trio.fail_after(BOUND):
        async with open_rig() as rig, rig.connect() as owner, rig.connect(grant=grant) as user:
            await others(rig, owner, root)
            await user.open("mine:1", cwd=str(root))
            assert [view["key"] for view in (await user.status())["sessions"]] == ["mine:1"]
            for key in ("outside", "other:1"):
                for method in ("attach", "submit", "cancel", "close", "logs", "events", "wait"):
                    error = await refused(
                        user, f"_trio_broker/{method}", key=key, prompt=[{"type": "text", "text": "x"}]
                    )
                    assert isinstance(error, NoSession), (key, method, error)
                error = await refused(user, "_trio_broker/open", key=key, cwd=str(root))
                assert isinstance(error, Forbidden)


async def test_what_failed_to_start_elsewhere_is_not_replaced(root: Path, autojump_clock: MockClock) -> None:
    with trio.fail_after(BOUND):
        async with open_rig(habits=Habits(version=9)) as rig, rig.connect() as owner:
            await owner.later(owner.open, "k").fails()
            async with rig.connect(grant=token(root)) as user:
                for more in ({}, {"fresh": True}):
                    error = await refused(user, "_trio_broker/open", key="k", cwd=str(root), **more)
                    assert isinstance(error, Forbidden) and "outside the directories" in error.message
            assert (await owner.view("k"))["cwd"] == "/tmp"


async def test_only_who_opened_a_session_and_an_admin_end_it(autojump_clock: MockClock) -> None:
    bob = Grant("bob", frozenset({Scope.PROMPT}), roots=("/tmp",))
    with trio.fail_after(BOUND):
        async with (
            open_rig() as rig,
            rig.connect(grant=token(Path("/tmp"))) as alice,
            rig.connect(grant=bob) as other,
        ):
            session = await alice.open("k")
            error = await refused(other, "_trio_broker/close", key="k")
            assert isinstance(error, Forbidden) and "another has opened" in error.message
            error = await refused(other, "_trio_broker/open", key="k", cwd="/tmp", fresh=True)
            assert isinstance(error, Forbidden)
            await other.call("initialize", protocolVersion=1)
            await other.call("session/close", sessionId=session)
            assert (await alice.view("k"))["phase"] == "idle", "bob has only let go of it"
            await alice.call("_trio_broker/close", key="k")
            assert (await alice.view("k"))["phase"] is None
