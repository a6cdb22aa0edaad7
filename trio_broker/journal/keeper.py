"""The journal's side in trio: changes go in without waiting, and one worker thread writes them in groups.

A journal that fails (a full disk) stops nobody: sessions go on, `failing` says why, and writing is tried again. What
can't be held meanwhile is dropped, oldest first, and each log that lost something is told when the journal works again.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import chain
from math import inf
from operator import attrgetter
from typing import Protocol, TypeVar

import attrs
import trio

from trio_broker.errors import JournalError
from trio_broker.journal.folding import Folding
from trio_broker.journal.record import Record
from trio_broker.journal.store import Append, Change, Journal, Reserve
from trio_broker.supervision import call_contained

log = logging.getLogger(__name__)
T = TypeVar("T")

WINDOW = 0.02  # seconds in which changes gather, unless somebody waits for one
CROWDED = (
    16 * 1024 * 1024
)  # bytes not yet written above which agents are read no faster than they are journalled
BATCH = 1024 * 1024  # bytes of one write
SMALL = 64 * 1024  # ... while sessions come that wait for theirs: one block
CAREFUL = 1.0  # seconds after one came
SHARE = 64 * 1024  # bytes of them that a session may have at any time: who says little waits for no flood
ROW = 1024  # bytes that the writing of one more record is worth
HELD = 64 * 1024 * 1024  # bytes held for a journal that fails
RETRY = 1.0  # seconds between two tries of a journal that fails


class Owner(Protocol):
    """Whoever's records are kept: told the number of the last one that is safe, or of those that were lost, and when
    none will be safe for a while; and up to which number a later broker will give none."""

    def on_kept(self, last: int) -> None: ...
    def on_reserved(self, upto: int) -> None: ...
    def on_failing(self) -> None: ...
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
    _queues: dict[int, deque[_Entry]] = attrs.field(factory=dict)  # what is to be written, by session
    _reserving: dict[int, _Entry] = attrs.field(factory=dict)  # ... with the next batch, whosever it is
    _sizes: Counter[int] = attrs.field(factory=Counter)
    _size: int = 0
    _put: int = 0
    _writing_now: list[_Entry] = attrs.field(factory=list)
    _urgent: set[int] = attrs.field(factory=set)  # sessions for which somebody waits
    _careful_until: float = -inf
    _alone: bool = False  # the last batch was of those alone for whom somebody waits
    _heard: dict[int, trio.Event] = attrs.field(factory=dict)  # set when something of a session was written
    _something: trio.Event = attrs.field(factory=trio.Event)
    _hurry: trio.Event = attrs.field(factory=trio.Event)
    _crowd: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    _progress: trio.Event = attrs.field(factory=trio.Event)
    _losses: dict[Owner, tuple[int, int]] = attrs.field(factory=dict)
    _folding: Folding | None = None
    _closed: bool = False
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
        self._queue(change.session).append(_Entry(self._put, change, owner, size))
        self._sizes[change.session] += size
        self._size += size
        self._something.set()
        if self.failing and self._size > HELD:
            self._drop()

    def reserve(self, change: Reserve, owner: Owner) -> None:
        """Have that written with the next batch; of one session only the last counts."""
        if self.journal is not None:
            self._put += 1
            self._reserving[change.session] = _Entry(self._put, change, owner, 0)
            self._something.set()

    async def flush(self, session: int | None = None) -> None:
        """Wait until all that was put is on disk; at once where it can't be. Cancelling ends the waiting only.

        Where only one `session` is waited for: as `hasten`, and at once where that is not promised.
        """
        wanted = self._put
        if session is None:
            while not self.failing and self._oldest() <= wanted:
                self.hurry()
                await self._progress.wait()
        while session is not None and self._oldest(session) <= wanted and self.hasten(session):
            await self._heard.setdefault(session, trio.Event()).wait()

    def hasten(self, session: int) -> bool:
        """Have what was put of this session written before that of others: their floods hold nobody up.

        False where nobody should wait for that: it is not promised, or the journal fails.
        """
        if not self.durable or self.failing:
            return False
        self._urgent.add(session)
        self._careful_until = trio.current_time() + CAREFUL
        self.hurry()
        return True

    def hurry(self) -> None:
        """Have the next batch written now."""
        if self._queues or self._reserving:
            self._something.set()
            self._hurry.set()

    def _queue(self, session: int) -> deque[_Entry]:
        return self._queues.setdefault(session, deque())

    def _oldest(self, session: int | None = None) -> float:
        """The number of the oldest change that is not on disk, of one session or of all."""
        queues = self._queues.values() if session is None else [self._queues.get(session, ())]
        first: list[float] = [queue[0].number for queue in queues if queue]
        others = chain(self._reserving.values(), self._writing_now)
        first += [entry.number for entry in others if session in (None, entry.change.session)]
        return min(first, default=inf)

    def crowded(self, session: int) -> bool:
        """Whether so much waits to be written that the agent of this session, which has its share in that, had better
        be read more slowly."""
        return self._full and self._sizes[session] > SHARE

    @property
    def _full(self) -> bool:
        return self._size > CROWDED and not self.failing

    async def wait_room(self, session: int) -> None:
        """Wait while it is crowded for a session; first come, first served, as many as there is room for."""
        while self.crowded(session):
            self.hurry()
            await self._crowd.park()

    async def read(self, session: int, since: int, limit: int) -> list[Record]:
        """A page of a session's records from number `since` on, about `limit` bytes. Raises JournalError.

        When the journal is closed it waits to be cancelled, as readers are then: what was kept would be taken for lost.
        """
        if self.journal is None:
            return []
        try:
            return await trio.to_thread.run_sync(
                self.journal.read, session, since, limit, limiter=self._reading
            )
        except JournalError:
            if not self._closed:
                raise
        return await trio.sleep_forever()

    async def ask(self, question: Callable[[], T]) -> T:
        """Ask the journal anything else, in a thread of its readers, after what was put before is on disk."""
        await self.flush()
        return await trio.to_thread.run_sync(question, limiter=self._reading)

    async def change(self, action: Callable[[], T]) -> T:
        """Have the journal changed in the writer's thread, after what was put before is on disk."""
        await self.flush()
        return await trio.to_thread.run_sync(action, limiter=self._writing)

    @asynccontextmanager
    async def at_work(self) -> AsyncGenerator[None, None]:
        """`run` within the block and until it is over, cancelled or not: what it put last is written, and told, too."""
        scope = trio.CancelScope()

        async def write(*, task_status: trio.TaskStatus[None]) -> None:  # noqa: ASYNC128  # `run` calls it
            with scope:
                await self.run(task_status=task_status)

        async with trio.open_nursery() as nursery:
            await nursery.start(write)
            scope.shield = True
            try:
                yield
            finally:
                scope.cancel()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write until cancelled; then what is left is written before this returns."""
        task_status.started()
        try:
            async with trio.open_nursery() as nursery:
                if self.journal is not None:
                    self._folding = Folding(self.journal, self._writing, self.hurry)
                    nursery.start_soon(self._folding.run)
                await self._keep_writing()
        finally:
            self._folding = None  # it was stopped, maybe while floods had to wait for it
            with trio.CancelScope(shield=True):  # bounded: what there is, and sqlite's own patience
                await self._write()
                while self._queues and not self.failing:
                    await self._write()
            if self.journal is not None:
                self._closed = True
                if not self.failing:
                    with suppress(JournalError):  # then the next broker leaves these numbers out
                        self.journal.release()
                self.journal.close()

    async def _keep_writing(self) -> None:
        while True:
            await self._something.wait()
            if not self._hurry.is_set():
                with trio.move_on_after(WINDOW):
                    await self._hurry.wait()
            await self._write()
            if self.failing:
                await trio.sleep(RETRY)

    async def _write(self) -> None:
        batch = self._writing_now = self._take()
        if not batch or self.journal is None:
            return
        changes = [entry.change for entry in batch]
        try:
            with trio.CancelScope(shield=True):  # else the batch is lost, and who waits for it
                await trio.to_thread.run_sync(self.journal.write, changes, limiter=self._writing)
        except JournalError as error:
            self._failed(error, batch)
        else:
            self._written(batch)
        self._writing_now = []
        self._progress.set()
        self._progress = trio.Event()
        if self.failing or not self._queues:
            self._crowd.unpark_all()  # no write follows that would let in the rest
        elif not self._full:
            self._crowd.unpark(count=max(1, (CROWDED - self._size) // SHARE))
        for session in [*self._heard] if self.failing else {entry.change.session for entry in batch}:
            if (heard := self._heard.pop(session, None)) is not None:
                heard.set()

    def _take(self) -> list[_Entry]:
        """The next batch: first of sessions for which somebody waits, those with the least to write, then the oldest.

        Before all of them what is to be reserved, so that it is on disk no later than what it is for. The order within
        a session stays, which is all that a reader can see. A batch is small, so that nobody waits long for the one
        that is being written. Every other one at most is of those alone for whom somebody waits.
        """
        taken, self._reserving = [*self._reserving.values()], {}
        size, limit = 0, SMALL if trio.current_time() < self._careful_until else BATCH
        held = self._folding is not None and self._folding.holding
        urgent = sorted(self._urgent, key=self._sizes.__getitem__)
        self._alone = held or (bool(urgent) and not self._alone)
        for session in urgent if self._alone else [*urgent, *self._queues]:
            queue = self._queue(session)
            while queue and size < limit:
                entry = queue.popleft()
                taken.append(entry)
                size += entry.size + ROW
                self._sizes[session] -= entry.size
            if queue:
                self._queues[session] = self._queues.pop(session)  # at the end: all get their turn
            else:
                self._queues.pop(session, None)
                self._sizes.pop(session, None)
                self._urgent.discard(session)
            if size >= limit:
                break
        self._something, self._hurry = trio.Event(), trio.Event()
        if not held or self._urgent:
            self.hurry()
        return taken

    def _written(self, batch: list[_Entry]) -> None:
        if self.failing:
            log.warning("journal_recovered lost=%s", self.lost)
            self.failing = None
        if self._folding is not None:
            self._folding.note(sum(entry.size for entry in batch))
        kept: dict[Owner, int] = {}
        for entry in batch:
            self._size -= entry.size
            if entry.owner is not None and isinstance(entry.change, Reserve):
                call_contained(entry.owner.on_reserved, entry.change.upto)
            elif entry.owner is not None and isinstance(entry.change, Append):
                kept[entry.owner] = entry.change.record.last
        for owner, last in kept.items():
            call_contained(owner.on_kept, last)
        losses, self._losses = self._losses, {}
        for owner, (first, last) in losses.items():
            call_contained(owner.on_lost, first, last)

    def _failed(self, error: JournalError, batch: list[_Entry]) -> None:
        before, self.failing = self.failing, error.message
        for entry in reversed(batch):
            if isinstance(entry.change, Reserve):
                self._reserving.setdefault(entry.change.session, entry)
            else:
                self._queue(entry.change.session).appendleft(entry)
                self._sizes[entry.change.session] += entry.size
        self._something.set()
        if self._size > HELD:
            self._drop()
        if not before:
            log.error("journal_failing sessions_go_on=True why=%s", error.message)
            waiting = chain(self._reserving.values(), *self._queues.values())
            for owner in {entry.owner for entry in waiting if entry.owner}:
                call_contained(owner.on_failing)

    def _drop(self) -> None:
        """Give up the oldest records, down to half of what may be held; the rest of the changes are small and stay."""
        held = sorted(chain.from_iterable(self._queues.values()), key=attrgetter("number"))
        self._queues, self._sizes = {}, Counter()
        for entry in held:
            if self._size > HELD // 2 and isinstance(entry.change, Append):
                self._size -= entry.size
                self._lose(entry.owner, entry.change.record)
            else:
                self._queue(entry.change.session).append(entry)
                self._sizes[entry.change.session] += entry.size

    def _lose(self, owner: Owner | None, record: Record) -> None:
        self.lost += record.count
        if owner is not None:
            first, last = self._losses.get(owner, (record.first, record.last))
            self._losses[owner] = min(first, record.first), max(last, record.last)
            owner.on_kept(record.last)
