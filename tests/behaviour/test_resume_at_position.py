"""A plain client that is told positions knows where it is in a log, and goes on there over another connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import INVALID_PARAMS
from trio_broker.testing.clients.user import User
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import open_rig


async def plain(user: User, session: str, **place: object) -> None:
    """Introduced, told positions, and back in the session."""
    await user.call("initialize", protocolVersion=1)
    await user.call("_trio_broker/positions")
    meta = {"_meta": {"trio-broker": place}}
    await user.call("session/resume", sessionId=session, cwd="/tmp", mcpServers=[], **meta)


def positions(user: User, session: str) -> list[tuple[int, list[str]]]:
    """Each position of this session, and the texts that were heard there; checks their counts."""
    found: list[tuple[int, list[str]]] = []
    due = 0
    for message in user.messages:
        if message.method == "_trio_broker/position":
            assert due == 0, "lines of a record are missing"
            at: dict[str, Any] = jsonrpc.decode(message.params)
            if found and found[-1][0] == at["seq"]:
                assert found.pop()[1] == []
            found.append((at["seq"], []))
            due = at["lines"]
        elif message.method == "session/update" and message.session_id == session:
            found[-1][1].append(jsonrpc.decode(message.params)["update"]["content"]["text"])
            due -= 1
    return found


async def whole(user: User, session: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = (await user.call("_trio_broker/events", sessionId=session))["events"]
    return events


async def test_positions_are_those_of_the_log() -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as one, rig.connect() as two:
            session = await one.open("k")
            await plain(two, session)
            await one.prompt(session, "say a; say b")
            await two.prompt(session, "say c")
            events = {event["seq"]: event for event in await whole(one, session)}
            told = positions(two, session)
            assert [text for _, texts in told for text in texts] == ["say a; say b", "a", "b", "c"]
            for seq, texts in told:
                for number, text in enumerate(texts, seq):
                    event = events[number]
                    block = event["prompt"][0] if event["kind"] == "started" else event["update"]["content"]
                    assert block["text"] == text
            assert told[-1][0] == max(events)


@pytest.mark.parametrize("back", range(6))
async def test_a_client_goes_on_wherever_it_was(back: int) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as one:
            session = await one.open("k")
            await one.prompt(session, "say 0; say 1; say 2; say 3; say 4")
            events = await whole(one, session)
            since = len(events) - back
            async with rig.connect() as two:
                await plain(two, session, since=since)
                await one.prompt(session, "say more")
                rest = [event for event in await whole(one, session) if event["seq"] >= since]
                texts = [
                    (event["prompt"][0] if event["kind"] == "started" else event["update"]["content"])["text"]
                    for event in rest
                    if event["kind"] in ("started", "update")
                ]
                await two.prompt(session, "say last")
                assert [text for _, texts in positions(two, session) for text in texts] == [*texts, "last"]


@pytest.mark.parametrize("since", [10**6, None])
async def test_a_number_that_is_none_or_beyond_the_end_is_from_here(since: object) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as one, rig.connect() as two:
            session = await one.open("k")
            await one.prompt(session, "say before")
            await plain(two, session, since=since)
            await two.prompt(session, "say after")
            assert two.said(session) == "after"


@pytest.mark.parametrize("place", [{"since": "x"}, {"since": True}, {"since": 1, "began": 1.5}])
async def test_what_is_no_place_is_refused(place: dict[str, object]) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k")
            error = await user.later(plain, user, session, **place).fails()
            assert error.rpc_code == INVALID_PARAMS and f"params.{list(place)[-1]}" in error.message


async def test_numbers_that_a_killed_broker_gave_are_not_those_of_the_next(tmp_path: Path) -> None:
    path, habits = tmp_path / "journal.sqlite", Habits(load=True)
    with trio.fail_after(60):
        async with open_rig(habits=habits, journal=path) as rig, rig.connect() as user:
            session = await user.open("k")
            await user.prompt(session, "say kept")
            await rig.broker.keeper.flush()
            files = {file: file.read_bytes() for file in path.parent.iterdir()}  # as a kill -9 leaves them
            async with rig.connect() as heard:
                await plain(heard, session, since=1)
                await user.prompt(session, "say more; " * 10 + "say lost")
                while "lost" not in heard.said(session):  # noqa: ASYNC110  # seen from outside
                    await trio.sleep(0.001)
                seq, _ = positions(heard, session)[-1]
        for file, data in files.items():
            file.write_bytes(data)
        async with open_rig(habits=habits, journal=path) as rig, rig.connect() as user, rig.connect() as back:
            await user.open("k")
            await user.prompt(session, "say news")
            await user.prompt(session, "say more; " * 10)
            assert (await user.view("k"))["events"] > seq, "its numbers are behind it"
            await plain(back, session, since=seq, began=1)
            await back.prompt(session, "say more")
            assert "news" in back.said(session) and "kept" not in back.said(session)
