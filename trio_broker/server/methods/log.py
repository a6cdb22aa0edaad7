"""The broker's own methods about logs: follow one, page through it, wait for something in it, take it out or away."""

from __future__ import annotations

from typing import Any

import trio

from trio_broker.auth.grant import check_not_own
from trio_broker.errors import Misuse, NoPrompt, NoSession
from trio_broker.journal.log import Log, read_range
from trio_broker.journal.record import Record
from trio_broker.journal.transcript import Transcript
from trio_broker.model import Phase
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.codec import structure
from trio_broker.protocol.jsonrpc import Message
from trio_broker.server.connection import AsyncMethod, Connection, SyncMethod
from trio_broker.server.methods.params import (
    ImportParams,
    PruneParams,
    ReadParams,
    SessionRef,
    WaitParams,
    find_session,
)
from trio_broker.session.session import Session

AT_REST = (Phase.IDLE, Phase.SUSPENDED, Phase.DEAD, Phase.CLOSED)
PAGE = 1024 * 1024  # bytes of a log after which a page is full
ROLES = ("controller", "observer")
UNTIL = {"idle": "idle", "ask": "waiting", "closed": "closed"}


def attach(connection: Connection, message: Message) -> None:
    """Hear a session from number `since` on, or from now: every update as it came, every other event as one of ours.

    An observer is asked nothing, and has no hand in the session until it attaches as a controller.

    Each `session/update` is the next number; each `_trio_broker/event` says its own (`seq`), and a gap may have all up
    to its `to`. It wakes no agent.
    """
    asked = structure(message.params, ReadParams)
    if asked.role not in (None, *ROLES):
        raise Misuse(f"params.role: expected one of {', '.join(ROLES)}, not {asked.role!r}")
    session = find_session(connection, SessionRef(asked.session_id, asked.key))
    if asked.role == "controller":
        check_not_own(connection.grant, session.key)
    since = session.log.last + 1 if asked.since is None else session.log.resume_position(asked.since)
    view = {"sessionId": session.session_id, "key": session.key, "next": since, "last": session.log.last}
    connection.reply(message, jsonrpc.encode({**view, "phase": session.phase.value}))
    connection.subscriptions.attach(session, since, observer=asked.role == "observer")


def detach(connection: Connection, message: Message) -> bytes:
    """Hear no more of a session; its turns go on."""
    connection.subscriptions.detach(find_session(connection, structure(message.params, SessionRef)))
    return b"{}"


def positions(connection: Connection, message: Message) -> bytes:
    """From now on be told where in its log each session is: before what its next `count` events, from number `seq` on,
    are for this client, which is so many `lines`. `session/resume` takes such a number as `since`, with `began`.
    """
    connection.subscriptions.positions = True
    return b"{}"


async def events(connection: Connection, message: Message) -> bytes:
    """A page of a session's log, of a closed one too: at most `limit` events, and the number of the `next`.

    It is shorter where the events are long, for it is decoded and encoded here, and others wait meanwhile.
    """
    asked = structure(message.params, ReadParams)
    log = await _log_of(connection, asked.session_id, asked.key)
    next = since = log.resume_position(asked.since or 1)
    found: list[dict[str, Any]] = []
    cursor, size, left = log.cursor(since), 0, max(1, asked.limit)
    try:
        while size < PAGE and left and cursor.has_more():
            record = await cursor.take()
            views = _event_views(record, left)
            found += views
            left, size = left - len(views), size + len(record.data)
            next = record.last + 1 if record.kind != "update" else record.first + len(views)
            await trio.lowlevel.checkpoint()
    finally:
        cursor.close()
    return jsonrpc.encode({"events": found, "next": next, "last": log.last})


def _event_views(record: Record, limit: int) -> list[dict[str, Any]]:
    if record.kind != "update":
        return [{**jsonrpc.decode(record.data), "seq": record.first, "at": record.at, "kind": record.kind}]
    lines = record.data.split(b"\n")[: min(record.count, limit)]
    updates = [jsonrpc.decode(line)["params"].get("update") for line in lines]  # an agent may leave it out
    return [
        {"seq": number, "at": record.at, "kind": "update", "update": update}
        for number, update in enumerate(updates, record.first)
    ]


async def history(connection: Connection, message: Message) -> None:
    """What was said and done, for people: prompts, answers, tools, asks, ends; merged as in a replay."""
    asked = structure(message.params, ReadParams)
    log = await _log_of(connection, asked.session_id, asked.key)
    async with connection.full_read_lock:
        history, last = Transcript(), log.last
        await read_range(log, asked.since or 1, last, history.feed)
        connection.reply(message, jsonrpc.encode({"items": history.items(), "last": last}))


async def _log_of(connection: Connection, session_id: str | None, key: str | None) -> Log:
    """The log of a session that is here, or of one that was closed. Raises NoSession."""
    try:
        return find_session(connection, SessionRef(session_id, key)).log
    except NoSession:
        saved = await connection.broker.archive.find_saved(session_id, key, connection.grant)
        return Log(connection.broker.keeper, saved.number, next=saved.last + 1, kept=saved.last)


async def wait(connection: Connection, message: Message) -> bytes:
    """Answer when it has come to that; at once if it has already."""
    asked = structure(message.params, WaitParams)
    if asked.until not in UNTIL:
        raise Misuse(f"params.until: expected one of {', '.join(UNTIL)}, not {asked.until!r}")
    session = find_session(connection, SessionRef(asked.session_id, asked.key))
    _check_known(session, asked.prompt_id)
    woken = trio.Event()

    def stir() -> None:
        nonlocal woken
        woken.set()
        woken = trio.Event()

    cursor = session.log.cursor(session.log.last + 1, stir)
    try:
        while not _is_reached(session, asked):
            await woken.wait()
    finally:
        cursor.close()
    ended = session.turns.outcomes.get(asked.prompt_id or "")
    return jsonrpc.encode({"phase": session.phase.value, "ended": ended})


def _check_known(session: Session, prompt_id: str | None) -> None:
    """Raises NoPrompt for one that nobody has sent, or that ended long ago."""
    turns = session.turns
    if prompt_id is not None and turns.find(prompt_id) is None and prompt_id not in turns.outcomes:
        shown = "`trio-broker queue list` shows those that wait, `sessions history` those that ended"
        raise NoPrompt(f"session {session.key!r} knows of no prompt {prompt_id!r}; {shown}", key=session.key)


def _is_reached(session: Session, asked: WaitParams) -> bool:
    if asked.prompt_id is not None:
        return asked.prompt_id in session.turns.outcomes
    at_rest = session.phase in AT_REST and not session.turns.queued()
    return session.ending or (at_rest if asked.until == "idle" else session.phase.value == UNTIL[asked.until])


async def export(connection: Connection, message: Message) -> bytes:
    """A page of a session as lines of NDJSON, of a closed one too: line `since` and those after it."""
    asked = structure(message.params, ReadParams)
    log = await _log_of(connection, asked.session_id, asked.key)
    lines, next = await connection.broker.archive.export(log.number, asked.since or 1, max(1, asked.limit))
    return jsonrpc.encode({"lines": lines, "next": next})


async def import_session(connection: Connection, message: Message) -> bytes:
    """Take in what `export` gave: a closed session of its own, once the last page is here. Raises JournalError, with
    the line; then, or when the connection goes before, nothing of it stays.
    """
    asked, archive = structure(message.params, ImportParams), connection.broker.archive
    begun = archive.begin_import() if asked.number is None else archive.get_import(asked.number)
    if asked.number is None:
        connection.nursery.start_soon(begun.run)
    await begun.feed(asked.lines, last=not asked.more)
    return jsonrpc.encode({"number": begun.number})


async def prune(connection: Connection, message: Message) -> bytes:
    """Forget closed sessions older than so many seconds, and what logs hold above their limit."""
    asked, keep = structure(message.params, PruneParams), connection.broker.config.journal.keep_bytes
    pruned = await connection.broker.archive.prune(asked.older_than, keep or None)
    return jsonrpc.encode({"deleted": pruned})


async def delete(connection: Connection, message: Message) -> bytes:
    """End a session, and forget it with its log."""
    asked = structure(message.params, SessionRef)
    try:
        await connection.broker.delete(find_session(connection, asked))
    except NoSession:
        saved = await connection.broker.archive.find_saved(asked.session_id, asked.key, connection.grant)
        await connection.broker.archive.forget(saved.number)
    return b'{"deleted":true}'


SYNC_METHODS: dict[str, SyncMethod] = {"attach": attach, "detach": detach, "positions": positions}
ASYNC_METHODS: dict[str, AsyncMethod] = {
    "events": events,
    "history": history,
    "wait": wait,
    "export": export,
    "import": import_session,
    "prune": prune,
    "forget": delete,
    "delete": delete,  # the older name
}
