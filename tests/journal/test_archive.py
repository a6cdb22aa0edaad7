"""The journal asked as a whole, while sessions come and go."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from trio_broker.errors import JournalError, Misuse
from trio_broker.journal.archive import PAGE, Archive, SessionImport
from trio_broker.journal.keeper import Keeper
from trio_broker.journal.record import Record
from trio_broker.journal.store import Append, Journal, Save

HEAD = '{"trio-broker": 1, "key": "old", "session_id": "s", "meta": {}, "updated_at": 1}'
NOTE = '{"first": 1, "count": 1, "at": 1.5, "kind": "note", "data": {"text": "old"}}'


async def taken_in(archive: Archive, *lines: str) -> int:
    """An import at one stroke; its number."""
    begun = archive.begin_import()
    await begun.feed([*lines], last=True)
    return begun.number


@asynccontextmanager
async def open_archive(path: Path) -> AsyncGenerator[Archive, None]:
    keeper = Keeper(Journal.open(path))
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(keeper.run)
            yield Archive(keeper)
            nursery.cancel_scope.cancel()


async def test_an_import_never_takes_the_number_of_a_session_that_begins(tmp_path: Path) -> None:
    """Its number is given at once, and stands in the journal only later: the two logs would be one."""
    async with open_archive(tmp_path / "journal") as archive:
        begun = archive.next_number()
        imported = await taken_in(archive, HEAD, NOTE)
        archive.keeper.put(Save(begun, "new", "t", "open", {}, 2.0))
        archive.keeper.put(Append(begun, Record(1, 1, 2.0, "note", b'{"text":"new"}')))
        after = archive.next_number()
        assert len({begun, imported, after}) == 3
        for key, number in (("old", imported), ("new", begun)):
            assert (await archive.find_saved(None, key)).number == number
            (record,) = await archive.keeper.read(number, 1, 100)
            assert record.data == b'{"text":"%s"}' % key.encode()


async def test_an_import_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    async with open_archive(tmp_path / "journal") as archive:
        with pytest.raises(JournalError, match="line 2"):
            await taken_in(archive, HEAD, "\ud83d")
        journal = archive.keeper.journal
        assert journal is not None and journal.sessions() == []


async def test_export_and_import_give_the_same_again(tmp_path: Path) -> None:
    records = [
        Record(1, 1, 1.5, "note", b'{"text":"one"}'),
        Record(2, 3, 1.5, "update", b'{"n":2}\n{"n":3}\n{"n":4}\n'),
        Record(5, 1, 1.5, "note", b'{"text":"five"}'),
    ]
    async with open_archive(tmp_path / "journal") as archive:
        there, journal = archive.next_number(), archive.keeper.journal
        assert journal is not None
        made = Save(there, "key", "id", "open", {"agent": "fake"}, 10.0)
        journal.write([made, *(Append(there, one) for one in records), attrs.evolve(made, updated_at=20.0)])
        lines, _ = await archive.export(there, 1, 100)
        begun = archive.begin_import()
        for at in range(len(lines)):
            assert len(journal.sessions()) == 1, "it is seen when it is whole"
            await begun.feed(lines[at : at + 1], last=at == len(lines) - 1)
        _, copied = journal.sessions()
        assert copied.number == begun.number
        assert (copied.key, copied.state, copied.last, copied.meta) == ("key", "closed", 5, {"agent": "fake"})
        assert (copied.created_at, copied.updated_at) == (10.0, 20.0)
        assert await archive.keeper.read(copied.number, 1, 1 << 20) == records


@pytest.mark.parametrize("line", ["no json", NOTE.replace('"first": 1', '"first": 0'), ""])
async def test_an_import_that_goes_wrong_late_leaves_nothing_of_what_was_there(
    tmp_path: Path, line: str
) -> None:
    async with open_archive(tmp_path / "journal") as archive:
        begun = archive.begin_import()
        await begun.feed([HEAD, NOTE], last=False)
        assert len(await archive.keeper.read(begun.number, 1, 100)) == 1
        with pytest.raises(JournalError, match="line 3"):
            await begun.feed([line], last=False)
        await archive.keeper.flush()
        assert await archive.keeper.read(begun.number, 1, 100) == []
        with pytest.raises(Misuse, match=f"no import of number {begun.number} is under way"):
            archive.get_import(begun.number)


async def test_an_import_takes_one_page_at_a_time(tmp_path: Path) -> None:
    """Two that are under way may be taken in in any order."""
    refused: list[str] = []

    async def feed(begun: SessionImport) -> None:
        try:
            await begun.feed([HEAD], last=False)
        except Misuse as error:
            refused.append(error.message)

    async with open_archive(tmp_path / "journal") as archive:
        begun = archive.begin_import()
        async with trio.open_nursery() as nursery:  # both begin before either has written
            nursery.start_soon(feed, begun)
            nursery.start_soon(feed, begun)
        assert refused == ["one page at a time: wait for the answer to the one before"]
        await begun.feed([NOTE], last=True)
        assert (await archive.find_saved("s", None)).last == 1


def test_without_a_journal_there_is_nothing_to_ask() -> None:
    archive = Archive(Keeper())
    assert [archive.next_number() for _ in range(3)] == [1, 2, 3]
    with pytest.raises(Misuse, match="no journal"):
        archive.begin_import()


async def test_an_export_comes_in_pages_of_which_each_fits_into_a_message(tmp_path: Path) -> None:
    """Where lines are long, 500 of them were more than a message may have, and there was no export."""
    async with open_archive(tmp_path / "journal") as archive:
        text = "x" * (1 << 20)
        notes = [
            f'{{"first": {n}, "count": 1, "at": 1.5, "kind": "note", "data": {{"text": "{text}"}}}}'
            for n in range(1, 20)
        ]
        number = await taken_in(archive, HEAD, *notes)
        lines, sizes = list[str](), list[int]()
        since: int | None = 1
        while since is not None:
            page, since = await archive.export(number, since, 500)
            sizes.append(sum(map(len, page)))
            lines += page
        assert [line.partition(",")[0] for line in lines[1:]] == [f'{{"first": {n}' for n in range(1, 20)]
        assert "old" in lines[0] and len(sizes) == 3 and max(sizes) < PAGE + 2 * len(text)
        assert await archive.export(number, 1, len(lines)) == (lines[:9], 10)
        assert (await archive.export(number, 2, 3))[0] == lines[1:4]
