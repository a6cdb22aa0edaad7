"""Pictures of sessions for `status`: taken from memory in one step, waiting for nobody's lock."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import trio

from trio_broker.model import Phase
from trio_broker.session import Session
from trio_broker.turns import Turn


def session_view(session: Session) -> dict[str, Any]:
    """One session as JSON values; times are seconds, `null` where they mean nothing."""
    now = trio.current_time()
    turns, relay, life = session.turns, session.relay, session.life
    line, agent = (life.line, life.agent) if life is not None else (None, None)
    running, queued = turns.running, turns.queued()
    return {
        "key": session.key,
        "sessionId": session.session_id,
        "agent": session.settings.spec.name,
        "phase": session.phase.value,
        "phase_for": now - session.phase_since,
        "quiet_for": now - line.heard_at if line is not None else None,
        "turn_for": now - running.started_at
        if running is not None and running.started_at is not None
        else None,
        "queue": len(queued),
        "queued": [_turn_view(turn, position) for position, turn in enumerate(queued, 1)],
        "pid": agent.pid if agent is not None and session.live else None,
        "cwd": session.settings.cwd,
        "clients": len(relay.listeners),
        "error": session.cause.message if session.cause is not None else None,
        "title": session.state.title,
        "asks": len(relay.asks.open) if relay.asks is not None else 0,
        "foreign": relay.foreign,
        "rejected_lines": line.rejected_count if line is not None else 0,
        "turns": turns.done,
        "events": session.log.last,
        "resumed": session.resumed,
    }


def _turn_view(turn: Turn, position: int) -> dict[str, Any]:
    return {"promptId": turn.prompt_id, "text": turn.text, "position": position}


def counts(sessions: Iterable[Session]) -> dict[str, int]:
    """How many sessions are in each phase; every phase is named."""
    number = {phase.value: 0 for phase in Phase}
    for session in sessions:
        number[session.phase.value] += 1
    return number
