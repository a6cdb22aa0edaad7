"""The store of tokens: what is kept of them, when they end, and what a crash or a stranger's hand makes of the file."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_broker.auth import tokens as tokens_module
from trio_broker.auth.grant import OWNER, Grant, Scope
from trio_broker.auth.tokens import LAST_USED_PRECISION, PREFIX, Tokens
from trio_broker.errors import BrokerError, Misuse, TokensError

ALICE = Grant("alice", frozenset({Scope.PROMPT}))
LIMIT = 60.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "tokens.json"


def on_disk(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))["tokens"]


@contextmanager
def no_room(path: Path) -> Iterator[None]:
    """Something stands where the new file is to be written."""
    new = path.with_name("tokens.json.new")
    new.mkdir()
    yield
    new.rmdir()


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what another task brings about; the test's own deadline bounds it."""
    while not holds():  # noqa: ASYNC110  # seen in the file only
        await trio.sleep(0.01)


async def test_a_token_carries_its_grant_also_after_a_restart(path: Path, tmp_path: Path) -> None:
    wanted = attrs.evolve(ALICE, sessions=("chat:*",), roots=(str(tmp_path),))
    with trio.fail_after(LIMIT):
        secret = await Tokens.open(path).create(wanted)
    grant = Tokens.open(path).check(secret)
    assert grant is not None and attrs.evolve(grant, token=None) == wanted
    assert secret.startswith(PREFIX) and len(secret) >= 43


def test_the_file_is_private_and_holds_no_secret(path: Path) -> None:
    secret = trio.run(Tokens.open(path).create, ALICE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secret.removeprefix(PREFIX)[:8] not in path.read_text(encoding="utf-8")


async def test_nothing_but_a_whole_token_is_one(path: Path) -> None:
    tokens = Tokens.open(path)
    with trio.fail_after(LIMIT):
        secret = await tokens.create(ALICE)
    digest = on_disk(path)[0]["sha256"]
    for wrong in ("", PREFIX, "alice", digest, secret[:-1], secret + "x", secret.upper(), "\ud800", "\0"):
        assert tokens.check(wrong) is None
    assert Tokens.open(path.with_name("none")).check(secret) is None


async def test_names_are_unique_also_among_those_that_are_being_written(path: Path) -> None:
    tokens, made, refused = Tokens.open(path), list[str](), list[Misuse]()

    async def make(name: str) -> None:
        try:
            made.append(await tokens.create(attrs.evolve(ALICE, name=name)))
        except Misuse as error:
            refused.append(error)

    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(make, f"t{number // 2}")
    assert (len(made), len(refused)) == (10, 10)
    assert "token revoke t" in refused[0].message
    again = Tokens.open(path)
    assert all(again.check(secret) for secret in made)


@pytest.mark.parametrize(
    ("grant", "says"),
    [
        (attrs.evolve(ALICE, name=""), "up to 64 letters"),
        (attrs.evolve(ALICE, name="a/client-1"), "up to 64 letters"),
        (attrs.evolve(ALICE, name="x\n"), "up to 64 letters"),
        (attrs.evolve(ALICE, name=OWNER.name), "up to 64 letters"),
        (attrs.evolve(ALICE, scopes=frozenset()), "observe, prompt, answer, admin"),
        (attrs.evolve(ALICE, sessions=("",)), "a glob of sessions is empty"),
        (attrs.evolve(ALICE, expires=1.0), "can't expire before it is made"),
        (attrs.evolve(ALICE, expires=float("inf")), "nor later than"),
        (attrs.evolve(ALICE, expires=float("nan")), "nor later than"),
        (attrs.evolve(ALICE, roots=("srv",)), "'srv' is no absolute path"),
        (attrs.evolve(ALICE, roots=("/nonexistent/at all",)), "there is no directory"),
        (attrs.evolve(ALICE, scopes=frozenset({Scope.ADMIN}), sessions=("a",)), "would not limit it"),
        (attrs.evolve(ALICE, scopes=frozenset(Scope), roots=("/",)), "would not limit it"),
    ],
)
def test_a_token_that_makes_no_sense_is_refused(path: Path, grant: Grant, says: str) -> None:
    with pytest.raises(Misuse, match=re.escape(says)):
        trio.run(Tokens.open(path).create, grant)
    assert not path.exists()


def test_a_root_is_kept_without_symbolic_links(path: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    tokens = Tokens.open(path)
    grant = tokens.check(trio.run(tokens.create, attrs.evolve(ALICE, roots=(f"{tmp_path}/link/../link",))))
    assert grant is not None and grant.roots == (os.path.realpath(tmp_path / "real"),)


# Ends


async def test_a_revoked_token_is_refused_at_once_and_its_connections_are_told(path: Path) -> None:
    tokens, told = Tokens.open(path), list[str]()
    with trio.fail_after(LIMIT):
        secret = await tokens.create(ALICE)
        grant, other = (
            tokens.check(secret),
            tokens.check(await tokens.create(attrs.evolve(ALICE, name="bob"))),
        )
        assert grant is not None and other is not None
        async with trio.open_nursery() as nursery:

            async def tell(grant: Grant) -> None:
                told.append(await tokens.wait_revoked(grant))

            for one in (grant, grant, other, OWNER):
                nursery.start_soon(tell, one)
            await wait_all_tasks_blocked()
            await tokens.revoke("alice")
            await wait_all_tasks_blocked()
            assert told == ["the token was revoked"] * 2
            nursery.cancel_scope.cancel()
        assert tokens.check(secret) is None and Tokens.open(path).check(secret) is None
        await tokens.create(ALICE)  # the name is free, and means another token
        assert tokens.check(secret) is None
        assert await tokens.wait_revoked(grant) == "the token was revoked"
        with pytest.raises(Misuse, match="token list"):
            await tokens.revoke("carol")


async def test_a_token_expires_to_the_second_and_its_connections_are_told(autojump_clock: MockClock) -> None:
    tokens = Tokens(now=trio.current_time)
    with trio.fail_after(30 * 86400):
        secret = await tokens.create(attrs.evolve(ALICE, expires=tokens.now() + 86400))
        grant, begun = tokens.check(secret), trio.current_time()
        assert grant is not None
        assert await tokens.wait_revoked(grant) == "the token has expired"
        assert trio.current_time() - begun == pytest.approx(86400)
        assert tokens.check(secret) is None
        assert [token["expired"] for token in tokens.list_tokens()] == [True]


async def test_a_clock_that_is_set_forward_ends_a_token_within_a_minute(autojump_clock: MockClock) -> None:
    ahead = 0.0
    tokens = Tokens(now=lambda: trio.current_time() + ahead)
    with trio.fail_after(86400):
        grant = tokens.check(await tokens.create(attrs.evolve(ALICE, expires=tokens.now() + 7200)))
        assert grant is not None
        begun, ahead = trio.current_time(), 7200.0
        await tokens.wait_revoked(grant)
        assert trio.current_time() - begun <= 60


# Use


async def test_use_is_noted_by_the_hour_and_written_now_and_then(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens_module, "WRITE_INTERVAL", 0.01)
    tokens, at = Tokens.open(path), 1000.0
    tokens.now = lambda: at
    with trio.fail_after(LIMIT):
        secret = await tokens.create(ALICE)
        assert tokens.list_tokens()[0]["lastUsed"] is None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tokens.run)
            tokens.check(secret)
            await until(lambda: on_disk(path)[0].get("lastUsed") == 1000.0)
            at += LAST_USED_PRECISION - 1
            tokens.check(secret)
            assert tokens.list_tokens()[0]["lastUsed"] == 1000.0
            at += 1
            tokens.check(secret)
            await until(lambda: on_disk(path)[0]["lastUsed"] == 1000.0 + LAST_USED_PRECISION)
            nursery.cancel_scope.cancel()


async def test_a_use_while_the_file_is_written_is_written_next(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens_module, "WRITE_INTERVAL", 0.01)
    tokens, at, threads = Tokens.open(path), 1000.0, trio.to_thread.current_default_thread_limiter()
    tokens.now = lambda: at
    with trio.fail_after(LIMIT):
        secret = await tokens.create(ALICE)
        tokens.check(secret)
        busy = [object() for _ in range(int(threads.available_tokens))]
        for one in busy:
            threads.acquire_on_behalf_of_nowait(one)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tokens.run)
            await until(lambda: threads.statistics().tasks_waiting == 1)  # the file is about to be written
            at += LAST_USED_PRECISION
            tokens.check(secret)
            for one in busy:
                threads.release_on_behalf_of(one)
            await until(lambda: on_disk(path)[0].get("lastUsed") == 1000.0 + LAST_USED_PRECISION)
            nursery.cancel_scope.cancel()


async def test_what_is_listed_is_json_by_name_without_a_trace_of_the_text(path: Path) -> None:
    tokens = Tokens.open(path)
    with trio.fail_after(LIMIT):
        await tokens.create(attrs.evolve(ALICE, name="bob", scopes=frozenset({Scope.ANSWER, Scope.OBSERVE})))
        secret = await tokens.create(ALICE)
    listed = tokens.list_tokens()
    assert [token["name"] for token in listed] == ["alice", "bob"]
    assert listed[1]["scopes"] == ["observe", "answer"]
    told = json.dumps(listed) + repr(tokens.check(secret))
    assert secret not in told and on_disk(path)[0]["sha256"] not in told


# The file


CRASHING = """
import os, sys, trio
from pathlib import Path
from trio_broker.auth.grant import Grant, Scope
from trio_broker.auth.tokens import Tokens

setattr(os, sys.argv[2], lambda *_: os._exit(9))
trio.run(Tokens.open(Path(sys.argv[1])).create, Grant("bob", frozenset({Scope.PROMPT})))
"""


@pytest.mark.process
@pytest.mark.parametrize("step", ["fsync", "replace"])
async def test_a_crash_while_it_is_written_leaves_the_old_file(path: Path, step: str) -> None:
    tokens = Tokens.open(path)
    with trio.fail_after(60):
        secret = await tokens.create(ALICE)
        argv = [sys.executable, "-c", CRASHING, str(path), step]
        assert (await trio.run_process(argv, check=False)).returncode == 9
        again = Tokens.open(path)
        assert again.check(secret) and [token["name"] for token in again.list_tokens()] == ["alice"]
        await again.create(attrs.evolve(ALICE, name="bob"))  # what the crash left is in nobody's way
    assert os.listdir(path.parent) == ["tokens.json"]


async def test_a_token_that_cannot_be_written_is_none(path: Path) -> None:
    tokens = Tokens.open(path)
    with trio.fail_after(LIMIT):
        await tokens.create(ALICE)
        with no_room(path), pytest.raises(TokensError, match="can't be written"):
            await tokens.create(attrs.evolve(ALICE, name="bob"))
        assert [token["name"] for token in tokens.list_tokens()] == ["alice"]


async def test_a_revocation_that_cannot_be_written_holds_and_is_written_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens_module, "WRITE_INTERVAL", 0.01)
    tokens = Tokens.open(path)
    with trio.fail_after(LIMIT):
        secret = await tokens.create(ALICE)
        async with trio.open_nursery() as nursery:
            with no_room(path):
                with pytest.raises(TokensError, match="after a restart they are as they were"):
                    await tokens.revoke("alice")
                nursery.start_soon(tokens.run)
                await trio.sleep(0.05)
                assert tokens.check(secret) is None and Tokens.open(path).check(secret)
            await until(lambda: on_disk(path) == [])
            nursery.cancel_scope.cancel()


async def test_a_revocation_that_has_begun_is_finished_though_the_client_leaves(path: Path) -> None:
    tokens, threads = Tokens.open(path), trio.to_thread.current_default_thread_limiter()
    with trio.fail_after(LIMIT):
        secret = await tokens.create(ALICE)
        busy = [object() for _ in range(int(threads.available_tokens))]
        for one in busy:
            threads.acquire_on_behalf_of_nowait(one)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tokens.revoke, "alice")
            await wait_all_tasks_blocked()
            assert tokens.check(secret) is None and on_disk(path) != []
            nursery.cancel_scope.cancel()
            for one in busy:
                threads.release_on_behalf_of(one)
    assert on_disk(path) == []


ONE = {"name": "a", "sha256": "0" * 64, "scopes": ["admin"], "created": 1.0}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"no JSON",
        b'{"version": 1, "tokens": [',
        b"\xff" * 100,
        b"[" * 100_000,
        json.dumps({"version": 2, "tokens": []}).encode(),
        json.dumps({"version": 1, "tokens": [ONE, ONE]}).encode(),
        json.dumps({"version": 1, "tokens": [ONE, ONE | {"name": "b"}]}).encode(),
        json.dumps({"version": 1, "tokens": [ONE | {"sha256": "é" * 64}]}).encode(),
        json.dumps({"version": 1, "tokens": [ONE | {"scopes": ["root"]}]}).encode(),
        json.dumps({"version": 1, "tokens": [ONE | {"expire": 1.0}]}).encode(),
    ],
)
def test_a_damaged_file_is_told_and_never_taken_for_no_tokens(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(TokensError, match=r"not the file of tokens .* mend it, or move it away"):
        Tokens.open(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "spoil", [lambda path: path.chmod(0o620), lambda path: (path.unlink(), path.mkdir())]
)
def test_a_file_that_cannot_be_trusted_or_read_is_told(path: Path, spoil: Callable[[Path], object]) -> None:
    path.parent.mkdir()
    path.write_text(json.dumps({"version": 1, "tokens": [ONE]}))
    spoil(path)
    with pytest.raises(BrokerError) as told:
        Tokens.open(path)
    assert isinstance(told.value, TokensError) and str(path) in told.value.message
