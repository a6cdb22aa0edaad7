"""The broker's own methods about a session's queue: what waits there, and changes to it, of which authors are told."""

from __future__ import annotations

from typing import Any

import trio

from trio_broker.auth.grant import Scope, require_scope
from trio_broker.broker.authorization import allowed_params, may_edit
from trio_broker.broker.status import turn_view
from trio_broker.errors import BadMessage, Misuse, NoPrompt
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.codec import structure
from trio_broker.protocol.jsonrpc import Message
from trio_broker.server.connection import AsyncMethod, Connection, SyncMethod
from trio_broker.server.methods.params import QueueEditParams, SessionRef, find_session
from trio_broker.session.session import Session
from trio_broker.session.turn_queue import Turn, preview_text


def queue(connection: Connection, message: Message) -> bytes:
    """What runs, and what waits for it, in order; from memory. `promptId`: only that one, with its whole `prompt`."""
    asked = structure(message.params, SessionRef)
    session = find_session(connection, asked)
    turns = session.turns
    if asked.prompt_id is not None:
        turn = _waiting(session, asked.prompt_id)
        return jsonrpc.encode_with(_view(turn, turns.queued().index(turn) + 1), prompt=turn.blocks)
    facts = {"key": session.key, "sessionId": session.session_id, "limit": turns.limit}
    running = None if turns.running is None else _running(turns.running)
    queued = [_view(turn, position) for position, turn in enumerate(turns.queued(), 1)]
    return jsonrpc.encode(facts | {"running": running, "queued": queued})


def _view(turn: Turn, position: int) -> dict[str, Any]:
    facts = {"author": turn.author_name, "durable": turn.durable, "editedBy": turn.edited_by}
    return turn_view(turn, position) | facts


def _running(turn: Turn) -> dict[str, Any]:
    began = turn.started_at
    return _view(turn, 0) | {"for": None if began is None else trio.current_time() - began}


async def queue_edit(connection: Connection, message: Message) -> bytes:
    """Edit, move or remove a prompt that waits; answered when that is on disk. Its author is told, by `who`.

    Raises NoPrompt if it does not wait (any more), Forbidden unless it is one's own or one is an admin, Misuse.
    """
    asked = structure(message.params, QueueEditParams)
    blocks = jsonrpc.members(message.params).get("prompt")
    if [blocks is not None, asked.position is not None, asked.remove].count(True) != 1:
        raise Misuse("say what to change, one thing: params.prompt, params.position, or params.remove")
    session = find_session(connection, SessionRef(asked.session_id, asked.key))
    connection.subscriptions.check_controls(session)
    turn = _waiting(session, asked.prompt_id)
    if not may_edit(connection.grant, turn):
        require_scope(connection.grant, Scope.ADMIN, "to change a waiting prompt of another")
    result = _change(connection, session, turn, asked, blocks)
    await session.log.wait_kept()
    return jsonrpc.encode({"promptId": turn.prompt_id, "key": session.key, **result})


def _change(
    connection: Connection, session: Session, turn: Turn, asked: QueueEditParams, blocks: bytes | None
) -> dict[str, Any]:
    turns, by = session.turns, connection.identity
    if asked.remove:
        session.cancel(turn, f"removed from the queue by {by}")
        return {"done": "removed", "position": None}
    if asked.position is not None:
        return {"done": "moved", "position": turns.move(turn, asked.position, by)}
    if blocks is None or not blocks.startswith(b"["):
        raise BadMessage(
            "params.prompt: expected an array of content blocks", rpc_code=jsonrpc.INVALID_PARAMS
        )
    sent = b'{"sessionId":%b,"prompt":%b}' % (jsonrpc.encode(session.session_id), blocks)
    turns.edit(turn, allowed_params(connection.grant, "session/prompt", sent), preview_text(blocks), by)
    return {"done": "edited", "position": turns.queued().index(turn) + 1}


def _waiting(session: Session, prompt_id: str) -> Turn:
    turns = session.turns
    found = next((turn for turn in turns.queued() if turn.prompt_id == prompt_id), None)
    if found is not None:
        return found
    if turns.running is not None and turns.running.prompt_id == prompt_id:
        what = "runs already; cancel it instead"
    elif (ended := turns.outcomes.get(prompt_id)) is not None:
        what = f"has ended already: {ended['outcome']}"
    elif turns.find(prompt_id) is not None:
        what = "has just ended"
    else:
        what = "is not there; `trio-broker queue list` shows those that wait"
    raise NoPrompt(f"prompt {prompt_id!r} of session {session.key!r} {what}", promptId=prompt_id)


SYNC_METHODS: dict[str, SyncMethod] = {"queue": queue}
ASYNC_METHODS: dict[str, AsyncMethod] = {"queue_edit": queue_edit}
