"""The journal asked as a whole: sessions that are here no more, exports, imports, and what is to be forgotten."""

from __future__ import annotations

import os
import time
from functools import partial

import attrs
import trio

from trio_broker.auth.grant import OWNER, Grant
from trio_broker.errors import Misuse, NoSession
from trio_broker.journal.export import ExportParser
from trio_broker.journal.keeper import Keeper
from trio_broker.journal.store import Append, Change, Delete, Journal, Save, SavedSession

PAGE = 8 * 1024 * 1024  # bytes of an export after which a page is full: escaped, it has to fit into a message


@attrs.define(eq=False)
class SessionImport:
    """A session that is taken in, closed: all or nothing. Its records stand in the journal under a number that is no
    session's before the `end`, in steps of which none holds up for long what others have to write.

    Its methods raise JournalError with the line that is wrong; then nothing of it is left.
    """

    keeper: Keeper
    number: int
    _open: dict[int, SessionImport]
    _parser: ExportParser = attrs.field(factory=ExportParser)
    _ended: trio.Event = attrs.field(factory=trio.Event)
    _busy: bool = False

    async def run(self) -> None:
        """Until it has ended; cancelled, whoever began it is gone, and it is given up."""
        try:
            await self._ended.wait()
        finally:
            self._give_up()

    async def feed(self, lines: list[str], *, last: bool) -> None:
        """Take in the next lines; with the `last` ones it is a session. Raises Misuse while others are taken in."""
        if self._busy:
            raise Misuse("one page at a time: wait for the answer to the one before", number=self.number)
        self._busy, done = True, False
        try:
            await self.keeper.change(partial(self._write, lines, last=last))
            done = True
        finally:
            self._busy = False
            if not done:
                self._give_up()
        if last:
            self._end()

    def _write(self, lines: list[str], *, last: bool) -> None:
        assert self.keeper.journal is not None, "it was there when this began"
        records = self._parser.feed(line.encode("utf-8", "surrogatepass") for line in lines)
        changes: list[Change] = [Append(self.number, record) for record in records]
        self.keeper.journal.write(changes + (self._session_changes() if last else []))

    def _session_changes(self) -> list[Change]:
        header = self._parser.end()
        save = Save(self.number, header.key, header.session_id, "closed", header.meta, header.updated_at)
        made = save if header.created_at is None else attrs.evolve(save, updated_at=header.created_at)
        return [made, save]

    def _give_up(self) -> None:
        if not self._ended.is_set():
            self._end()
            self.keeper.put(Delete(self.number))

    def _end(self) -> None:
        self._open.pop(self.number, None)
        self._ended.set()


@attrs.define(eq=False)
class Archive:
    """Every `async` method waits for the journal, and raises JournalError; Misuse where none is kept."""

    keeper: Keeper
    imports: dict[int, SessionImport] = attrs.field(factory=dict)
    _next: int = 0

    def next_number(self) -> int:
        """The journal's number for a new session."""
        if self._next == 0:
            self._next = 1 if self.keeper.journal is None else self.keeper.journal.next_number()
        self._next += 1
        return self._next - 1

    async def find_saved(self, session_id: str | None, key: str | None, grant: Grant = OWNER) -> SavedSession:
        """A session that is not here any more, the newest that fits and that this grant sees. Raises NoSession."""
        found: list[SavedSession] = []
        if self.keeper.journal is not None:
            everyone = await self.keeper.ask(self.keeper.journal.sessions)
            fits = [
                saved for saved in everyone if session_id == saved.session_id or (key and key == saved.key)
            ]
            found = [saved for saved in fits if _can_see(grant, saved)]
        if not found:
            if key:
                raise NoSession(f"there is no session {key!r}, live or closed", key=key)
            raise NoSession(
                f"there is no session {session_id!r}, live or closed; -s KEY finds the last closed one of that key, "
                "and `sessions new` prints the id of each",
                sessionId=session_id,
            )
        return max(found, key=lambda saved: saved.updated_at)

    async def export(self, number: int, since: int, limit: int) -> tuple[list[str], int | None]:
        """Lines of a session's export from line `since` on, and the number of the next; None at the end.

        At most `limit`, and fewer where they are long.
        """
        journal = self._journal()

        def page() -> tuple[list[str], int | None]:
            lines, size = list[str](), 0
            for line in journal.export_lines(number, since):
                if len(lines) == limit or size >= PAGE:
                    return lines, since + len(lines)
                lines.append(line.decode())
                size += len(line)
            return lines, None

        return await self.keeper.ask(page)

    def begin_import(self) -> SessionImport:
        """Take in an exported session, bit by bit; a session that begins meanwhile gets another number."""
        self._journal()
        begun = SessionImport(self.keeper, self.next_number(), self.imports)
        self.imports[begun.number] = begun
        return begun

    def get_import(self, number: int) -> SessionImport:
        """The one that has begun under this number. Raises Misuse."""
        if number not in self.imports:
            raise Misuse(
                f"no import of number {number} is under way: it has ended, or was given up with its connection "
                "or for a line that was wrong",
                number=number,
            )
        return self.imports[number]

    async def prune(self, older_than: float, keep_bytes: int | None) -> int:
        """Forget closed sessions that nobody changed for so many seconds; how many."""
        journal = self._journal()
        return await self.keeper.change(lambda: journal.prune(time.time() - older_than, keep_bytes))

    async def forget(self, number: int) -> None:
        """Delete a closed session from the journal."""
        self.keeper.put(Delete(number))
        await self.keeper.flush()

    def _journal(self) -> Journal:
        if self.keeper.journal is None:
            raise Misuse("this broker keeps no journal")
        return self.keeper.journal


def _can_see(grant: Grant, saved: SavedSession) -> bool:
    cwd = saved.meta.get("cwd")  # of an imported session it may be anything
    real = os.path.realpath(cwd) if isinstance(cwd, str) and os.path.isabs(cwd) and "\0" not in cwd else ""
    return grant.can_see(saved.key, real)
