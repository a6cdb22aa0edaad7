"""What one record of a log is to a client: the frames that it is sent for it."""

from __future__ import annotations

from trio_broker.journal.record import Record
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.extensions import META

EVENT = "_trio_broker/event"
POSITION = "_trio_broker/position"


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


def prompt_frames(session_id: str, record: Record, but: str | None = None) -> bytes:
    """A `started` event as the `user_message_chunk`s of an ACP conversation; b"" for the prompts of `but`, and for
    every other event.
    """
    if record.kind != "started":
        return b""
    event = jsonrpc.decode(record.data)
    if but is not None and event.get("author") == but and not event.get("editedBy"):
        return b""  # it knows what it said
    id = f"prompt-{event.get('promptId')}"
    meta = {META: {"author": event.get("author"), "seq": record.first}}
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
