"""A dashboard for tests: snapshots as the broker sends them, keys that are pressed, and screens as text.

`check` compares a screen with the files in snapshots/. To renew them, and look at the diff:
TRIO_BROKER_RENEW=1 python -m pytest tests/tui
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from trio_broker.testing.processes.home import Home
from trio_broker.tui.input import Key
from trio_broker.tui.keymap import handle_key
from trio_broker.tui.question.focus import apply_drawn, apply_question
from trio_broker.tui.question.model import request_key
from trio_broker.tui.screen import Screen, render_screen
from trio_broker.tui.state import (
    Effect,
    State,
    apply_page,
    apply_snapshot,
)

Json = dict[str, Any]
NOW = 100.0
SNAPSHOTS = Path(__file__).parent / "snapshots"
SIZES = ((80, 24), (140, 40))
PHASES = ("starting", "idle", "working", "waiting", "cancelling", "suspended", "dead", "closed")
OPTIONS = [
    {"optionId": "apply", "name": "Apply the change", "kind": "allow_once"},
    {"optionId": "always", "name": "Apply, and do not ask again", "kind": "allow_always"},
    {"optionId": "leave", "name": "Leave the file as it is", "kind": "reject_once"},
]


def make_request(id: str, title: str, since: float) -> Json:
    facts = {"askId": id, "method": "session/request_permission", "title": title, "since": since}
    return facts | {"kind": "edit", "options": OPTIONS, "mode": None}


def make_diff(path: str, old: str, new: str, **members: Any) -> Json:
    """The tool call of a request to change a file."""
    content = [{"type": "diff", "path": path, "oldText": old, "newText": new}]
    return {"toolCallId": "c1", "title": "Apply the change", "kind": "edit", "content": content} | members


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
def diff() -> Callable[..., Json]:
    return make_diff


@pytest.fixture
def snapshot() -> Callable[..., Json]:
    return make_snapshot


@pytest.fixture
def state(session: Callable[..., Json], snapshot: Callable[..., Json]) -> State:
    """A busy session, which is selected and has a queue, and an idle one."""
    queued = [{"promptId": f"p{n}", "text": f"number {n}", "position": n} for n in (1, 2, 3)]
    busy = session("busy", phase="working", turn_id="p0", turn_since=10.0, queue=3, queued=queued)
    return apply_snapshot(State(), snapshot(busy, session("idle")), NOW)


def press_keys(state: State, *keys: str, now: float = NOW) -> tuple[State, list[Effect]]:
    done: list[Effect] = []
    for key in keys:
        state, effects = handle_key(state, Key(key, key if len(key) == 1 else ""), now)
        done += effects
    return state, done


@pytest.fixture
def press() -> Callable[..., tuple[State, list[Effect]]]:
    return press_keys


def load_questions(state: State, **members: Any) -> State:
    """Every open request with its tool call, as `_trio_broker/asks` gives it."""
    for session, request in state.requests():
        ask = {name: value for name, value in request.items() if name not in ("mode", "since")}
        state = apply_question(state, request_key(session, request), ask | members)
    return state


@pytest.fixture
def load() -> Callable[..., State]:
    return load_questions


def draw_frame(state: State, now: float = NOW, width: int = 80, height: int = 24) -> State:
    """The state after a frame has reached the terminal."""
    return apply_drawn(state, render_screen(state, now, width, height).question, now)


@pytest.fixture
def draw() -> Callable[..., State]:
    return draw_frame


def screen_lines(shown: Screen) -> str:
    return "".join("".join(part.text for part in line).rstrip() + "\n" for line in shown.lines)


@pytest.fixture
def screen_text() -> Callable[[Screen], str]:
    return screen_lines


def check_screen(
    name: str, state: State, now: float = 100.0, sizes: tuple[tuple[int, int], ...] = SIZES
) -> None:
    for width, height in sizes:
        shown = render_screen(state, now, width, height)
        assert len(shown.lines) == height
        assert {sum(cell_len(part.text) for part in line) for line in shown.lines} == {width}
        assert not any(
            ord(one) < 32 or 127 <= ord(one) < 160
            for line in shown.lines
            for part in line
            for one in part.text
        )
        file, text = SNAPSHOTS / f"{name}-{width}x{height}.txt", screen_lines(shown)
        if os.environ.get("TRIO_BROKER_RENEW"):
            file.write_text(text, encoding="utf-8")
        assert text == file.read_text(encoding="utf-8"), (
            f"{file.name}: see the head of conftest.py for how to renew"
        )


@pytest.fixture
def check() -> Callable[..., None]:
    return check_screen


def chunk(seq: int, text: str, kind: str = "agent_message_chunk") -> Json:
    return update(seq, sessionUpdate=kind, content={"type": "text", "text": text})


def update(seq: int, **fields: Any) -> Json:
    return {"seq": seq, "at": 1.0, "kind": "update", "update": fields}


@pytest.fixture
def three(session: Callable[..., Json]) -> list[Json]:
    queued = [{"promptId": "p1", "text": "and the changelog", "position": 1}]
    return [
        session("repo/api", agent="claude", phase="working", turn_since=20.0, heard_at=99.0, events=12, clients=2,
                queue=1, queued=queued, title="Type greet()", usage={"used": 46_000, "size": 200_000,
                "cost": {"amount": 0.42, "currency": "USD"}}, use={"cpu": 12.5, "memory": 530 * 2**20, "processes": 4},
                attached=[{"name": "client-1a2b", "role": "controller"}, {"name": "client-3c4d", "role": "observer"}]),
        session("repo/docs", agent="codex", heard_at=40.0, cwd="/srv/work/docs"),
        session("discord:1234567890", agent="gemini", phase="suspended", pid=None, heard_at=None),
    ]  # fmt: skip


EVENTS = [
    {"seq": 1, "at": 1.0, "kind": "agent", "event": "started", "pid": 4242},
    {"seq": 2, "at": 1.0, "kind": "started", "prompt": [{"type": "text", "text": "give greet() a type"}]},
    chunk(3, "I look at the code first.", "agent_thought_chunk"),
    update(4, sessionUpdate="plan", entries=[{"content": "Look", "status": "completed"},
           {"content": "Change", "status": "in_progress"}, {"content": "Report", "status": "pending"}]),
    update(5, sessionUpdate="tool_call", toolCallId="c1", title="Edit greet.py", kind="edit", status="pending"),
    update(6, sessionUpdate="tool_call_update", toolCallId="c1", status="completed", content=[
           {"type": "diff", "path": "greet.py", "oldText": "def greet(name)\n", "newText": "def greet(name: str)\n"}]),
    chunk(7, "Done. **greet()** has a type now:\n\n"),
    chunk(8, "- the parameter\n- the result\n\n```python\ndef greet(name: str) -> None: ...\n```\n"),
    {"seq": 9, "at": 1.0, "kind": "ask", "title": "Apply it?"},
    {"seq": 10, "at": 1.0, "kind": "answer", "option": "Apply", "by": "client-1a2b"},
    {"seq": 11, "at": 1.0, "kind": "ended", "outcome": "completed", "stopReason": "end_turn"},
    {"seq": 12, "at": 1.0, "kind": "gap", "from": 5, "to": 6, "why": "the disk was full"},
]  # fmt: skip


@pytest.fixture
def seen(three: list[Json], snapshot: Callable[..., Json]) -> State:
    return apply_page(apply_snapshot(State(), snapshot(*three), 100.0), "repo/api", EVENTS, 13)


@pytest.fixture
def home() -> Iterator[Home]:
    """A daemon with scripted agents, for tests that have a terminal."""
    with Home() as home:
        assert home.run("up").returncode == 0
        yield home
