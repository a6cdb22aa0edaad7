"""The journal's side in trio: changes go in without waiting, and one worker thread writes them in groups.

A journal that fails (a full disk) stops nobody: sessions go on, `failing` says why, and writing is tried again. What
can't be held meanwhile is dropped, oldest first, and each log that lost something is told when the journal works again.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import Protocol, TypeVar

import attrs
import trio

from trio_broker.errors import JournalError
from trio_broker.journal import Append, Change, Journal
from trio_broker.record import Record

log = logging.getLogger(__name__)
T = TypeVar("T")

WINDOW = 0.02  # seconds in which changes gather, unless somebody waits for one
CROWDED = (
    16 * 1024 * 1024
)  # bytes not yet written above which agents are read no faster than they are journalled
BATCH = 512 * 1024  # bytes of one write: a few milliseconds
HELD = 64 * 1024 * 1024  # bytes held for a journal that fails
RETRY = 1.0  # seconds between two tries of a journal that fails


class Owner(Protocol):
    """Whoever's records are kept: told the number of the last one that is safe, or of those that were lost."""

    def on_kept(self, last: int) -> None: ...
    def on_lost(self, first: int, last: int) -> None: ...


@attrs.frozen
class _Entry:
    number: int
    change: Change
    owner: Owner | None
    size: int


@attrs.define(eq=False)
class Keeper:
    """`journal` None keeps nothing: logs have their ring only. `failing` is the last error of a journal that fails."""

    journal: Journal | None = None
    durable: bool = True  # whether a turn's end is kept before its result is told
    failing: str | None = None
    lost: int = 0
    _entries: list[_Entry] = attrs.field(factory=list)
    _size: int = 0
    _put: int = 0
    _writing_now: list[_Entry] = attrs.field(factory=list)
    _urgent: set[int] = attrs.field(factory=set)  # sessions for which somebody waits
    _something: trio.Event = attrs.field(factory=trio.Event)
    _hurry: trio.Event = attrs.field(factory=trio.Event)
    _progress: trio.Event = attrs.field(factory=trio.Event)
    _losses: dict[Owner, tuple[int, int]] = attrs.field(factory=dict)
    _writing: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))
    _reading: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(4))

    def put(self, change: Change, owner: Owner | None = None) -> None:
        """Have `change` written, in order and soon."""
        if self.journal is None:
            if owner is not None and isinstance(change, Append):
                owner.on_kept(change.record.last)
            return
        size = len(change.record.data) if isinstance(change, Append) else 0
        self._put += 1
        self._entries.append(_Entry(self._put, change, owner, size))
        self._size += size
        self._something.set()
        if self.failing and self._size > HELD:
            self._drop()

    async def flush(self, session: int | None = None) -> None:
        """Wait until all that was put is on disk; at once where it can't be. Cancelling ends the waiting only.

        What was put of one `session`, where only that is waited for, goes before that of others: their floods hold
        nobody up.
        """
        wanted = self._put
        while not self.failing and any(
            entry.number <= wanted and session in (None, entry.change.session) for entry in self._unwritten()
        ):
            if session is not None:
                self._urgent.add(session)
            self._hurry.set()
            await self._progress.wait()

    def _unwritten(self) -> Iterator[_Entry]:
        return chain(self._writing_now, self._entries)

    @property
    def crowded(self) -> bool:
        """Whether so much waits to be written that agents had better be read more slowly."""
        return self._size > CROWDED and not self.failing

    async def wait_room(self) -> None:
        while self.crowded:
            self._hurry.set()
            await self._progress.wait()

    async def read(self, session: int, since: int, limit: int) -> list[Record]:
        """A page of a session's records from number `since` on, about `limit` bytes. Raises JournalError."""
        if self.journal is None:
            return []
        return await trio.to_thread.run_sync(self.journal.read, session, since, limit, limiter=self._reading)

    async def ask(self, question: Callable[[], T]) -> T:
        """Ask the journal anything else, in a thread of its readers, after what was put before is on disk."""
        await self.flush()
        return await trio.to_thread.run_sync(question, limiter=self._reading)

    async def change(self, action: Callable[[], T]) -> T:
        """Have the journal changed in the writer's thread, after what was put before is on disk."""
        await self.flush()
        return await trio.to_thread.run_sync(action, limiter=self._writing)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write until cancelled; then what is left is written before this returns."""
        task_status.started()
        try:
            while True:
                await self._something.wait()
                with trio.move_on_after(WINDOW):
                    await self._hurry.wait()
                await self._write()
                if self.failing:
                    await trio.sleep(RETRY)
        finally:
            with trio.CancelScope(shield=True):  # bounded: what there is, and sqlite's own patience
                await self._write()
                while self._entries and not self.failing:
                    await self._write()
            if self.journal is not None:
                self.journal.close()

    async def _write(self) -> None:
        batch = self._writing_now = self._take()
        if not batch or self.journal is None:
            return
        changes = [entry.change for entry in batch]
        try:
            await trio.to_thread.run_sync(self.journal.write, changes, limiter=self._writing)
        except JournalError as error:
            self._failed(error, batch)
        else:
            self._written(batch)
        self._writing_now = []
        self._progress.set()
        self._progress = trio.Event()

    def _take(self) -> list[_Entry]:
        """The next batch: first of sessions for which somebody waits, those with the least to write, then the oldest.

        The order within a session stays, which is all that a reader can see. A batch is small, so that nobody waits
        long for the one that is being written.
        """
        urgent, self._urgent = self._urgent, set()
        if urgent:
            sizes: Counter[int] = Counter()
            for entry in self._entries:
                sizes[entry.change.session] += entry.size
            none = float("inf")
            self._entries.sort(
                key=lambda entry: sizes[entry.change.session] if entry.change.session in urgent else none
            )
        end = _end_of(self._entries, BATCH)
        taken, self._entries = self._entries[:end], self._entries[end:]
        self._something, self._hurry = trio.Event(), trio.Event()
        if self._entries:
            self._something.set()
            self._hurry.set()
        return taken

    def _written(self, batch: list[_Entry]) -> None:
        if self.failing:
            log.warning("journal_recovered lost=%s", self.lost)
            self.failing = None
        for entry in batch:
            self._size -= entry.size
            if entry.owner is not None and isinstance(entry.change, Append):
                entry.owner.on_kept(entry.change.record.last)
        losses, self._losses = self._losses, {}
        for owner, (first, last) in losses.items():
            owner.on_lost(first, last)

    def _failed(self, error: JournalError, batch: list[_Entry]) -> None:
        if not self.failing:
            log.error("journal_failing sessions_go_on=True why=%s", error.message)
        self.failing = error.message
        self._entries = sorted(batch + self._entries, key=attrgetter("number"))
        self._something.set()
        if self._size > HELD:
            self._drop()

    def _drop(self) -> None:
        """Give up the oldest records, down to half of what may be held; the rest of the changes are small and stay."""
        kept: list[_Entry] = []
        for entry in self._entries:
            if self._size > HELD // 2 and isinstance(entry.change, Append):
                self._size -= entry.size
                self._lose(entry.owner, entry.change.record)
            else:
                kept.append(entry)
        self._entries = kept

    def _lose(self, owner: Owner | None, record: Record) -> None:
        self.lost += record.count
        if owner is not None:
            first, _ = self._losses.get(owner, (record.first, 0))
            self._losses[owner] = first, record.last
            owner.on_kept(record.last)


def _end_of(entries: Sequence[_Entry], limit: int) -> int:
    """How many of them are `limit` bytes or a little more."""
    size = 0
    for end, entry in enumerate(entries, 1):
        size += entry.size
        if size >= limit:
            return end
    return len(entries)
