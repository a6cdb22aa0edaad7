"""What one client follows: a cursor on the log of each session, and the form in which it gets each record."""

from __future__ import annotations

from functools import partial

import attrs
import trio

from trio_broker.auth.grant import Grant, Scope, check_not_own
from trio_broker.errors import Forbidden
from trio_broker.journal.log import Cursor, Log
from trio_broker.journal.record import Record
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.capabilities import ClientCapabilities, downgrade_updates
from trio_broker.protocol.extensions import EVENT, META_KEY, POSITION
from trio_broker.session.router import AttachedClient
from trio_broker.session.session import Session
from trio_broker.transport.outbox import Outbox


@attrs.define(eq=False)
class Subscriptions:
    """`client` is the client itself, as sessions know it; its `grant` says whether they may ask it anything.

    `events`: it gets every record as one of the broker's own events, and all updates as they came. `positions`: it is
    told before each batch of lines where in the log it is.
    """

    client: AttachedClient
    outbox: Outbox
    grant: Grant
    capabilities: ClientCapabilities = attrs.field(factory=ClientCapabilities)
    events: bool = False
    positions: bool = False
    attached: dict[Session, Cursor] = attrs.field(factory=dict)
    _observing: set[Session] = attrs.field(factory=set)  # those of them that it has no hand in, as it wished

    def attach(self, session: Session, since: int | None = None, *, observer: bool = False) -> Cursor:
        """From now on the client hears the session, from number `since` on or from here. Twice is once.

        A controller may be asked, and an observer is not; whoever may not answer asks is not asked either. Who may not
        act on the session is an observer.
        """
        observer = observer or not self.grant.may_act_on(session.key)
        if since is not None or session not in self.attached:
            self.detach(session)
            session.used_at = trio.current_time()
            if observer:
                self._observing.add(session)
            here = session.router.unseen_since or session.log.last + 1
            cursor = session.log.cursor(here if since is None else since)
            self.attached[session] = cursor
            self.outbox.subscribe(cursor, partial(self._render, session))
            session.router.attach(self.client, observes=observer or not self.grant.may(Scope.ANSWER))
            if self.positions:
                self.outbox.put(position_frame(session.session_id, session.log.began, cursor.next))
        return self.attached[session]

    def detach(self, session: Session) -> None:
        """The client hears no more of the session; its turns go on. Twice is once."""
        if cursor := self.attached.pop(session, None):
            self.outbox.unsubscribe(cursor)
            self._observing.discard(session)
            session.used_at = trio.current_time()
            session.router.detach(self.client)

    def detach_all(self) -> None:
        for session in tuple(self.attached):
            self.detach(session)

    def cursor_of(self, log: Log) -> Cursor | None:
        """The client's cursor on this log, if it follows it."""
        return next((cursor for session, cursor in self.attached.items() if session.log is log), None)

    def check_controls(self, session: Session) -> None:
        """Raises Forbidden if the client has attached to the session as an observer, or if it is its agent's own."""
        check_not_own(self.grant, session.key)
        if session in self._observing:
            raise Forbidden(
                f"this connection observes session {session.key!r}; attach to it as a controller first",
                key=session.key,
            )

    def _render(self, session: Session, record: Record) -> bytes:
        """The frames of one record, for this client: a plain ACP client sees the updates, and others' prompts."""
        if record.kind == "update":  # who has our events counts the updates, so it gets them all
            frames = (
                record.data
                if self.events or record.plain
                else downgrade_updates(record.data, self.capabilities, record.first)
            )
        elif self.events:
            frames = event_frame(session.session_id, session.key, record)
        else:
            frames = prompt_frames(session.session_id or "", record, exclude_author=self.client.name)
        if self.positions:
            here = record.first, record.count, frames.count(b"\n")
            return position_frame(session.session_id, session.log.began, *here) + frames
        return frames


def event_frame(session_id: str | None, key: str, record: Record) -> bytes:
    """Any record as a `_trio_broker/event`."""
    facts = {
        "kind": record.kind,
        "sessionId": session_id,
        "key": key,
        "seq": record.first,
        "at": record.at,
    }
    params = jsonrpc.encode(facts)
    if len(record.data) > 2:
        params = params[:-1] + b"," + record.data[1:]
    return jsonrpc.notification(EVENT, params)


def prompt_frames(session_id: str, record: Record, exclude_author: str | None = None) -> bytes:
    """A `started` event as the `user_message_chunk`s of an ACP conversation.

    b"" for the prompts of `exclude_author`, and for every other event.
    """
    if record.kind != "started":
        return b""
    event = jsonrpc.decode(record.data)
    if exclude_author is not None and event.get("author") == exclude_author and not event.get("editedBy"):
        return b""  # it knows what it said
    id = f"prompt-{event.get('promptId')}"
    meta = {META_KEY: {"author": event.get("author"), "seq": record.first}}
    updates = [
        {"sessionUpdate": "user_message_chunk", "content": block, "messageId": id, "_meta": meta}
        for block in event.get("prompt") or ()
    ]
    return b"".join(
        jsonrpc.notification("session/update", jsonrpc.encode({"sessionId": session_id, "update": update}))
        for update in updates
    )


def position_frame(
    session_id: str | None, began: int | None, seq: int, count: int = 0, lines: int = 0
) -> bytes:
    """What follows: `count` events of this session, from number `seq` on, in so many `lines`.

    `began`: the first number that this broker has given, by which its numbers are told from those of another.
    """
    params = {"sessionId": session_id, "began": began or 1, "seq": seq, "count": count, "lines": lines}
    return jsonrpc.notification(POSITION, jsonrpc.encode(params))
