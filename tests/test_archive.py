"""The journal asked as a whole, while sessions come and go."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from trio_broker.archive import PAGE, Archive
from trio_broker.changes import Append, Save
from trio_broker.errors import JournalError, Misuse
from trio_broker.journal import Journal
from trio_broker.keeper import Keeper
from trio_broker.record import Record

HEAD = '{"trio-broker": 1, "key": "old", "session_id": "s", "meta": {}, "updated_at": 1}'
NOTE = '{"first": 1, "count": 1, "at": 1.5, "kind": "note", "data": {"text": "old"}}'


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
        imported = await archive.import_lines([HEAD, NOTE])
        archive.keeper.put(Save(begun, "new", "t", "open", {}, 2.0))
        archive.keeper.put(Append(begun, Record(1, 1, 2.0, "note", b'{"text":"new"}')))
        after = archive.next_number()
        assert len({begun, imported, after}) == 3
        for key, number in (("old", imported), ("new", begun)):
            assert (await archive.saved(None, key)).number == number
            (record,) = await archive.keeper.read(number, 1, 100)
            assert record.data == b'{"text":"%s"}' % key.encode()


async def test_an_import_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    async with open_archive(tmp_path / "journal") as archive:
        with pytest.raises(JournalError, match="line 2"):
            await archive.import_lines([HEAD, "\ud83d"])
        journal = archive.keeper.journal
        assert journal is not None and journal.sessions() == []


async def test_without_a_journal_there_is_nothing_to_ask() -> None:
    archive = Archive(Keeper())
    assert [archive.next_number() for _ in range(3)] == [1, 2, 3]
    with pytest.raises(Misuse, match="no journal"):
        await archive.import_lines([HEAD])


async def test_an_export_comes_in_pages_of_which_each_fits_into_a_message(tmp_path: Path) -> None:
    """Where lines are long, 500 of them were more than a message may have, and there was no export."""
    async with open_archive(tmp_path / "journal") as archive:
        text = "x" * (1 << 20)
        notes = [
            f'{{"first": {n}, "count": 1, "at": 1.5, "kind": "note", "data": {{"text": "{text}"}}}}'
            for n in range(1, 20)
        ]
        number = await archive.import_lines([HEAD, *notes])
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
