"""The parameters of the broker's own methods, as a client sends them, and the session that they name."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_broker.errors import BadMessage, Misuse, NoSession
from trio_broker.protocol.codec import structure
from trio_broker.server.connection import Connection
from trio_broker.server.methods.params import (
    AnswerParams,
    BindParams,
    NewTokenParams,
    OpenParams,
    PruneParams,
    QueueEditParams,
    ReadParams,
    SessionRef,
    find_session,
)
from trio_broker.testing.in_process.rig import Rig, open_rig


@pytest.mark.parametrize(
    ("raw", "params"),
    [
        (b'{"sessionId":"s","promptId":"p","ifBusy":"queue"}', SessionRef("s", None, "p", None, "queue")),
        (b'{"key":"k","cwd":"/","mcpServers":[{}]}', OpenParams("k", "/", mcp_servers=[{}])),
        (b'{"since":null,"limit":3}', ReadParams(limit=3)),
        (b'{"promptId":"p","position":1}', QueueEditParams("p", position=1)),
        (b'{"askId":"1-2","optionId":"yes"}', AnswerParams("1-2", "yes")),
        (b'{"env":{"A":"b"},"unknown":1}', BindParams(env={"A": "b"})),
    ],
)
def test_members_are_read_in_camel_case_with_defaults(raw: bytes, params: object) -> None:
    assert structure(raw, type(params)) == params


@pytest.mark.parametrize(
    ("raw", "cls", "member"),
    [
        (b'{"cwd":"/"}', OpenParams, "params.key"),
        (b'{"key":"k","cwd":"/","create":"no"}', OpenParams, "params.create"),
        (b'{"key":"k","cwd":"/","mcpServers":[1]}', OpenParams, "params.mcpServers"),
        (b'{"sessionId":5}', SessionRef, "params.sessionId"),
        (b'{"since":"1"}', ReadParams, "params.since"),
        (b"{}", PruneParams, "params.olderThan"),
        (b'{"name":"n","scopes":"admin"}', NewTokenParams, "params.scopes"),
    ],
)
def test_a_member_that_does_not_fit_is_named(raw: bytes, cls: type[Any], member: str) -> None:
    with pytest.raises(BadMessage) as caught:
        structure(raw, cls)
    assert f"@ {member}" in caught.value.message and caught.value.rpc_code == -32602


def test_defaults_are_not_shared() -> None:
    assert BindParams().env is not BindParams().env
    assert NewTokenParams("n", []).roots is not NewTokenParams("n", []).roots


def only_connection(rig: Rig) -> Connection:
    (connection,) = rig.broker.clients
    assert isinstance(connection, Connection)
    return connection


async def test_a_session_is_found_by_its_id_or_its_key(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            id = await user.open("k", agent="demo")
            connection = only_connection(rig)
            assert find_session(connection, SessionRef(session_id=id)) is rig.session("k")
            assert find_session(connection, SessionRef(key="k")) is rig.session("k")
            with pytest.raises(NoSession):
                find_session(connection, SessionRef(key="other"))


async def test_a_session_has_to_be_named_before_anything_else_happens(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            await user.status()
            connection = only_connection(rig)
            with pytest.raises(Misuse, match=r"params\.sessionId or params\.key"):
                find_session(connection, SessionRef(prompt_id="p"))
            assert not connection.initialized and not connection.subscriptions.events
            with pytest.raises(NoSession):
                find_session(connection, SessionRef(key="k"))
            assert connection.initialized and connection.subscriptions.events
