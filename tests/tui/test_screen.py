"""The screen as text, at 80x24 and 140x40, against the files in snapshots/; and as README's image."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from trio_broker.tui.screen import Screen, render_screen, render_snapshot, render_svg
from trio_broker.tui.state import (
    SAMPLE_INTERVAL,
    SORT_COLUMNS,
    BrokerCall,
    Confirmation,
    Mode,
    State,
    Tab,
    Trend,
    apply_page,
    apply_snapshot,
    mark_disconnected,
    show_notice,
)
from trio_broker.tui.text import Theme

Json = dict[str, Any]
Make = Callable[..., Json]
Check = Callable[..., None]
Press = Callable[..., tuple[State, list[Any]]]
ScreenText = Callable[[Screen], str]
SIZES = ((80, 24), (140, 40))
HOSTILE = "\x1b[2J\x1b]0;owned\x07 \u202egnp.exe\r\nrm -rf"


def test_an_empty_broker(snapshot: Make, check: Check) -> None:
    check("empty", apply_snapshot(State(), snapshot(), 100.0))


def test_three_sessions(seen: State, check: Check) -> None:
    check("three", seen)


def test_titles_of_all_scripts_and_hostile_ones(session: Make, snapshot: Make, check: Check) -> None:
    names = ("日本語のセッション", "emoji 👩‍💻 🇩🇪 ok", "combining e\u0301e\u0301", "עברית", HOSTILE)
    strange = [session(name, title=name, cwd=f"/srv/{name}", agent=name) for name in names]
    state = apply_snapshot(State(), snapshot(*strange), 100.0)
    said = update(
        1, sessionUpdate="agent_message_chunk", content={"type": "text", "text": HOSTILE + " 日本語 " * 30}
    )
    check("strange", apply_page(state, names[0], [said], 2))


def test_a_broker_that_is_gone(seen: State, check: Check) -> None:
    gone = mark_disconnected(
        seen, "no broker listens at /run/broker.sock; start one with `trio-broker up`", 110.0
    )
    check("gone", gone, 175.0)
    for width, height in (*SIZES, (40, 8)):
        shown = render_screen(gone, 175.0, width, height).lines
        told = [at for at, line in enumerate(shown) if any(part.style == Theme.ALARM for part in line)]
        assert told == list(range(1, 1 + len(told))) and told
        old = [part for line in (shown[0], *shown[told[-1] + 1 : -1]) for part in line if part.text.strip()]
        assert all(part.style and part.style.dim and not part.style.color for part in old)
    assert any(part.style and part.style.color for part in render_screen(seen, 100.0, 80, 24).lines[0])


def test_what_is_told_while_something_is_typed_stands_above_it(seen: State) -> None:
    editor = attrs.evolve(seen.editor, text="fix it " * 100, cursor=0)
    typing = attrs.evolve(seen, mode=Mode.EDIT, editor=editor)
    told = mark_disconnected(
        show_notice(typing, "an empty prompt is none", 100.0, error=True), "it died", 100.0
    )
    for width, height in (*SIZES, (40, 8)):
        before, after = render_screen(typing, 100.0, width, height), render_screen(told, 100.0, width, height)
        assert len(after.lines) == height
        assert before.cursor == after.cursor
        assert before.cursor is not None
        above = "".join(part.text for part in after.lines[before.cursor[1] - 1])
        assert above.strip() == "an empty prompt is none"


def test_before_the_first_picture(check: Check) -> None:
    check("connecting", State())


def test_typing_a_prompt_of_several_lines(seen: State, check: Check) -> None:
    editor = attrs.evolve(seen.editor, text="fix the tests\nand 漢字 " + "x" * 200, cursor=20)
    state = attrs.evolve(seen, mode=Mode.PROMPT, editor=editor)
    check("prompt", state)
    for width, height in SIZES:
        column, line = render_screen(state, 100.0, width, height).cursor or (-1, -1)
        assert 0 <= column < width and line == height - (5 if width == 80 else 3) + 1


def test_what_asks_before_it_acts(seen: State, check: Check) -> None:
    pending = Confirmation(
        "kill repo/api at once, for good?", BrokerCall("_trio_broker/kill", {"key": "repo/api"})
    )
    check("confirm", attrs.evolve(seen, mode=Mode.CONFIRM, confirmation=pending))


def test_what_is_typed_says_what_becomes_of_it(seen: State, check: Check) -> None:
    editor = attrs.evolve(seen.editor, text="leave that, fix the login", cursor=25)
    check("interrupt", attrs.evolve(seen, mode=Mode.INTERRUPT, editor=editor))
    check(
        "edit",
        attrs.evolve(
            seen, mode=Mode.EDIT, editor=editor, edited_prompt="p1", tab=Tab.QUEUE, show_detail=True
        ),
    )


def test_a_broker_that_drains(three: list[Json], snapshot: Make, check: Check) -> None:
    drains = snapshot(*three)
    drains["broker"]["draining"] = True
    check("drains", apply_snapshot(State(), drains, 100.0))


def test_a_mishap_is_told_to_its_end(seen: State, check: Check) -> None:
    text = "the queue of session 'repo/api' is full: 16 prompts wait, the limit; wait, or raise queue in [broker]"
    check("mishap", show_notice(seen, text, 100.0, error=True))


@pytest.mark.parametrize("size", [(39, 24), (80, 7), (1, 1), (10, 3)])
def test_a_tiny_window_says_so(size: tuple[int, int], seen: State) -> None:
    shown = render_screen(seen, 100.0, *size)
    assert len(shown.lines) == size[1]
    assert "".join("".join(part.text for part in line) for line in shown.lines).startswith(
        f"{size[0]}x{size[1]} is t"[: size[0] * size[1]]
    )


@pytest.mark.parametrize("width", range(40, 210, 7))
@pytest.mark.parametrize("height", [8, 15, 29, 30, 61])
def test_every_size_is_filled_exactly(
    width: int, height: int, seen: State, agent_request: Make, session: Make, snapshot: Make,
    load: Callable[..., State], press: Press,
) -> None:  # fmt: skip
    asking = session("a", phase="waiting", asks=[agent_request("3-1", "sure?", 1.0)])
    for state in (
        seen,
        apply_snapshot(seen, snapshot(asking, *seen.sessions), 100.0),
        attrs.evolve(seen, show_detail=True, mode=Mode.PROMPT),
        press(load(apply_snapshot(seen, snapshot(asking), 100.0)), "a")[0],
    ):
        shown = render_screen(show_notice(state, "done", 100.0), 100.0, width, height)
        assert len(shown.lines) == height
        assert {sum(cell_len(part.text) for part in line) for line in shown.lines} == {width}


def test_one_picture_has_all_the_sessions(session: Make, snapshot: Make, screen_text: ScreenText) -> None:
    many = [session(f"repo/{n:03}") for n in range(100)]
    shown = screen_text(render_snapshot(apply_snapshot(State(), snapshot(*many), 100.0), 100.0, 100))
    assert all(f"repo/{n:03}" in shown for n in range(100))


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


CONTENT = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("type", "text", "content", "path", "oldText", "newText", "terminalId", "resource"), ANY
    ),
)


UPDATE = st.fixed_dictionaries(
    {
        "sessionUpdate": st.sampled_from(
            ["agent_message_chunk", "agent_thought_chunk", "tool_call", "tool_call_update", "plan", "odd"]
        )
        | ANY
    },
    optional={
        "content": CONTENT | st.lists(CONTENT | ANY, max_size=3) | ANY,
        "entries": st.lists(
            st.fixed_dictionaries({}, optional={"content": ANY, "status": ANY}) | ANY, max_size=3
        )
        | ANY,
        **dict.fromkeys(("toolCallId", "title", "kind", "status", "messageId"), ANY),
    },
)


@given(st.lists(UPDATE | ANY, max_size=6), st.fixed_dictionaries({"used": ANY, "size": ANY, "cost": ANY}))
def test_whatever_an_agent_says_is_drawn(updates: list[Any], usage: Json) -> None:
    """An agent is not trusted to keep to the schema: nothing that it sends ends the dashboard of a team."""
    events = [
        {"seq": n, "at": 1.0, "kind": "update", "update": update} for n, update in enumerate(updates, 1)
    ]
    row = _session(events=len(events), usage=usage)
    state = apply_page(apply_snapshot(State(), _snapshot(row), 1.0), "a", events, len(events) + 1)
    for tab in Tab:
        for sort in SORT_COLUMNS:
            shown = render_screen(attrs.evolve(state, tab=tab, show_detail=True, sort=sort), 2.0, 160, 40)
            assert len(shown.lines) == 40


def _session(**facts: Any) -> Json:
    names = (
        "sessionId",
        "error",
        "title",
        "resumed",
        "phase_since",
        "heard_at",
        "turn_id",
        "turn_since",
        "use",
        "pid",
    )
    return {
        "key": "a", "phase": "idle", "queue": 0, "queued": [], "clients": 0, "foreign": 0, "rejected_lines": 0,
        "turns": 0, "attached": [], "asks": [], **dict.fromkeys(names), "cwd": "/", "agent": "x", **facts,
    }  # fmt: skip


def _snapshot(*views: Json) -> Json:
    broker = {"version": "0", "counts": {"idle": 1}, "clients": 1, "journal": {"failing": None}}
    return {"number": 1, "at": 1.0, "broker": broker, "sessions": list(views)}


ROOT = Path(__file__).parent.parent.parent


FILE = Path(__file__).parent / "snapshots" / "dashboard.svg"


SIZE = 140, 37


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
    session: Make, agent_request: Make, snapshot: Make, load: Callable[..., State], press: Press
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
    call = {"toolCallId": "c", "title": "Apply the change to greet.py", "kind": "edit", "content": [diff]}
    state, _ = press(load(state, toolCall=call), "a")
    shown = render_screen(state, 100.0, *SIZE)
    assert {sum(cell_len(part.text) for part in line) for line in shown.lines} == {SIZE[0]}
    drawn = render_svg(shown, SIZE[0])
    if os.environ.get("TRIO_BROKER_RENEW"):
        FILE.write_text(drawn, encoding="utf-8")
    assert drawn == FILE.read_text(encoding="utf-8"), "see the head of this module for how to renew"


def test_readme_shows_it() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"]({FILE.relative_to(ROOT)})" in readme
