"""A number that was told, and the id of a question, are never given to anything else, whatever way the broker died."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from trio_broker.errors import NoAsk
from trio_broker.journal.keeper import Keeper
from trio_broker.testing.clients.user import User
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import Rig, open_rig

LOAD = Habits(load=True)
Json = dict[str, Any]


@attrs.define
class Disk:
    """The journal at `path`, and what a broker that is killed leaves of it: all that was there at the `moment`."""

    path: Path
    _files: dict[Path, bytes] = attrs.field(factory=dict)

    async def moment(self, rig: Rig) -> None:
        await rig.broker.keeper.flush()
        self._files = {file: file.read_bytes() for file in self.path.parent.iterdir()}

    def kill(self) -> None:
        for file, data in self._files.items():
            file.write_bytes(data)

    @asynccontextmanager
    async def broker(self) -> AsyncGenerator[tuple[Rig, User], None]:
        async with open_rig(habits=LOAD, journal=self.path) as rig, rig.connect() as user:
            yield rig, user


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "journal.sqlite")


async def until(rig: Rig, user: User, session: str, text: str) -> None:
    while user.said(session) != text:  # noqa: ASYNC110  # seen from outside
        await trio.sleep(0.001)


async def heard_and_killed(disk: Disk, key: str = "k", words: int = 20) -> int:
    """A user hears so many words that are not on disk when the broker is killed; the last number told."""
    async with disk.broker() as (rig, user):
        session = await user.open(key)
        user.later(user.prompt, session, "hang")
        await user.wait_phase(key, "working")
        await disk.moment(rig)
        for _ in range(words):
            await rig.agent(key).say("x")
        await until(rig, user, session, "x" * words)
        heard: int = (await user.view(key))["events"]
    disk.kill()
    return heard


async def log_of(user: User, since: int = 1, limit: int = 5) -> list[Json]:
    found, next = list[Json](), since
    while True:
        page: Json = await user.call("_trio_broker/events", key="k", since=next, limit=limit)
        assert page["next"] > next or not page["events"]
        found += page["events"]
        next = page["next"]
        if next > page["last"]:
            return found


def gaps(events: list[Json]) -> list[Json]:
    return [event for event in events if event["kind"] == "gap"]


def in_order(events: list[Json], since: int = 1) -> None:
    """Each number is there once, of its own or in a gap."""
    for event in events:
        assert event["seq"] == since
        since = (event["to"] if event["kind"] == "gap" else event["seq"]) + 1


async def test_what_comes_after_a_kill_has_numbers_above_all_that_were_told(disk: Disk) -> None:
    with trio.fail_after(60):
        heard = await heard_and_killed(disk)
        async with disk.broker() as (_, user):
            log = await log_of(user)
            [gap] = gaps(log)
            in_order(log)
            assert gap["from"] <= heard <= gap["to"] and "the broker died" in gap["why"]
            await user.prompt(await user.open("k"), "say new")
            in_order(log := await log_of(user))
            assert min(event["seq"] for event in log if event["seq"] > gap["seq"]) == gap["to"] + 1
            assert [event["update"]["content"]["text"] for event in log if event["kind"] == "update"] == [
                "new"
            ]


@pytest.mark.parametrize("heard_of_them", [0, 1, 10, 20])
async def test_who_comes_back_at_what_it_had_heard_hears_all_that_is_new_and_of_the_gap_once(
    disk: Disk, heard_of_them: int
) -> None:
    with trio.fail_after(60):
        heard = await heard_and_killed(disk) - 20 + heard_of_them
        async with disk.broker() as (_, user):
            told = await user.call("_trio_broker/attach", key="k", since=heard + 1)
            assert told["next"] == heard + 1
            session = await user.open("k")
            assert await user.prompt(session, "say new; say newer") == "end_turn"
            [gap] = gaps(user.events)
            assert gap["seq"] == heard + 1 >= gap["from"]
            assert user.said(session) == "newnewer"
            assert [event["seq"] for event in user.events if "seq" in event][1] == gap["to"] + 1
            in_order(await log_of(user, since=heard + 1), since=heard + 1)


async def test_a_page_of_any_size_tells_of_the_gap_once(disk: Disk) -> None:
    with trio.fail_after(60):
        await heard_and_killed(disk)
        async with disk.broker() as (_, user):
            whole = await log_of(user, limit=100_000)
            assert len(gaps(whole)) == 1
            for limit in (1, 2, 7):
                assert await log_of(user, limit=limit) == whole


async def asked(user: User) -> Json:
    """The one question that waits, as soon as it does."""
    await user.wait_phase("k", "waiting")
    [ask] = (await user.call("_trio_broker/asks"))["asks"]
    found: Json = ask
    return found


async def test_the_id_of_a_question_that_was_told_is_never_that_of_another(disk: Disk) -> None:
    with trio.fail_after(60):
        async with disk.broker() as (rig, user):
            session = await user.open("k")
            user.later(user.prompt, session, f"wait 0.2; {'say x; ' * 40}ask may I edit x")
            await user.wait_phase("k", "working")
            await disk.moment(rig)
            first = await asked(user)
        disk.kill()
        async with disk.broker() as (_, user):
            await user.open("k")
            words = [
                0,
                0,
            ]  # the second question gets the number of the one that was told, where that can be had
            for count in words:
                before = (await user.view("k"))["events"]
                user.later(user.prompt, first["sessionId"], f"{'say x; ' * count}ask may I drop the database")
                other = await asked(user)
                assert other["askId"] != first["askId"]
                with pytest.raises(NoAsk) as refused:
                    await user.call("_trio_broker/answer", askId=first["askId"], answer="allow")
                assert f"ask {first['askId']} ended with a broker that died" in refused.value.message
                await user.call("_trio_broker/answer", askId=other["askId"], answer="deny")
                await user.call("_trio_broker/wait", key="k", until="idle")
                after = (await user.view("k"))["events"]
                words[1] = max(0, first["seq"] - after - (other["seq"] - before))


async def test_nor_is_it_of_a_session_that_is_not_on_disk_at_all(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number is the first half of such an id."""
    with trio.fail_after(60):
        async with disk.broker() as (rig, user):
            await user.open("a")
            monkeypatch.setattr(Keeper, "put", lambda *_: None)  # only what is reserved is written
            user.later(user.prompt, await user.open("k"), "ask may I")
            ask = await asked(user)
            await disk.moment(rig)
        monkeypatch.undo()
        disk.kill()
        for _ in range(2):
            async with disk.broker() as (rig, user):
                user.later(user.prompt, await user.open("k", fresh=True), "ask may I")
                assert (await asked(user))["askId"] != ask["askId"]


async def test_a_clean_end_leaves_no_gap(disk: Disk) -> None:
    with trio.fail_after(60):
        for text in ("one", "two", "three"):
            async with disk.broker() as (_, user):
                await user.prompt(await user.open("k"), f"say {text}")
                log = await log_of(user)
                assert [event["seq"] for event in log] == list(range(1, len(log) + 1))


async def test_two_kills_in_a_row(disk: Disk) -> None:
    with trio.fail_after(60):
        first = await heard_and_killed(disk)
        second = await heard_and_killed(disk)
        assert second > first + 20
        disk.kill()  # and once more before it came to anything
        async with disk.broker() as (_, user):
            in_order(log := await log_of(user))
            one, two = gaps(log)
            assert one["from"] <= first <= one["to"] < two["from"] <= second <= two["to"]


async def test_a_broker_that_is_killed_where_nothing_runs_leaves_no_gap(disk: Disk) -> None:
    """What is reserved is given back when the agent ends; for who stays suspended nothing is."""
    with trio.fail_after(60):
        await heard_and_killed(disk)
        async with disk.broker() as (rig, user):
            log = await log_of(user)
            await disk.moment(rig)
        disk.kill()
        async with disk.broker() as (_, user):
            assert await log_of(user) == log
