"""A session's log: every event has a number, and every client is a cursor (DESIGN D6).

In memory stands a ring of recent records; a cursor that fell behind it reads pages of the journal. So nobody waits for
a client, nothing is dropped, and memory is bounded. Without a journal, what has left the ring is a gap, and said so.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Mapping
from math import inf
from operator import attrgetter
from types import MappingProxyType
from typing import Any

import attrs
import trio

from trio_broker.errors import JournalError
from trio_broker.journal.keeper import Keeper
from trio_broker.journal.record import Record
from trio_broker.journal.reserving import Numbers
from trio_broker.journal.store import Append, Reserve
from trio_broker.protocol import jsonrpc

RING_SMALL = 32 * 1024  # bytes that stay in memory anyway
RING_LARGE = 2 * 1024 * 1024  # ... while a client has not read them, or nothing is journalled
RING_LAST = 2 * jsonrpc.MAX_LINE  # ... while nothing is journalled and a client has not read them
RING_RECORDS = 4096
PAGE = 256 * 1024  # bytes of one read of the journal

NONE: Mapping[str, bytes] = MappingProxyType({})
first_of = attrgetter("first")


@attrs.define(eq=False)
class Log:
    """The log of the journal's session `number`. `next` is the number that the next event gets.

    `began`: the first number that this broker gives, where another one gave those before it. `reserved`: up to which
    that one may have told of some.
    """

    keeper: Keeper
    number: int
    next: int = 1
    kept: int = 0
    began: int | None = None
    reserved: int = 0
    cursors: set[Cursor] = attrs.field(factory=set)
    _ring: list[Record] = attrs.field(factory=list)
    _bytes: int = 0
    _held: deque[tuple[int, Callable[[], None]]] = attrs.field(factory=deque)
    _numbers: Numbers = attrs.field(init=False)
    _beyond: int | None = None  # from this number on none may be told yet

    def __attrs_post_init__(self) -> None:
        self._numbers = Numbers(inf if self.keeper.journal is None else max(self.kept, self.reserved))

    @property
    def last(self) -> int:
        """The number of the newest event that readers may see, 0 if there is none; behind it one may be held."""
        end = self._held[0][0] if self._held else self.next
        return (end if self._beyond is None else min(end, self._beyond)) - 1

    @property
    def is_durable(self) -> bool:
        """What is in it outlives the broker."""
        return self.keeper.journal is not None and not self.keeper.failing

    def append(self, kind: str, raws: Mapping[str, bytes] = NONE, **fields: Any) -> Record:
        """Add one event with these JSON members, those that are None left out; `raws` are raw JSON already."""
        members = {name: value for name, value in fields.items() if value is not None}
        return self._add(kind, 1, jsonrpc.encode_with(members, **raws))

    def append_updates(self, count: int, lines: bytes, *, plain: bool = False) -> Record:
        """Add `count` updates: whole lines, as clients are to see them."""
        return self._add("update", count, lines, plain=plain)

    def _add(self, kind: str, count: int, data: bytes, *, plain: bool = False) -> Record:
        record = Record(self.next, count, time.time(), kind, data, plain)
        self.next += count
        self._ring.append(record)
        self._bytes += len(data)
        self.keeper.put(Append(self.number, record), self)
        if record.last >= self._numbers.care:
            self._mind(record)
        self._trim()
        self.wake()
        return record

    def _mind(self, record: Record) -> None:
        """Have more numbers reserved in time; a record that comes too early for that has to wait."""
        self.reserve()
        if record.last > self._numbers.limit and self._beyond is None and not self.keeper.failing:
            self._beyond = record.first
        self.keeper.hurry()

    def reserve(self) -> None:
        """Have the journal know that the next numbers may be told, if it does not yet: then nobody waits for that."""
        upto = self._numbers.wanted(self.next - 1, self.next - 1 - self.kept)
        if upto is not None:
            self.keeper.reserve(Reserve(self.number, upto), self)

    def give_back(self) -> None:
        """There will be no event for a while: a later broker need leave out no numbers."""
        upto = self._numbers.given_back(self.next - 1)
        if upto is not None:
            self.keeper.reserve(Reserve(self.number, upto), self)

    def skip_told(self) -> None:
        """Leave out the numbers that a broker which died may have told, and say so."""
        if self.reserved >= self.next:
            why = "the broker died; few of these numbers were given, if any, and that was not on disk yet"
            data = {"from": self.next, "to": self.reserved, "why": why}
            self._add("gap", self.reserved - self.next + 1, jsonrpc.encode(data))

    def wake(self) -> None:
        """Have every reader look again."""
        for cursor in self.cursors:
            cursor.wake()

    def may_tell(self, number: int) -> bool:
        """Whether no later broker gives this number to something else, whatever becomes of this one."""
        return self._beyond is None or number < self._beyond

    def hold(self, number: int, then: Callable[[], None] = lambda: None) -> None:
        """Show nothing from this number on to anybody until it is on disk, then call `then`: what is told is not lost.

        At once where that is not promised (`durability` in [journal]), and while the journal fails.
        """
        self._held.append((number, then))
        self._show()

    def when_shown(self, then: Callable[[], None]) -> None:
        """Call `then` when readers may see all that is in the log now: at once, unless something is held."""
        if self.last < self.next - 1:
            self.hold(self.next - 1, then)
        else:
            then()

    def _show(self) -> None:
        before = self.last
        while self._held and self._is_showable(self._held[0][0]):
            _, then = self._held.popleft()
            then()
        if self.last != before:
            self.wake()

    def _is_showable(self, number: int) -> bool:
        return self.may_tell(number) and (number <= self.kept or not self.keeper.hasten(self.number))

    async def wait_kept(self) -> None:
        """Wait until what is in the log now is on disk, where that is promised (`durability` in [journal])."""
        await self.keeper.flush(self.number)

    def cursor(self, since: int, wake: Callable[[], None] = lambda: None) -> Cursor:
        """A reader from number `since` on; `wake` is called, and must not wait, when there is more."""
        cursor = Cursor(self, max(1, min(since, self.next)), wake)
        self.cursors.add(cursor)
        return cursor

    def resume_position(self, since: int, began: int | None = None) -> int:
        """The number from which a reader goes on that asks for `since`.

        It may have heard more of a broker that was killed than that one could keep: of that it is told as a gap.
        `began`, where it says so, is that of the broker which it heard. Only one whose journal failed when it was
        killed, or an older version, may have told numbers above the gap: then what came after it is news.
        """
        if began is not None and began != (self.began or 1):
            since = min(since, self.began or 1)
        return max(1, since) if since <= self.last + 1 else self.began or self.last + 1

    def on_kept(self, last: int) -> None:
        self.kept = last
        self._trim()
        self._show()

    def on_reserved(self, upto: int) -> None:
        self._numbers.granted(upto)
        if self._beyond is not None:
            before, at = self.last, bisect_left(self._ring, self._beyond, key=first_of)
            later = (one.first for one in self._ring[at:] if one.last > self._numbers.limit)
            self._beyond = next(later, None)
            if self.last != before:
                self.wake()
            self._show()

    def on_failing(self) -> None:
        if self._beyond is not None:
            self._beyond = None
            self.wake()
        self._show()

    def on_lost(self, first: int, last: int) -> None:
        why = "the journal could not be written"
        self._add("gap", 1, jsonrpc.encode({"from": first, "to": last, "why": why}))

    def _trim(self) -> None:
        """Drop the oldest records that need not be here, but none that is not on disk yet."""
        gone = 0
        while self._bytes > RING_SMALL or len(self._ring) - gone > RING_RECORDS:
            if len(self._ring) - gone <= 1 or not self._is_droppable(self._ring[gone]):
                break
            self._bytes -= len(self._ring[gone].data)
            gone += 1
        del self._ring[:gone]

    def _is_droppable(self, record: Record) -> bool:
        """On disk, and read by all or one of very many; where there is no disk, memory has to do."""
        if record.last > self.kept:
            return False
        many = self._bytes > RING_LARGE or len(self._ring) > RING_RECORDS
        read = all(cursor.next > record.last for cursor in self.cursors)
        if self.keeper.journal is None:
            return many and (read or self._bytes > RING_LAST)
        return many or read

    def recent(self, since: int) -> Record | None:
        """The part of a record in the ring that begins with number `since`; None if it has left the ring."""
        ring = self._ring
        if not ring or since < ring[0].first:
            return None
        at = len(ring) - 1
        if since < ring[at].first:  # a reader that is up to date wants the last one
            at = bisect_right(ring, since, key=first_of) - 1
        return ring[at].slice_from(since)

    async def page(self, since: int) -> list[Record]:
        """Records from number `since` on, which has left the ring; what is lost stands there as a gap."""
        oldest = self._ring[0].first if self._ring else self.next
        try:
            records = await self.keeper.read(self.number, since, PAGE)
        except JournalError as error:
            records, why = [], error.message
        else:
            why = "older events are not kept: there is no journal"
        end = records[0].first if records else oldest
        if end > since:
            lost = jsonrpc.encode({"from": since, "to": end - 1, "why": why})
            return [Record(since, end - since, time.time(), "gap", lost), *records]
        return records


@attrs.define(eq=False)
class Cursor:
    """One reader of a log; `next` is the number it reads next."""

    log: Log
    next: int
    wake: Callable[[], None]
    _page: list[Record] = attrs.field(factory=list)

    def has_more(self, upto: int | None = None) -> bool:
        """Whether there is something to read, up to number `upto`."""
        return self.next <= (self.log.last if upto is None else min(upto, self.log.last))

    async def take(self) -> Record:
        """The next record; call it only when it `has_more`. Waits for nothing but a page of the journal."""
        record = self._page.pop(0) if self._page else self.log.recent(self.next)
        while record is None:
            self._page = await self.log.page(self.next)
            record = self._page.pop(0) if self._page else self.log.recent(self.next)
        self.next = record.last + 1
        return record

    def close(self) -> None:
        self.log.cursors.discard(self)


async def read_range(log: Log, since: int, upto: int, receive: Callable[[Record], None]) -> None:
    """Read a log from one number to another; others get their turn between its records."""
    cursor = log.cursor(since)
    try:
        while cursor.has_more(upto):
            receive(await cursor.take())
            await trio.lowlevel.checkpoint()
    finally:
        cursor.close()
