"""Prompts of clients, and their cancels: which turn each comes to, and what its sender is told."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from trio_broker.broker.authorization import allowed_params, allowed_policy, may_cancel
from trio_broker.errors import BadMessage, Busy, Misuse, NoPrompt, SessionOver, from_rpc
from trio_broker.model import Answered, Cancelled, Failed, Outcome
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.extensions import META_KEY
from trio_broker.protocol.jsonrpc import Message, id_key
from trio_broker.server.connection import Connection
from trio_broker.session.session import Session
from trio_broker.session.turn_queue import Turn, preview_text

IF_BUSY = ("queue", "reject", "interrupt")
NONE: Mapping[str, Any] = MappingProxyType({})


def prompt(connection: Connection, message: Message) -> None:
    """Queue the prompt; its reply is the turn's outcome. Raises QueueFull, NoSession, SessionOver.

    One that is sent `again` is not queued: its turn is waited for, or its outcome is told. Raises NoPrompt for one that
    is not known.
    """
    connection.check_initialized()
    session = connection.session(message)
    options = broker_options(message.params)
    turn = new_turn(connection, message.params, options)
    again = options.get("again") is True
    if (ended := session.turns.outcomes.get(turn.prompt_id)) is not None:
        if again:
            connection.reply_outcome(message, session, _outcome(ended))
            return
        raise Misuse(f"the prompt {turn.prompt_id!r} has run already: {ended['outcome']}", ended=ended)
    there = session.turns.find(turn.prompt_id)
    if there is not None:  # its sender has lost the connection perhaps: it runs once, and both are told
        connection.subscriptions.attach(session)
        turn = there
    elif again:
        raise NoPrompt(
            f"the broker knows nothing of the prompt {turn.prompt_id!r}: if it has not run, send it anew"
        )
    turn.on_end(partial(connection.reply_outcome, message, session))
    connection.prompts[id_key(message.id or b"null")] = session, turn
    if there is None:
        submit_if(connection, session, turn, options.get("ifBusy"))


def _outcome(ended: dict[str, Any]) -> Outcome:
    """That of a turn which ended earlier, as far as the log has it."""
    if ended["outcome"] == "cancelled":
        return Cancelled(note=ended.get("note"))
    if (reason := ended.get("stopReason")) is not None:
        return Answered(jsonrpc.encode({"stopReason": reason}))
    why = ended.get("error") or ended.get("note") or "what came of it is not known"
    kind = ended.get("code") or SessionOver.code
    return Failed(from_rpc({"message": why, "data": {"kind": kind, "ended": ended}}))


def submit_if(connection: Connection, session: Session, turn: Turn, if_busy: object = None) -> int:
    """Queue a turn; what if the session is busy: `queue` it, `reject` it, or `interrupt` what runs. Its position.

    Raises Misuse, Busy (rejected), QueueFull (nothing is interrupted then), SessionOver.
    """
    if if_busy not in (None, *IF_BUSY):
        raise Misuse(f"ifBusy: expected one of {', '.join(IF_BUSY)}, not {if_busy!r}")
    turns = session.turns
    if if_busy == "reject" and turns.busy:
        what = "a turn runs" if turns.running is not None else "prompts wait"
        raise Busy(f"session {session.key!r} is busy: {what}; queue this one, or interrupt", key=session.key)
    position = connection.submit(session, turn, first=if_busy == "interrupt")
    if if_busy == "interrupt" and turns.running is not None:
        session.cancel(turns.running, f"interrupted by {connection.identity}")
    return position


def new_turn(connection: Connection, params: bytes, options: Mapping[str, Any] = NONE) -> Turn:
    """A turn for raw `session/prompt` parameters, with the options that stood in their `_meta["trio-broker"]`."""
    members = jsonrpc.members(params)
    blocks = members.get("prompt", b"")
    if not blocks.startswith(b"["):
        raise BadMessage(
            "params.prompt: expected an array of content blocks", rpc_code=jsonrpc.INVALID_PARAMS
        )
    chosen = options.get("policy")
    known = allowed_params(connection.grant, "session/prompt", params)
    turn = Turn(known, author=connection, text=preview_text(blocks))
    turn.policy = allowed_policy(connection.grant, chosen) if isinstance(chosen, str) else None
    if isinstance(wanted := options.get("promptId"), str):
        turn.prompt_id = wanted
    return turn


def broker_options(params: bytes) -> dict[str, Any]:
    """What a `session/prompt` says to the broker, in its `_meta["trio-broker"]`."""
    meta = jsonrpc.decode(jsonrpc.members(params).get("_meta", b"null"))
    options = meta.get(META_KEY) if isinstance(meta, dict) else None
    return options if isinstance(options, dict) else {}


def cancel(connection: Connection, message: Message) -> None:
    """`session/cancel`: the running turn's agent hears it at once, and the caller's own queued prompts end (D10)."""
    session = connection.session(message)
    connection.subscriptions.check_controls(session)
    for turn in session.turns.queued():
        if turn.author is connection:
            session.cancel(turn)
    if session.turns.running is not None:
        session.cancel(session.turns.running)


def cancel_request(connection: Connection, message: Message) -> None:
    """`$/cancel_request`: a prompt's turn is cancelled; what was passed on is cancelled under its id there (D2).

    Of a verb of ours that waits, only the waiting ends: what it began goes on, as when its client leaves.
    """
    token = jsonrpc.members(message.params).get("requestId", b"null")
    if found := connection.prompts.get(id_key(token)):
        session, turn = found
        if may_cancel(connection.grant, session, turn):  # a prompt sent again may be another's
            session.cancel(turn)
    elif passed := connection.forwarded.get(id_key(token)):
        agent, number = passed
        agent.notify("$/cancel_request", jsonrpc.encode({"requestId": number}))
    elif waiting := connection.waiting_calls.get(id_key(token)):
        waiting.cancel()
