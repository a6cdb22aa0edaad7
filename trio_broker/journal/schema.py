"""The SQLite file's schema, its migrations, and how connections to it are opened."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from trio_broker.errors import JournalError

VERSION = 2
PAGE_SIZE = 8192  # bytes, of a new file: a turn's end writes three pages, a block of 64 KiB eight
PATIENCE = 5.0  # seconds to wait for a lock; only a copy or another tool could hold one
SCHEMA = """
CREATE TABLE session (
    number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, session_id TEXT NOT NULL, state TEXT NOT NULL,
    meta TEXT NOT NULL, created_at REAL NOT NULL, updated_at REAL NOT NULL
);
CREATE TABLE record (
    id INTEGER PRIMARY KEY, session INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL,
    at REAL NOT NULL, kind TEXT NOT NULL, data BLOB NOT NULL
);
CREATE UNIQUE INDEX record_number ON record (session, first);
CREATE INDEX record_turn ON record (session, first) WHERE kind IN ('queued', 'started', 'ended', 'ask', 'answer');
"""
RESERVED = "CREATE TABLE reserved (session INTEGER PRIMARY KEY, upto INTEGER NOT NULL);"
MIGRATIONS = {0: SCHEMA, 1: RESERVED}  # from that version to the next one


def connect(
    path: Path, probes: Sequence[str], *, full: bool
) -> tuple[sqlite3.Connection, sqlite3.Connection, sqlite3.Connection]:
    """Three connections to the file, made or migrated as needed: one to write, one to read, one to fold.

    `probes` are queries that have to work. `full`: survive a power cut. Raises sqlite3.Error and OSError with no
    connection left open, and JournalError for a file that a newer version or another program wrote.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))  # sqlite's other files get its mode
    synchronous = f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}"
    with contextlib.ExitStack() as stack:  # all are closed before a damaged file is put aside
        writer = stack.enter_context(contextlib.closing(_connection(path)))
        _migrate(writer, path)
        writer.execute("PRAGMA journal_mode = WAL").close()
        writer.execute("PRAGMA wal_autocheckpoint = 0").close()  # `checkpoint` does it
        writer.execute(synchronous).close()
        reader = stack.enter_context(contextlib.closing(_connection(path)))
        reader.execute("PRAGMA query_only = ON").close()
        reader.text_factory = _text
        folder = stack.enter_context(contextlib.closing(_connection(path)))
        folder.execute(synchronous).close()
        for probe in probes:
            reader.execute(probe).fetchall()
        stack.pop_all()
    return writer, reader, folder


def _connection(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)


def put_aside(path: Path) -> Path:
    """Rename a damaged file, with those that SQLite has beside it; the new name."""
    aside = path.with_name(f"{path.name}.corrupt-{int(time.time())}")
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{aside}{suffix}")
    return aside


def _migrate(writer: sqlite3.Connection, path: Path) -> None:
    (version,) = writer.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise JournalError(
            f"{path} was written by a newer trio-broker (its version is {version}, this one knows {VERSION}); "
            "use that one, or move the file away",
            version=version,
        )
    if version == 0:
        if writer.execute("SELECT * FROM sqlite_master").fetchall():
            raise JournalError(f"{path} is a database of something else; move it away")
        writer.execute(f"PRAGMA page_size = {PAGE_SIZE}").close()
        writer.execute("PRAGMA auto_vacuum = INCREMENTAL").close()
    while version < VERSION:
        writer.executescript(
            f"BEGIN; {MIGRATIONS[version]} PRAGMA user_version = {version + 1}; COMMIT;"
        ).close()
        version += 1


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")
