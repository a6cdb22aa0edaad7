"""The journal asked as a whole: sessions that are here no more, exports, imports, and what is to be forgotten."""

from __future__ import annotations

import os
import time

import attrs

from trio_broker.changes import Delete
from trio_broker.errors import Misuse, NoSession
from trio_broker.grant import OWNER, Grant
from trio_broker.journal import Journal, Saved
from trio_broker.keeper import Keeper

PAGE = 8 * 1024 * 1024  # bytes of an export after which a page is full: escaped, it has to fit into a message


@attrs.define(eq=False)
class Archive:
    """Every `async` method waits for the journal, and raises JournalError; Misuse where none is kept."""

    keeper: Keeper
    _next: int = 0

    def next_number(self) -> int:
        """The journal's number for a new session."""
        if self._next == 0:
            self._next = 1 if self.keeper.journal is None else self.keeper.journal.next_number()
        self._next += 1
        return self._next - 1

    async def saved(self, session_id: str | None, key: str | None, grant: Grant = OWNER) -> Saved:
        """A session that is not here any more, the newest that fits and that this grant sees. Raises NoSession."""
        found: list[Saved] = []
        if self.keeper.journal is not None:
            everyone = await self.keeper.ask(self.keeper.journal.sessions)
            fits = [
                saved for saved in everyone if session_id == saved.session_id or (key and key == saved.key)
            ]
            found = [saved for saved in fits if _sees(grant, saved)]
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

    async def import_lines(self, lines: list[str]) -> int:
        """Take in an exported session, closed; its number. Raises JournalError with the line that is wrong."""
        journal, number = self._journal(), self.next_number()  # a session that begins meanwhile gets another
        raw = [line.encode("utf-8", "surrogatepass") for line in lines]
        return await self.keeper.change(lambda: journal.import_lines(raw, number))

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


def _sees(grant: Grant, saved: Saved) -> bool:
    cwd = saved.meta.get("cwd")  # of an imported session it may be anything
    real = os.path.realpath(cwd) if isinstance(cwd, str) and os.path.isabs(cwd) and "\0" not in cwd else ""
    return grant.sees(saved.key, real)
