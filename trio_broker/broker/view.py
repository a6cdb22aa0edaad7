"""Pictures of sessions for `status`: taken from memory in one step, waiting for nobody's lock."""

from __future__ import annotations

import time
from typing import Any

import trio

from trio_broker.session.agent_request import Ask
from trio_broker.session.session import Session
from trio_broker.session.turn_queue import Turn


def session_view(session: Session) -> dict[str, Any]:
    """One session as JSON values; times are seconds, `null` where they mean nothing."""
    now = trio.current_time()
    line = session.life.line if session.life is not None else None
    running, asks = session.turns.running, session.relay.asks
    began = running.started_at if running is not None else None
    view = session_facts(session)
    view["phase_for"] = now - session.phase_since
    view["quiet_for"] = now - line.heard_at if line is not None else None
    view["turn_for"] = now - began if began is not None else None
    view["asks"] = len(asks.known) if asks is not None else 0
    return view


def session_facts(session: Session) -> dict[str, Any]:
    """What stays the same while nothing happens: all but the times, and the asks."""
    turns, relay, life = session.turns, session.relay, session.life
    line, agent = (life.line, life.agent) if life is not None else (None, None)
    queued = turns.queued()
    return {
        "key": session.key,
        "sessionId": session.session_id,
        "agent": session.settings.spec.name,
        "phase": session.phase.value,
        "queue": len(queued),
        "queued": [turn_view(turn, position) for position, turn in enumerate(queued, 1)],
        "pid": agent.pid if agent is not None and session.live else None,
        "cwd": session.settings.cwd,
        "clients": len(relay.listeners),
        "error": session.cause.message if session.cause is not None else None,
        "title": session.state.title,
        "foreign": relay.foreign,
        "rejected_lines": line.rejected_count if line is not None else 0,
        "turns": turns.done,
        "events": session.log.last,
        "resumed": session.resumed,
        "usage": session.state.usage,
    }


def ask_view(session: Session, ask: Ask) -> dict[str, Any]:
    """One ask as JSON values: `at` in seconds since the epoch, `since` it was asked."""
    waits = trio.current_time() - ask.opened_at
    return {
        "askId": ask.id,
        "key": session.key,
        "sessionId": session.session_id,
        "agent": session.settings.spec.name,
        "cwd": session.settings.cwd,
        "method": ask.method,
        "title": ask.title,
        "kind": ask.kind,
        "options": ask.options,
        "at": time.time() - waits,
        "since": waits,
        "asked": [client.name for client in ask.asked],
        "seq": ask.number,
    }


def turn_view(turn: Turn, position: int) -> dict[str, Any]:
    """A prompt that waits, or runs, and the beginning of its text."""
    return {"promptId": turn.prompt_id, "text": turn.text, "position": position}
