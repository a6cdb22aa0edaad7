"""Folds the journal's write-ahead log into its file, beside the writer: no turn's end waits for the disk to sync.

SQLite would do it at the end of a write, which then takes ten times as long (SQLite: Write-Ahead Logging, section 3.1).
The log begins anew when all of it has been folded. A flood keeps ahead of that, so above MOST floods wait, for as long
as it takes: what somebody waits for is written meanwhile. Only while another program reads the file it may grow on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import attrs
import trio

from trio_broker.errors import JournalError
from trio_broker.ioutil import trim_heap
from trio_broker.journal.schema import PAGE_SIZE
from trio_broker.journal.store import Journal

log = logging.getLogger(__name__)

BESIDE = 4 * PAGE_SIZE  # bytes of log that a write takes beside what is written
EVERY = 4 * 1024 * 1024  # bytes written between two foldings
MOST = 32 * 1024 * 1024  # bytes of log above which floods wait
REST = 1024 * 1024  # bytes that may be folded in the writer's turn: a few milliseconds
AT_REST = 5.0  # seconds after a write in which less than EVERY was written
FLOOD = 16 * 1024 * 1024  # bytes after which memory is given back when it comes to rest
RETRY = 1.0  # seconds after a folding that failed


@attrs.define(eq=False)
class Folding:
    """`turn` is had by who writes. While it is `holding`, only what somebody waits for should be written."""

    journal: Journal
    turn: trio.CapacityLimiter
    on_room: Callable[[], None]  # told when the holding ends
    holding: bool = False
    _size: int = 0  # of the log, about
    _since: int = 0  # bytes of it written since the last folding began
    _passed: int = 0  # bytes written since memory was given back
    _wrote: trio.Event = attrs.field(factory=trio.Event)
    _due: trio.Event = attrs.field(factory=trio.Event)
    _beside: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))

    def note(self, size: int) -> None:
        """So many bytes of records were written at once."""
        size += BESIDE
        self._size += size
        self._since += size
        self._passed += size
        self._wrote.set()
        self.holding = self.holding or self._size > MOST
        if self.holding or self._since >= EVERY:
            self._due.set()

    async def run(self) -> None:
        """Fold until cancelled. One that fails is tried again; on a full disk the writer fails, too."""
        while True:
            await self._wrote.wait()
            self._wrote = trio.Event()
            with trio.move_on_after(AT_REST) as rest:
                await self._due.wait()
            self._due = trio.Event()
            try:
                await self._fold()
                if rest.cancelled_caught:
                    await self._give_back()
                else:
                    self._wrote.set()  # it comes to rest later
            except JournalError as error:
                log.warning("journal_not_folded why=%s", error.message)
                self._let_go()
                await trio.sleep(RETRY)
                self._wrote.set()
                self._due.set()

    async def _fold(self) -> None:
        await self._once(self._beside)
        if self.holding:
            if self._since > REST:
                await self._once(self._beside)
            await self._once(self.turn)  # nothing is written meanwhile: the next write begins the log anew
        self._let_go()

    async def _once(self, limiter: trio.CapacityLimiter) -> None:
        self._since = 0
        await trio.to_thread.run_sync(self.journal.checkpoint, limiter=limiter)

    async def _give_back(self) -> None:
        if self._passed >= FLOOD:
            self._passed = 0
            await trio.to_thread.run_sync(trim_heap, limiter=self._beside)

    def _let_go(self) -> None:
        if self.holding:
            self.holding, self._size = False, 0
            self.on_room()
