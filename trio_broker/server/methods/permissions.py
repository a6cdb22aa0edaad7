"""The broker's own methods about asks: every question that waits, over all sessions, and an answer to one of them."""

from __future__ import annotations

from typing import Any

from trio_broker.broker.status import ask_view
from trio_broker.errors import Misuse, NoAsk
from trio_broker.journal.log import read_range
from trio_broker.journal.record import Record
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.codec import structure
from trio_broker.protocol.jsonrpc import Message
from trio_broker.server.connection import Connection, SyncMethod
from trio_broker.server.methods.params import AnswerParams, AsksParams, enable_extensions
from trio_broker.session.agent_request import AgentRequest, Answer
from trio_broker.session.session import Session

ANSWERS = ("allow", "deny")
SEARCHED = 100_000  # events of a log in which the answer to a settled ask is looked for


def asks(connection: Connection, message: Message) -> bytes:
    """Every question that waits for an answer, the oldest first; from memory."""
    asked = structure(message.params, AsksParams)
    found = [
        ask_view(session, request)
        for session, request in _open(connection)
        if _fits(session, asked) and asked.ask_id in (None, request.id)
    ]
    return jsonrpc.encode({"asks": sorted(found, key=lambda view: -view["since"])})


def answer(connection: Connection, message: Message) -> bytes | None:
    """Answer one, whoever else is asked. Raises Misuse, with what is offered, and NoAsk, which says who was first."""
    enable_extensions(connection)
    verdict = structure(message.params, AnswerParams)
    for session, request in _open(connection):
        if request.id == verdict.ask_id:
            connection.subscriptions.check_controls(session)
            return jsonrpc.encode(_settle(connection, session, request, _read(request, verdict)))
    connection.nursery.start_soon(_report_settled, connection, message, verdict.ask_id)
    return None


def _open(connection: Connection) -> list[tuple[Session, AgentRequest]]:
    found = ((session, session.router.requests) for session in connection.sessions())
    return [
        (session, request)
        for session, requests in found
        if requests is not None
        for request in requests.visible
    ]


def _fits(session: Session, asked: AsksParams) -> bool:
    return asked.key in (None, session.key) and asked.session_id in (None, session.session_id)


def _read(request: AgentRequest, verdict: AnswerParams) -> Answer:
    if (verdict.option_id is None) == (verdict.answer is None):
        raise Misuse("say either which option, params.optionId, or params.answer: allow or deny")
    if verdict.option_id is not None:
        return request.choose(verdict.option_id)
    if verdict.answer not in ANSWERS:
        raise Misuse(f"params.answer: expected allow or deny, not {verdict.answer!r}")
    return request.decide(allow=verdict.answer == "allow", always=verdict.always, content=verdict.content)


def _settle(
    connection: Connection, session: Session, request: AgentRequest, answer: Answer
) -> dict[str, Any]:
    assert session.router.requests is not None, "it has asked"
    session.router.requests.answer(request, connection.identity, answer)
    option = request.option(answer.option_id)
    return {
        "askId": request.id,
        "key": session.key,
        "title": request.title,
        "outcome": answer.outcome,
        "optionId": answer.option_id,
        "option": option and option["name"],
    }


async def _report_settled(connection: Connection, message: Message, id: str) -> None:
    found = await _settled(connection, id)
    if found is None or "why" in found:
        what = f"there is no ask {id!r}" if found is None else f"ask {id} ended with a broker that died"
        text = f"{what}; `trio-broker pending` lists those that wait for an answer"
        connection.fail(message, NoAsk(text, askId=id))
        return
    after = f", {found['after']:.1f} s after it was asked" if isinstance(found.get("after"), float) else ""
    how = found.get("option") or found.get("outcome")
    text = f"ask {id} ({found.get('title')}) was settled already: {how}, by {found.get('by')}{after}"
    connection.fail(message, NoAsk(text, askId=id, settled=found))


async def _settled(connection: Connection, id: str) -> dict[str, Any] | None:
    """The event that says how an ask of a session that is here has ended, or the gap in which it went.

    Its id says where to look.
    """
    log_number, _, first = id.partition("-")
    if not (log_number.isdecimal() and first.isdecimal()):
        return None
    found: list[dict[str, Any]] = []

    def collect(record: Record) -> None:
        event = jsonrpc.decode(record.data) if record.kind in ("answer", "gap") else {}
        if event.get("askId") == id or (record.kind == "gap" and record.first == int(first)):
            found.append(event)

    for session in connection.sessions():
        if session.log.number == int(log_number):
            last = min(session.log.last, int(first) + SEARCHED)
            await read_range(session.log, int(first), last, collect)
    return found[0] if found else None


SYNC_METHODS: dict[str, SyncMethod] = {"asks": asks, "answer": answer}
