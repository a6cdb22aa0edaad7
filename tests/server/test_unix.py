"""The Unix socket's door, with the broker in this process: who is let in, and who is told why not."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from trio_broker.auth.grant import Grant, InsideAgent, Scope
from trio_broker.errors import BrokerGone, Forbidden
from trio_broker.server.unix import FindGrant, open_unix_listener, owner, serve_unix
from trio_broker.testing.clients.user import User, open_user
from trio_broker.testing.clients.websocket_peer import read_all
from trio_broker.testing.in_process.rig import Rig, open_rig, settings
from trio_broker.transport.base import NdjsonTransport

LIMIT = 60
NOBODY = 65534
HELLO = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":1}}\n'


@pytest.fixture
def path() -> Iterator[Path]:
    """Where a socket may be: short, as sockets want it."""
    folder = Path(tempfile.mkdtemp(prefix="tb"))
    yield folder / "s"
    shutil.rmtree(folder)


@asynccontextmanager
async def open_unix(path: Path, find_grant: FindGrant = owner, **broker: int) -> AsyncGenerator[Rig, None]:
    """A broker behind that door; its agents live in memory."""
    async with open_rig(settings(**broker)) as rig:
        with open_unix_listener(path) as door:
            rig.nursery.start_soon(serve_unix, rig.broker, door, rig.nursery, find_grant)
            yield rig


@asynccontextmanager
async def visit(path: Path) -> AsyncGenerator[User, None]:
    async with NdjsonTransport(await trio.open_unix_socket(str(path))) as link, open_user(link) as user:
        yield user


async def test_who_is_one_too_many_is_told_the_limit_and_how_to_raise_it(path: Path) -> None:
    with trio.fail_after(LIMIT):
        async with open_unix(path, max_clients=1) as rig, visit(path) as user:
            await user.status()
            async with await trio.open_unix_socket(str(path)) as refused:
                await refused.send_all(HELLO)
                error = json.loads(await read_all(refused))["error"]
            assert error["data"]["kind"] == "refused" and "1 clients are connected" in error["message"]
            assert "max_clients in [broker]" in error["message"]
            assert len(rig.broker.clients) == 1
            assert await user.prompt(await user.open("a"), "say undisturbed") == "end_turn"


async def test_above_the_limit_its_owner_still_looks_at_the_broker_and_ends_it(path: Path) -> None:
    """`status` and `down` were refused as anybody is, and the limit was the end of all means but signals."""
    with trio.fail_after(LIMIT):
        async with open_unix(path, max_clients=1) as rig, visit(path) as user:
            await user.status()
            async with visit(path) as operator:
                assert (await operator.status())["clients"] == 1
            async with visit(path) as curious:
                with pytest.raises(BrokerGone, match="1 clients are connected, the limit; raise max_clients"):
                    await curious.call("_trio_broker/sessions")
            session = await user.open("a")
            turn = user.later(user.prompt, session, "wait 4; say done")
            await user.wait_phase("a", "working")
            async with visit(path) as operator:
                assert await operator.call("_trio_broker/shutdown", drain=True) == {}
                assert (await operator.status())["draining"]
                await user.cancel(session)
                assert await turn.wait() == "cancelled"
                await rig.broker.stopping.wait()
            async with visit(path) as operator:
                assert await operator.call("_trio_broker/shutdown") == {"kept": 0}


INSIDE = Grant("agent", frozenset({Scope.PROMPT}), inside=InsideAgent("it runs in an agent", "do not", "a"))


async def inside_agent(pid: int) -> Grant:
    """As for a client that an agent has started."""
    assert pid == os.getpid()
    await trio.lowlevel.checkpoint()
    return INSIDE


async def test_a_client_has_the_grant_of_its_process(path: Path) -> None:
    with trio.fail_after(LIMIT):
        async with open_unix(path, inside_agent), visit(path) as user:
            for method in ("_trio_broker/shutdown", "_trio_broker/answer", "_trio_broker/token_new"):
                with pytest.raises(Forbidden, match="it runs in an agent, so it may not"):
                    await user.call(method)
            assert "home" not in await user.status()


async def test_above_the_limit_an_agent_looks_and_does_not_end_the_broker(path: Path) -> None:
    with trio.fail_after(LIMIT):
        async with open_unix(path, inside_agent, max_clients=1) as rig, visit(path) as user:
            await user.status()
            for more in ({}, {"drain": True}):
                async with visit(path) as operator:
                    with pytest.raises(
                        Forbidden, match="it runs in an agent, so it may not do what is the owner's"
                    ):
                        await operator.call("_trio_broker/shutdown", **more)
                    assert (await operator.status())["clients"] == 1
            assert not rig.broker.stopping.is_set() and not rig.broker.draining


async def test_a_client_whose_process_can_not_be_looked_at_is_turned_away_alone(path: Path) -> None:
    """Out of threads, say."""
    failing = True

    async def find_grant(pid: int) -> Grant:
        if failing:
            raise RuntimeError("can't start new thread")
        return await owner(pid)

    with trio.fail_after(LIMIT):
        async with open_unix(path, find_grant) as rig:
            async with await trio.open_unix_socket(str(path)) as refused:
                assert await read_all(refused) == b""
            failing = False
            async with visit(path) as user:
                assert (await user.status())["clients"] == 1 == len(rig.broker.clients)


async def test_a_refused_client_that_does_not_wait_for_the_reason_does_no_harm(path: Path) -> None:
    with trio.fail_after(LIMIT):
        async with open_unix(path, max_clients=1), visit(path) as user:
            await user.status()
            with socket.socket(socket.AF_UNIX) as hasty:
                hasty.connect(str(path))
            async with await trio.open_unix_socket(str(path)) as refused:  # the next one is heard as ever
                await refused.send_all(HELLO)
                assert b"max_clients" in await read_all(refused)
            assert (await user.status())["clients"] == 1


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
async def test_another_user_is_refused_even_where_the_modes_let_them_come(path: Path) -> None:
    with trio.fail_after(LIMIT):
        async with open_unix(path) as rig:
            with socket.socket(socket.AF_UNIX) as visitor:
                connect_as(NOBODY, visitor, path)
                async with trio.SocketStream(trio.socket.from_stdlib_socket(visitor)) as stream:
                    message = json.loads(await read_all(stream))["error"]["message"]
            assert message == f"this broker belongs to user {os.getuid()}, and user {NOBODY} may not use it"
            assert not rig.broker.clients


def connect_as(user: int, visitor: socket.socket, path: Path) -> None:
    """The system notes who it is in the moment of the connect; the modes let anybody."""
    path.parent.chmod(0o755)
    path.chmod(0o666)
    os.seteuid(user)
    try:
        visitor.connect(str(path))
    finally:
        os.seteuid(0)


async def test_where_the_system_does_not_tell_who_it_is_the_modes_guard_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "SO_PEERCRED")
    with trio.fail_after(LIMIT):
        async with open_unix(path), visit(path) as user:
            assert (await user.status())["clients"] == 1
