"""What of a session is saved, and what a new broker makes of it: the session, suspended, and its open prompts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from trio_broker.agent import catalog
from trio_broker.agent.catalog import AgentSpec
from trio_broker.agent.lifecycle import SessionSettings
from trio_broker.auth.grant import OWNER
from trio_broker.auth.policy import Policy
from trio_broker.config.config import Config
from trio_broker.errors import UnknownAgent
from trio_broker.journal.keeper import Keeper
from trio_broker.journal.log import Log
from trio_broker.journal.record import Record
from trio_broker.journal.store import Delete, Save, SavedSession
from trio_broker.protocol import jsonrpc
from trio_broker.session.permissions import EXPIRED, RESTART
from trio_broker.session.session import Session
from trio_broker.session.state import ConversationState
from trio_broker.session.turn_queue import Turn, preview_text

UNKNOWN = "the broker ended while this turn ran: what came of it is unknown, and it is not sent again"
NEVER_SENT = "the broker ended before this prompt was sent to the agent, and whoever waited for it is gone"


def session_snapshot(session: Session) -> Save:
    """All that a later broker needs; of the environment given to the agent, nothing (it may hold secrets)."""
    settings, state = session.settings, session.state
    meta = {
        "agent": settings.spec.name,
        "argv": list(settings.spec.argv),
        "source": settings.spec.source,
        "cwd": settings.cwd,
        "params": settings.session_params.decode(),
        "policy": settings.policy.value,
        "openedBy": settings.opened_by,
        "agentSessionId": state.agent_session_id,
        "mode": state.mode,
        "options": state.options,
        "title": state.title,
    }
    return Save(
        session=session.log.number,
        key=session.key,
        session_id=session.session_id or "",
        state="closed" if session.closed else "open",
        meta=meta,
        updated_at=time.time(),
    )


@attrs.frozen
class RestoredSession:
    """A saved session; `settle` adds to its log how what was open has ended, and gives what became of all its prompts.

    `queued` is still to be run.
    """

    settings: SessionSettings
    log: Log
    state: ConversationState
    queued: tuple[Turn, ...]
    settle: Callable[[], dict[str, dict[str, Any]]]


def restored_sessions(
    keeper: Keeper, config: Config, resolve: Callable[[str], AgentSpec]
) -> Iterator[RestoredSession]:
    """The sessions that the last broker left open, in its order; of each key the newest. `resolve` as the registry's.

    A broker that failed may have left older sessions of a key. Those without a conversation are deleted.
    """
    newest: dict[str, RestoredSession] = {}
    for saved in reversed(keeper.journal.sessions() if keeper.journal is not None else []):
        if saved.state == "open":
            found = restore_session(saved, keeper, config, resolve)
            if found is None:
                keeper.put(Delete(saved.number))
            else:
                newest.setdefault(saved.key, found)
    return reversed(newest.values())


def restore_session(
    saved: SavedSession, keeper: Keeper, config: Config, resolve: Callable[[str], AgentSpec]
) -> RestoredSession | None:
    """One of them; None for a session that has no conversation to come back to."""
    meta = saved.meta
    if not saved.session_id:
        return None
    next = saved.last + 1
    log = Log(keeper, saved.number, next, kept=saved.last, began=next, reserved=saved.reserved)
    state = ConversationState(
        session_id=saved.session_id,
        agent_session_id=meta.get("agentSessionId"),
        title=meta.get("title"),
        mode=meta.get("mode"),
        options=dict(meta.get("options") or {}),
    )
    records = keeper.journal.turns(saved.number) if keeper.journal is not None else []
    open_turns = _OpenTurns.of(records)
    durable = [event for event in open_turns.queued.values() if event.get("durable")]
    return RestoredSession(
        _settings(saved, config, resolve),
        log,
        state,
        tuple(map(_turn, durable)),
        lambda: open_turns.settle(log),
    )


def _turn(event: dict[str, Any]) -> Turn:
    params = jsonrpc.encode({"prompt": event["prompt"]})
    turn = Turn(params, author_name=event.get("author"), prompt_id=event["promptId"], durable=True)
    turn.text = preview_text(turn.blocks)
    turn.edited_by = event.get("editedBy")
    if (policy := event.get("policy")) is not None:  # its author might choose it, or it would not be queued
        turn.policy = Policy(policy)
    return turn


@attrs.define
class _OpenTurns:
    """What the records of turns leave open: prompts that wait, turns that run, asks without an answer."""

    queued: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    running: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    asks: dict[object, dict[str, Any]] = attrs.field(factory=dict)
    ended: dict[str, dict[str, Any]] = attrs.field(factory=dict)

    @classmethod
    def of(cls, records: list[Record]) -> _OpenTurns:
        open_turns = cls()
        for record in records:
            open_turns._apply(record, jsonrpc.decode(record.data))
        return open_turns

    def _apply(self, record: Record, event: dict[str, Any]) -> None:
        id = event.get("promptId", "")
        if record.kind == "queued":  # again, when it was edited or moved, or begun and not sent
            self.running.pop(id, None)
            edited = {"editedBy": event["by"]} if event.get("event") == "edited" else {}
            self.queued[id] = self.queued.get(id, {}) | event | edited
            order = [other for other in event.get("order", ()) if other in self.queued]
            self.queued = {other: self.queued[other] for other in (*order, *self.queued)}
        elif record.kind == "started":
            self.queued.pop(id, None)
            self.running[id] = event
        elif record.kind == "ended":
            self.queued.pop(id, None)
            self.running.pop(id, None)
            self.ended[id] = {name: value for name, value in event.items() if name != "promptId"}
        elif record.kind == "ask":
            self.asks[event.get("askId", record.first)] = event
        elif record.kind == "answer":
            self.asks.pop(event.get("askId"), None)

    def settle(self, log: Log) -> dict[str, dict[str, Any]]:
        log.skip_told()
        for id, ask in self.asks.items():
            log.append(
                "answer",
                askId=id,
                method=ask.get("method"),
                by=RESTART,
                outcome="expired",
                title=ask.get("title"),
                childSessionId=ask.get("childSessionId"),
                note=EXPIRED,
            )
        for id in self.running:
            self._end(log, id, {"outcome": "unknown", "note": UNKNOWN})
        for id, event in self.queued.items():
            if not event.get("durable"):
                self._end(log, id, {"outcome": "failed", "error": NEVER_SENT})
        log.give_back()
        return self.ended

    def _end(self, log: Log, id: str, how: dict[str, Any]) -> None:
        log.append("ended", promptId=id, **how)
        self.ended[id] = how


def _settings(saved: SavedSession, config: Config, resolve: Callable[[str], AgentSpec]) -> SessionSettings:
    meta = saved.meta
    spec, params = _spec(meta, resolve), meta["params"].encode()
    found = SessionSettings.of(config, saved.key, spec, meta["cwd"], params, Policy(meta["policy"]))
    return attrs.evolve(found, opened_by=meta.get("openedBy", OWNER.name))


def _spec(meta: dict[str, Any], resolve: Callable[[str], AgentSpec]) -> AgentSpec:
    """The agent as it is configured now; as it was, if it was a command given on the spot, or is configured no more."""
    if meta["source"] != "command":
        try:
            return resolve(meta["agent"])
        except UnknownAgent:
            pass  # its command line may still work, and says so if not
    return catalog.from_command(meta["argv"], meta["agent"])
