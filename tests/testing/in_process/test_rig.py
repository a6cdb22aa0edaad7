"""A broker in the process of a test: its clients, its agents, its end, and its report of a test that hangs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from trio_broker.errors import NoSession
from trio_broker.testing.clients.user import User
from trio_broker.testing.in_process.rig import open_rig, settings


def test_settings_are_those_of_the_table_broker() -> None:
    assert settings(queue=2).broker.queue == 2


async def test_each_client_has_a_connection_of_its_own(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig() as rig, rig.connect() as user:
            async with rig.connect():
                assert (await user.status())["clients"] == len(rig.users) == 2
            while (await user.status())["clients"] != 1:  # noqa: ASYNC110  # seen from outside only
                await trio.sleep(0.1)
            assert rig.users == [user]


async def test_a_raw_connection_is_for_bytes(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig() as rig, rig.raw() as stream:
            await stream.send_all(b'{"jsonrpc":"2.0","id":1,"method":"no/such"}\n')
            answer = json.loads(await stream.receive_some())
            assert answer["id"] == 1 and "error" in answer


async def test_sessions_and_agents_are_found_by_key(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k")
            assert rig.session("k").session_id == session == rig.agent("k").session_id
            with pytest.raises(NoSession):
                rig.session("other")


async def test_a_journal_is_taken_up_by_the_next_broker(tmp_path: Path) -> None:
    async def events(user: User) -> int:
        found: int = (await user.view("k"))["events"]
        return found

    with trio.fail_after(600):
        async with open_rig(journal=tmp_path / "journal") as rig, rig.connect() as user:
            await user.prompt(await user.open("k"), "say a")
            before = await events(user)
        async with open_rig(journal=tmp_path / "journal") as rig, rig.connect() as user:
            assert await events(user) >= before > 0


async def test_a_cancelled_broker_has_ended(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig() as rig:
            rig.cancel_scope.cancel()
            await rig.ended.wait()


async def test_a_test_that_hangs_fails_with_what_each_session_does(autojump_clock: MockClock) -> None:
    async with open_rig() as rig, rig.connect() as user:
        user.later(user.prompt, await user.open("busy"), "hang")
        user.later(user.prompt, await user.open("asking"), "ask edit it")
        with pytest.raises(AssertionError) as caught:
            await rig.fail_when_stuck()
    first, *lines = str(caught.value).splitlines()
    assert first == "the test has not ended within 7 virtual days"
    assert sorted(lines)[1] == "  session 'busy' is working"
    assert sorted(lines)[0].startswith("  session 'asking' is waiting for an answer to 'edit it': ")
