"""Which numbers may be told: never one that the journal does not know of, whenever the broker dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import cast

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.errors import JournalError
from trio_broker.journal import reserving
from trio_broker.journal.keeper import Keeper, _Entry
from trio_broker.journal.log import Log
from trio_broker.journal.store import Append, Delete, Journal, Reserve, Save

NOTE = b'{"n":1}\n'
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 30)),
        st.tuples(st.sampled_from(["reserve", "give back", "take", "commit", "fail", "hold"]), st.just(0)),
    ),
    max_size=60,
)


@attrs.define(eq=False)
class Desk:
    """A log whose batches are taken and committed when the test says so; `disk`: what is on it."""

    log: Log
    writing: list[_Entry] = attrs.field(factory=list)
    kept: int = 0
    reserved: int = 0
    told: int = 0
    unsure: bool = False  # the journal has failed: who goes on then is told more than it knows

    def do(self, step: str, count: int) -> None:
        if step == "add":
            self.log.append_updates(count, NOTE * count)
        elif step == "reserve":
            self.log.reserve()
        elif step == "give back":
            self.log.give_back()
        elif step == "hold":
            self.log.hold(self.log.next, lambda: None)
            self.log.append("note", text="x")
        elif step == "take" and not self.writing:
            self.writing = self.log.keeper._writing_now = self.log.keeper._take()
        elif step in ("commit", "fail") and self.writing:
            batch, self.writing, self.log.keeper._writing_now = self.writing, [], []
            self._end(batch, well=step == "commit")

    def _end(self, batch: list[_Entry], *, well: bool) -> None:
        if not well:
            self.unsure = True
            self.log.keeper._failed(JournalError("the disk is full"), batch)
            return
        for entry in batch:
            if isinstance(entry.change, Append):
                self.kept = entry.change.record.last
            elif isinstance(entry.change, Reserve):
                self.reserved = entry.change.upto
        self.log.keeper._written(batch)

    async def look(self) -> None:
        """What a reader sees that is up to date."""
        reader = self.log.cursor(self.told + 1)
        while reader.has_more():
            self.told = (await reader.take()).last
        reader.close()
        if not self.unsure:
            assert self.told <= max(self.kept, self.reserved)
            assert self.log.may_tell(self.told)


async def play(steps: list[tuple[str, int]]) -> None:
    desk = Desk(Log(Keeper(cast(Journal, "one that nobody writes to")), 1))
    for step, count in steps:
        desk.do(step, count)
        await desk.look()
    for _ in range(6):
        desk.do("take", 0)
        desk.do("commit", 0)
    await desk.look()
    assert desk.told == desk.log.next - 1, "all is told in the end"


@pytest.mark.parametrize("ahead", [1, 10, 100])
def test_no_number_is_told_before_the_journal_knows_of_it(
    ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reserving, "AHEAD", ahead)

    @given(STEPS)
    def check(steps: list[tuple[str, int]]) -> None:
        trio.run(play, steps)

    check()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with closing(Journal.open(tmp_path / "j")) as journal:
        yield journal


async def test_a_flood_waits_for_no_reservation(journal: Journal) -> None:
    """What is asked for grows with what is not written yet; so from the third batch on there is always enough."""
    desk, seen = Desk(Log(Keeper(journal), 1)), list[bool]()
    desk.log.reserve()
    for _ in range(30):
        desk.do("take", 0)
        for _ in range(50):
            desk.do("add", 400)
            await desk.look()
            seen.append(desk.told == desk.log.next - 1)
        desk.do("commit", 0)
    assert all(seen[150:])


async def test_a_journal_that_fails_holds_nobody_up_and_takes_back_nothing(journal: Journal) -> None:
    desk = Desk(Log(Keeper(journal), 1))
    desk.do("add", 5)
    desk.do("take", 0)
    assert desk.log.last == 0
    desk.do("fail", 0)
    desk.do("add", 5 * reserving.AHEAD)
    await desk.look()
    assert desk.told == desk.log.last == 5 + 5 * reserving.AHEAD
    desk.do("take", 0)
    desk.do("commit", 0)
    assert desk.log.last == 5 + 5 * reserving.AHEAD == desk.kept
    assert desk.reserved >= desk.kept + reserving.AHEAD


async def test_an_end_gives_back_all_numbers_but_those_of_a_session_that_is_not_there(
    journal: Journal,
) -> None:
    with trio.fail_after(60):
        keeper = Keeper(journal)
        async with keeper.at_work():
            keeper.put(Save(1, "k", "s", "open", {}, 1.0))
            keeper.put(Save(2, "l", "t", "open", {}, 1.0))
            log = Log(keeper, 1)
            log.append("note", text="x")
            Log(keeper, 7).append("note", text="of a session that is not there")
            await keeper.flush()
            one, two = journal.sessions()
            assert one.reserved == 1 + reserving.AHEAD + 16 and two.reserved == 0
    with closing(Journal.open(journal.path)) as again:
        assert [saved.reserved for saved in again.sessions()] == [0, 0]
        again.write([Delete(1), Delete(2)])
        assert again.next_number() == 8
