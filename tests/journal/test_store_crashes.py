"""Whatever is appended, read, closed and crashed in whatever order: a prefix is there, no batch is there by half.

A crash is the files as they stand while a batch is written: of what came to the write-ahead log behind the last commit,
any part is there, and behind it may be rubbish.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from trio_broker.journal.record import Record
from trio_broker.journal.store import Append, Journal

BATCH = st.lists(st.tuples(st.sampled_from([1, 2]), st.integers(1, 4)), min_size=1, max_size=4)
Logs = dict[int, list[Record]]


def lines(first: int, count: int) -> bytes:
    return b"".join(b'{"n":%d}\n' % number for number in range(first, first + count))


def with_batch(logs: Logs, batch: list[tuple[int, int]]) -> tuple[Logs, list[Append]]:
    """The logs with a batch added, and the batch as changes."""
    after, changes = {session: list(records) for session, records in logs.items()}, []
    for session, count in batch:
        first = after[session][-1].last + 1 if after[session] else 1
        record = Record(first, count, 1.5, "update", lines(first, count))
        after[session].append(record)
        changes.append(Append(session, record))
    return after, changes


class Crashes(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="tb"))
        self.lives = 0
        self.logs: Logs = {1: [], 2: []}
        self.journal = Journal.open(self.folder / "0")

    def wal(self) -> bytes:
        wal = Path(f"{self.journal.path}-wal")
        return wal.read_bytes() if wal.exists() else b""

    @rule(batch=BATCH)
    def write(self, batch: list[tuple[int, int]]) -> None:
        self.logs, changes = with_batch(self.logs, batch)
        self.journal.write(changes)

    @rule(batch=BATCH)
    def write_again_what_is_there(self, batch: list[tuple[int, int]]) -> None:
        changes = [Append(session, record) for session, _ in batch for record in self.logs[session][-1:]]
        self.journal.write(changes)

    @rule()
    def close_and_open(self) -> None:
        self.journal.close()
        self.journal = Journal.open(self.journal.path)

    @rule(batch=BATCH, part=st.floats(0, 1), rubbish=st.binary(max_size=40))
    def crash(self, batch: list[tuple[int, int]], part: float, rubbish: bytes) -> None:
        sure, (after, changes) = len(self.wal()), with_batch(self.logs, batch)
        self.lives += 1
        copy = self.folder / str(self.lives)
        shutil.copy(self.journal.path, copy)
        self.journal.write(changes)
        wal = self.wal()
        cut = sure + round(part * (len(wal) - sure))
        Path(f"{copy}-wal").write_bytes(wal[:cut] + rubbish)
        self.journal.close()
        self.journal = Journal.open(copy)
        assert self.journal.moved_aside is None
        found = {session: self.journal.read(session, 1, 1 << 30) for session in self.logs}
        assert found == after or (found == self.logs and cut < len(wal))
        self.logs = found

    @rule(session=st.sampled_from([1, 2]), since=st.integers(1, 30), limit=st.integers(1, 100))
    def read(self, session: int, since: int, limit: int) -> None:
        page = self.journal.read(session, since, limit)
        log = [record for record in self.logs[session] if record.last >= since]
        whole = [log[0].slice_from(since), *log[1:]] if log else []
        assert page == whole[: len(page)]
        assert len(page) == len(whole) or sum(len(record.data) for record in log[: len(page)]) >= limit

    @invariant()
    def it_is_sound(self) -> None:
        assert self.journal.check() == []

    def teardown(self) -> None:
        self.journal.close()
        shutil.rmtree(self.folder)


TestCrashes = Crashes.TestCase
TestCrashes.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
