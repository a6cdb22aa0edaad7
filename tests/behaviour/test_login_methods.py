"""An agent that demands a login: what each client is offered, at its introduction and in the error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from trio_broker.auth.grant import Grant, Scope
from trio_broker.errors import Forbidden, RemoteError
from trio_broker.protocol.auth_methods import LOGIN_VARIABLE
from trio_broker.testing.clients.user import User
from trio_broker.testing.in_process.rig import open_real

pytestmark = pytest.mark.process

Json = dict[str, Any]
AGENT = [
    *(sys.executable, "-S", "-E"),
    str(Path(__file__).parents[1] / "cli" / "agents" / "login_agent.py"),
]
NEW: Json = {"cwd": "/tmp", "mcpServers": []}


async def begin(user: User, *flags: str, **capabilities: Any) -> list[Json]:
    await user.call("_trio_broker/bind", command=[*AGENT, *flags])
    said = await user.call("initialize", protocolVersion=1, clientCapabilities=capabilities)
    methods: list[Json] = said["authMethods"]
    return methods


async def first_prompt(user: User) -> None:
    session = (await user.call("session/new", **NEW))["sessionId"]
    await user.prompt(session, "hello")


async def test_clients_are_offered_the_logins_that_they_can_run() -> None:
    with trio.fail_after(60):
        async with open_real() as rig, rig.connect() as plain, rig.connect() as able:
            assert [method["id"] for method in await begin(plain)] == ["other"]
            found = await begin(able, auth={"terminal": True})
            assert [method["id"] for method in found] == ["browser", "console", "odd", "other"]
            assert found[0]["env"] == {LOGIN_VARIABLE: "browser"}, "the agent's own mean nothing to a client"


@pytest.mark.parametrize("flags", [(), ("--late",)], ids=["for the session", "for the prompt"])
async def test_the_error_names_the_command_and_the_logins_of_this_client(flags: tuple[str, ...]) -> None:
    with trio.fail_after(60):
        async with open_real() as rig, rig.connect() as plain, rig.connect() as able:
            await begin(plain, *flags)
            await begin(able, *flags, auth={"terminal": True})
            for user, ids in ((plain, ["other"]), (able, ["browser", "console", "odd", "other"])):
                with pytest.raises(RemoteError) as caught:
                    await first_prompt(user)
                assert caught.value.rpc_code == -32000
                assert "`trio-broker agents login -- " in caught.value.message
                assert [method["id"] for method in caught.value.data()["authMethods"]] == ids


async def test_the_environment_of_an_agent_is_given_to_the_owner_only() -> None:
    with trio.fail_after(60):
        admin = Grant("admin", frozenset({Scope.ADMIN}), token="t")
        async with open_real() as rig, rig.connect() as owner, rig.connect(grant=admin) as other:
            launch = await owner.call("_trio_broker/launch", command=AGENT, cwd="/tmp")
            assert (launch["argv"], launch["cwd"], launch["source"]) == (AGENT, "/tmp", "command")
            assert launch["env"]["PATH"] and "PYTEST_CURRENT_TEST" not in launch["env"]
            with pytest.raises(Forbidden, match="to the broker's owner only"):
                await other.call("_trio_broker/launch", command=AGENT, cwd="/tmp")
