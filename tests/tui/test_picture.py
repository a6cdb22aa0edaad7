"""README's picture of the dashboard: a made-up morning, drawn as `top --svg` draws.

Renew it, and look at it: TRIO_BROKER_RENEW=1 python -m pytest tests/tui/test_picture.py
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from rich.cells import cell_len

from trio_broker.tui.screen import render_screen, render_svg
from trio_broker.tui.state import SAMPLE_INTERVAL, State, Trend, apply_page, apply_snapshot

ROOT = Path(__file__).parent.parent.parent
FILE = Path(__file__).parent / "snapshots" / "dashboard.svg"
SIZE = 140, 37
Json = dict[str, Any]
Make = Callable[..., Json]

OLD = 'def greet(name):\n    print("Hello " + name)\n'
NEW = 'def greet(name: str) -> None:\n    print(f"Hello {name}!")\n'


def sessions(session: Make, agent_request: Make) -> list[Json]:
    def use(cpu: float, memory: int) -> Json:
        return {"cpu": cpu, "memory": memory * 2**20, "processes": 5}

    def spent(used: int, amount: float | None = None) -> Json:
        cost = None if amount is None else {"amount": amount, "currency": "USD"}
        return {"used": used, "size": 200_000, "cost": cost}

    one = agent_request("4-31", "Apply the change to greet.py", 5_388.0)
    queue = [{"promptId": f"p{n}", "text": "and the changelog", "position": n} for n in (1, 2)]
    return [
        session("repo/api", agent="claude", phase="waiting", turn_id="t", turn_since=5_322.0, heard_at=5_388.0,
                clients=2, asks=[one], usage=spent(46_000, 0.42), use=use(0.4, 530), events=9, cwd="/srv/api"),
        session("repo/web", agent="codex", phase="working", turn_id="t", turn_since=4_788.0, heard_at=5_395.0,
                clients=1, usage=spent(131_000), use=use(164.0, 265), title="Move the shop to the new router"),
        session("repo/engine", agent="claude", phase="working", turn_id="t", turn_since=4_650.0, heard_at=5_030.0,
                queue=2, queued=queue, usage=spent(88_000, 1.17), use=use(97.0, 612), title="make all"),
        session("discord:40718", agent="gemini", phase="working", turn_id="t", turn_since=5_380.0, heard_at=5_400.0,
                clients=1, usage=spent(12_400), use=use(6.2, 660), title="Why is the login slow?"),
        session("ci/nightly", agent="opencode", phase="dead", pid=None, heard_at=None,
                error="agent 'opencode' ended with signal 9 (SIGKILL)"),
        session("repo/docs", agent="claude", heard_at=4_000.0, clients=1, usage=spent(186_000, 2.05),
                use=use(0.0, 498), title="A page about policies"),
        session("review", agent="codex", phase="suspended", pid=None, heard_at=None, title="Last week's merge"),
    ]  # fmt: skip


def update(seq: int, **fields: Any) -> Json:
    return {"seq": seq, "at": 1.0, "kind": "update", "update": fields}


def test_readmes_picture_is_what_the_dashboard_draws(
    session: Make, agent_request: Make, snapshot: Make
) -> None:
    diff = {"type": "diff", "path": "greet.py", "oldText": OLD, "newText": NEW}
    steps = zip(
        ("Look at the code", "Make the change", "Run the tests"),
        ("completed", "in_progress", "pending"),
        strict=True,
    )
    events = [
        {"seq": 1, "at": 1.0, "kind": "started", "prompt": [{"type": "text", "text": "type greet()"}]},
        update(2, sessionUpdate="agent_thought_chunk", content={"text": "Who calls greet()? Only cli.py, with a str."}),
        update(3, sessionUpdate="plan", entries=[{"content": what, "status": status} for what, status in steps]),
        update(4, sessionUpdate="agent_message_chunk", content={"text": "`greet()` gets a type and an **f-string**:"}),
        update(5, sessionUpdate="tool_call", toolCallId="c", title="Apply the change to greet.py", kind="edit",
             status="pending", content=[diff]),
        {"seq": 6, "at": 1.0, "kind": "ask", "title": "Apply the change to greet.py"},
    ]  # fmt: skip
    state = apply_snapshot(State(), snapshot(*sessions(session, agent_request), at=5_400.0), 100.0)
    trends = {"repo/web": (9, 12, 3, 0, 14, 18, 16, 11), "discord:40718": (0, 0, 0, 2, 20, 34, 41, 38)}
    rates = {key: Trend(0, 0.0, samples[-1] / SAMPLE_INTERVAL, samples) for key, samples in trends.items()}
    state = apply_page(attrs.evolve(state, trends=rates), "repo/api", events, 10)
    shown = render_screen(state, 100.0, *SIZE)
    assert {sum(cell_len(part.text) for part in line) for line in shown.lines} == {SIZE[0]}
    drawn = render_svg(shown, SIZE[0])
    if os.environ.get("TRIO_BROKER_RENEW"):
        FILE.write_text(drawn, encoding="utf-8")
    assert drawn == FILE.read_text(encoding="utf-8"), "see the head of this module for how to renew"


def test_readme_shows_it() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"]({FILE.relative_to(ROOT)})" in readme
