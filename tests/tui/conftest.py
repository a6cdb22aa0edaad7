"""Made-up snapshots, as the broker sends them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Json = dict[str, Any]
PHASES = ("starting", "idle", "working", "waiting", "cancelling", "suspended", "dead", "closed")
OPTIONS = [
    {"optionId": "apply", "name": "Apply the change", "kind": "allow_once"},
    {"optionId": "always", "name": "Apply, and do not ask again", "kind": "allow_always"},
    {"optionId": "leave", "name": "Leave the file as it is", "kind": "reject_once"},
]


def make_request(id: str, title: str, since: float) -> Json:
    facts = {"askId": id, "method": "session/request_permission", "title": title, "since": since}
    return facts | {"kind": "edit", "options": OPTIONS, "mode": None}


def make_session(key: str, **facts: Any) -> Json:
    default = {
        "key": key,
        "sessionId": f"id-{key}",
        "agent": "demo",
        "phase": "idle",
        "queue": 0,
        "queued": [],
        "pid": 4242,
        "cwd": "/srv/work",
        "clients": 0,
        "error": None,
        "title": None,
        "foreign": 0,
        "rejected_lines": 0,
        "turns": 3,
        "events": 0,
        "resumed": None,
        "usage": None,
        "phase_since": 90.0,
        "heard_at": 95.0,
        "turn_id": None,
        "turn_since": None,
        "attached": [],
        "asks": [],
        "use": None,
    }
    assert not facts.keys() - default.keys()
    return default | facts


def make_snapshot(*sessions: Json, at: float = 100.0, number: int = 1) -> Json:
    phases = [session["phase"] for session in sessions]
    broker = {
        "pid": 1,
        "version": "0.1.0",
        "limits": {"max_sessions": 1000, "max_starting": 8, "queue": 16},
        "counts": {phase: phases.count(phase) for phase in PHASES},
        "clients": 2,
        "journal": {"failing": None, "lost": 0},
    }
    return {"number": number, "at": at, "broker": broker, "sessions": list(sessions)}


@pytest.fixture
def session() -> Callable[..., Json]:
    return make_session


@pytest.fixture
def agent_request() -> Callable[..., Json]:
    return make_request


@pytest.fixture
def snapshot() -> Callable[..., Json]:
    return make_snapshot
