"""A prompt sent `again`, by who lost the connection: its turn is waited for, or its outcome told. It never runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from trio_broker.errors import BrokerError, NoPrompt, SessionOver
from trio_broker.protocol import jsonrpc
from trio_broker.server.connection import Connection
from trio_broker.testing.clients.user import User, prompt_params
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import open_rig


async def again(user: User, session: str, id: str) -> str:
    return await user.prompt(session, "say it ran anew", promptId=id, again=True)


async def refusal(user: User, session: str, id: str) -> BrokerError:
    return await user.later(again, user, session, id).fails()


async def test_one_that_runs_is_waited_for_and_one_that_ended_is_told(autojump_clock: MockClock) -> None:
    with trio.fail_after(120):
        async with open_rig() as rig, rig.connect() as one, rig.connect() as two:
            session = await one.open("k")
            await two.call("initialize", protocolVersion=1)
            one.later(one.prompt, session, "wait 5; say done", promptId="p")
            await one.wait_phase("k", "working")
            assert await again(two, session, "p") == "end_turn"
            assert await again(two, session, "p") == "end_turn"
            assert rig.agent("k").prompts() == ["wait 5; say done"] and two.said(session) == "done"


async def test_one_that_was_cancelled_or_failed_is_told_so(autojump_clock: MockClock) -> None:
    with trio.fail_after(120):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k")
            running = user.later(user.prompt, session, "hang", promptId="cancelled")
            await user.wait_phase("k", "working")
            await user.cancel(session)
            assert await running.wait() == await again(user, session, "cancelled") == "cancelled"
            failed = await user.later(user.prompt, session, "die 3", promptId="failed").fails()
            told = await refusal(user, session, "failed")
            assert (type(told), told.message) == (type(failed), failed.message)


@pytest.mark.parametrize("known", ["nothing", "another"])
async def test_one_that_is_not_known_is_not_run(known: str, autojump_clock: MockClock) -> None:
    with trio.fail_after(120):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k")
            if known == "another":
                await user.prompt(session, "say hello", promptId="another")
            assert isinstance(await refusal(user, session, "p"), NoPrompt)
            assert (await user.view("k"))["phase"] == "idle" and "it ran anew" not in user.said(session)


async def test_after_a_restart_what_ran_is_not_known_and_what_waited_was_never_sent(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with trio.fail_after(60):
        async with open_rig(habits=Habits(load=True), journal=path) as rig, rig.connect() as user:
            session = await user.open("k")
            user.later(user.prompt, session, "say begun; hang", promptId="ran")
            await user.wait_phase("k", "working")
            user.later(user.prompt, session, "say waiting", promptId="waited")
            while (await user.view("k"))["queue"] != 1:  # noqa: ASYNC110  # seen from outside
                await trio.sleep(0.01)
            await rig.broker.keeper.flush()
            files = {file: file.read_bytes() for file in path.parent.iterdir()}  # as a kill -9 leaves them
        for file, data in files.items():
            file.write_bytes(data)
        async with open_rig(habits=Habits(load=True), journal=path) as rig, rig.connect() as user:
            await user.call("initialize", protocolVersion=1)
            ran, waited = await refusal(user, session, "ran"), await refusal(user, session, "waited")
            assert isinstance(ran, SessionOver) and "not sent again" in ran.message
            assert isinstance(waited, SessionOver) and "before this prompt was sent" in waited.message
            assert [agent.prompts() for agent in rig.agents.spawned if agent.prompts()] == []


async def test_what_came_of_it_is_told_behind_what_its_sender_had_missed() -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as one, rig.connect() as back:
            session = await one.open("k")
            await one.prompt(session, "say missed", promptId="p")
            await back.call("initialize", protocolVersion=1)
            (connection,) = (
                each
                for each in rig.broker.clients
                if isinstance(each, Connection) and not each.subscriptions.attached
            )
            connection.subscriptions.attach(rig.session("k"), 1)
            params = jsonrpc.encode(prompt_params(session, "say it ran anew", promptId="p", again=True))
            connection.receive_line(
                jsonrpc.request(99, "session/prompt", params)
            )  # before anything of it was sent
            while not (told := [message for message in back.messages if message.id == b"99"]):  # noqa: ASYNC110
                await trio.sleep(0.001)
            before = back.messages[: back.messages.index(told[0])]
            assert [message.session_id for message in before if message.method == "session/update"] == [
                session
            ] * 2
