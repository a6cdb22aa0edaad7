"""The door of a real daemon: who may come in, who is refused and told why, and clients that behave oddly."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from trio_broker.config.config import Config, JournalConfig, ListenConfig
from trio_broker.config.paths import Paths
from trio_broker.daemon import instance_lock, make_private_directory, run_daemon
from trio_broker.errors import BrokerRuns, ConfigError, JournalError, Misuse
from trio_broker.journal.store import Journal
from trio_broker.server.connection import Connection
from trio_broker.server.unix import open_unix_listener
from trio_broker.testing.clients.user import prompt_params
from trio_broker.testing.in_process.rig import open_real
from trio_broker.testing.processes.daemon import home_with, serving, visit, wait_until
from trio_broker.testing.processes.home import Home
from trio_broker.transport.outbox import LIMIT

pytestmark = pytest.mark.process

MEGABYTE = 1024 * 1024


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def paths_of(home: Home) -> Paths:
    return Paths.from_env(home.env)


def test_the_socket_is_its_owners_alone() -> None:
    with home_with() as home:
        home.socket.parent.mkdir(mode=0o777)
        home.socket.parent.chmod(0o777)
        with serving(home):
            assert mode(home.socket) == 0o600 and mode(home.socket.parent) == 0o700


async def test_a_socket_that_nobody_serves_is_replaced() -> None:
    with trio.fail_after(60), home_with() as home:
        home.socket.parent.mkdir()
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(home.socket))
        with serving(home) as daemon:
            async with visit(home) as user:
                assert (await user.status())["pid"] == daemon.pid


async def test_b17_a_second_broker_is_refused_while_the_first_one_serves() -> None:
    with trio.fail_after(60), home_with() as home, serving(home) as daemon:
        async with visit(home) as user:
            session = await user.open("a")
            done = await trio.to_thread.run_sync(lambda: home.run("serve"))
            assert done.returncode == 1
            assert f"a broker (pid {daemon.pid}) already serves" in done.stderr
            with pytest.raises(BrokerRuns) as caught:
                await run_daemon(paths_of(home), Config())
            assert caught.value.details == {"pid": str(daemon.pid)}
            assert await user.prompt(session, "say undisturbed") == "end_turn"


def test_b17_the_lock_is_free_again_when_its_holder_ends(tmp_path: Path) -> None:
    paths = Paths.from_env({"TRIO_BROKER_HOME": str(tmp_path)})
    make_private_directory(paths.runtime)
    for _ in range(2):
        with instance_lock(paths), pytest.raises(BrokerRuns), instance_lock(paths):
            pass


def test_a_file_in_the_place_of_the_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("no socket")
    with open_unix_listener(path):
        assert stat.S_ISSOCK(path.lstat().st_mode)
    assert not path.exists()


async def test_a_broker_that_can_not_serve_opens_no_door(tmp_path: Path) -> None:
    """`up` and a first prompt take an open socket for a broker that has started."""
    paths = Paths.from_env({"TRIO_BROKER_HOME": str(tmp_path)})
    paths.runtime.mkdir()
    paths.socket.write_text("opening would replace it")
    with trio.fail_after(60), pytest.raises(ConfigError):
        await run_daemon(paths, Config(listen=ListenConfig(websocket="127.0.0.1:0", tls_cert="/no/cert.pem")))
    assert paths.socket.read_text() == "opening would replace it"


@pytest.mark.parametrize("step", ["prune", "socket"])
async def test_a_broker_that_fails_to_start_closes_the_journal(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = Paths.from_env({"TRIO_BROKER_HOME": str(tmp_path)})
    make_private_directory(paths.runtime)

    def fail(*_: object) -> int:
        raise JournalError("the disk is full")

    if step == "prune":
        monkeypatch.setattr(Journal, "prune", fail)
    else:
        paths.socket.mkdir()
    with trio.fail_after(60), pytest.raises((JournalError, OSError)) as caught:
        await run_daemon(paths, Config(journal=JournalConfig(keep_days=1)))
    found = [file.name for file in paths.journal.parent.glob("journal.sqlite*")]
    assert found == ["journal.sqlite"], "SQLite removes the other files when the last connection is closed"
    assert caught.tb is not None  # and so are the frames, with what they left open


def linked(directory: Path) -> None:
    directory.with_name("elsewhere").mkdir()
    directory.symlink_to("elsewhere")


def foreign(directory: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can make a directory another user's")
    directory.mkdir()
    os.chown(directory, 12345, 12345)


@pytest.mark.parametrize("make", [linked, foreign, Path.touch])
def test_a_runtime_directory_that_can_not_be_trusted_is_refused(make: Any, tmp_path: Path) -> None:
    make(tmp_path / "run")
    with pytest.raises(Misuse, match="set TRIO_BROKER_HOME to"):
        make_private_directory(tmp_path / "run")


@pytest.mark.parametrize("make", [linked, foreign, Path.touch])
def test_serve_says_so_and_ends(make: Any) -> None:
    with home_with() as home:
        make(home.socket.parent)
        done = home.run("serve")
        assert done.returncode == 2
        assert "set TRIO_BROKER_HOME to" in done.stderr and "Traceback" not in done.stderr
        home.socket.parent.rename(home.path / "aside")  # nothing is to be ended there


Json = dict[str, Any]


def request(id: int, method: str, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).encode() + b"\n"


@asynccontextmanager
async def knock(home: Home) -> AsyncGenerator[trio.SocketStream, None]:
    """A bare connection to the daemon, for bytes."""
    async with await trio.open_unix_socket(str(home.socket)) as stream:
        yield stream


async def rest_of(stream: trio.SocketStream) -> list[Json]:
    """Every message up to the end of the stream."""
    data = b"".join([chunk async for chunk in stream])
    return [json.loads(line) for line in data.splitlines()]


async def is_served(stream: trio.SocketStream) -> bool:
    try:
        await stream.send_all(request(1, "_trio_broker/status"))
        return b'"result"' in await stream.receive_some()
    except trio.BrokenResourceError:  # it was refused, and the door shut before it had asked
        return False


async def test_one_client_above_the_limit_is_refused_with_a_sentence() -> None:
    with trio.fail_after(60), home_with(max_clients=2) as home, serving(home):
        async with knock(home) as first:
            assert await is_served(first)
            async with knock(home) as second:
                assert await is_served(second)
                async with knock(home) as third:
                    [refusal] = await rest_of(third)
                assert refusal["error"]["data"]["kind"] == "refused"
                assert "2 clients are connected, the limit; raise max_clients" in refusal["error"]["message"]
                assert await is_served(first) and await is_served(second)
            while True:
                async with knock(home) as fourth:
                    if await is_served(fourth):
                        break


async def test_a_client_that_only_closed_its_sending_side_gets_its_answer() -> None:
    """As `printf … | nc -U` does."""
    with trio.fail_after(60), home_with() as home, serving(home):
        async with knock(home) as stream:
            lines = [
                request(1, "initialize", protocolVersion=1, clientCapabilities={}),
                request(2, "_trio_broker/open", key="a", agent="demo", cwd="/tmp"),
            ]
            await stream.send_all(b"".join(lines))
            async with visit(home) as user:
                session = (await user.wait_phase("a", "idle"))["sessionId"]
            text = "wait 0.5; say the answer"
            await stream.send_all(request(3, "session/prompt", **prompt_params(session, text)))
            await stream.send_eof()
            messages = await rest_of(stream)
        answers = {message["id"]: message["result"] for message in messages if "result" in message}
        assert answers[3]["stopReason"] == "end_turn"
        assert "the answer" in json.dumps(messages)
        assert sorted(answers) == [1, 2, 3]


@pytest.mark.slow
async def test_c19_a_client_that_reads_late_misses_nothing_and_holds_up_nobody() -> None:
    count, size = 20_000, 1000  # far more than sockets and the ring in memory hold
    with trio.fail_after(120), home_with() as home, serving(home):
        async with knock(home) as stream, visit(home) as user:
            await stream.send_all(request(1, "_trio_broker/open", key="late", agent="demo", cwd="/tmp"))
            session = (await user.wait_phase("late", "idle"))["sessionId"]
            flood = prompt_params(session, f"flood {count} {size}")
            await stream.send_all(request(2, "session/prompt", **flood))
            neighbour = await user.open("neighbour")
            for number in range(10):
                assert await user.prompt(neighbour, f"say {number}") == "end_turn"
            while (await user.view("late"))["turns"] != 1:  # noqa: ASYNC110  # seen from outside only
                await trio.sleep(0.02)
            await stream.send_eof()
            messages = await rest_of(stream)
        updates = [
            message["params"]["update"] for message in messages if "update" in message.get("params", {})
        ]
        said = [update["content"]["text"] for update in updates if "content" in update]
        numbers = [int(text.partition(" ")[0]) for text in said if text.endswith("...")]
        assert numbers == list(range(count))
        assert messages[-1]["result"]["stopReason"] == "end_turn"


LINES = 10_000


async def test_a_client_that_never_reads_is_cut_off_without_harm_to_others() -> None:
    """It asks for far more than it may be behind, and takes none of it."""
    with trio.fail_after(120):
        async with open_real() as rig, rig.connect() as user:
            session = await user.open("a")
            await user.prompt(session, f"stderr {MEGABYTE}")  # of which 64 KiB are kept: each of the answers
            others = set(rig.broker.clients)
            async with rig.raw() as stream:
                await stream.send_all(request(0, "_trio_broker/open", key="a", agent="demo", cwd="/tmp"))
                await wait_until(lambda: len(rig.broker.clients) == 2)
                [greedy] = rig.broker.clients - others
                assert isinstance(greedy, Connection)
                await wait_until(lambda: greedy.initialized)
                sent = 0
                try:
                    for sent in range(1, LINES):
                        await stream.send_all(request(sent, "_trio_broker/logs", key="a"))
                except trio.BrokenResourceError:
                    pass  # the broker has closed it
                assert LIMIT / (128 * 1024) <= sent < LINES - 1
                assert greedy.outbox.lagged and rig.broker.clients == others
            assert await user.prompt(session, "say still served") == "end_turn"
            assert user.said(session) == "still served"
