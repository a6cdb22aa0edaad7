"""The screen as text, at 80x24 and 140x40, against the files in snapshots/.

Renew them, and look at what changed in the diff: TRIO_BROKER_RENEW=1 python -m pytest tests/tui/test_views.py
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from rich.cells import cell_len

from trio_broker.tui.input import Key
from trio_broker.tui.keymap import handle_key
from trio_broker.tui.overview import render_requests
from trio_broker.tui.screen import Screen, render_screen, render_snapshot
from trio_broker.tui.state import (
    BrokerCall,
    Confirmation,
    Mode,
    State,
    Tab,
    apply_page,
    apply_scroll,
    apply_snapshot,
    mark_disconnected,
    show_notice,
)
from trio_broker.tui.text import Theme

SNAPSHOTS = Path(__file__).parent / "snapshots"
SIZES = ((80, 24), (140, 40))
Json = dict[str, Any]
Make = Callable[..., Json]
HOSTILE = "\x1b[2J\x1b]0;owned\x07 \u202egnp.exe\r\nrm -rf"


def text_of(shown: Screen) -> str:
    return "".join("".join(part.text for part in line).rstrip() + "\n" for line in shown.lines)


def check(name: str, state: State, now: float = 100.0, sizes: tuple[tuple[int, int], ...] = SIZES) -> None:
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
        file, text = SNAPSHOTS / f"{name}-{width}x{height}.txt", text_of(shown)
        if os.environ.get("TRIO_BROKER_RENEW"):
            file.write_text(text, encoding="utf-8")
        assert text == file.read_text(encoding="utf-8"), (
            f"{file.name}: see the head of this module for how to renew"
        )


def chunk(seq: int, text: str, kind: str = "agent_message_chunk") -> Json:
    return update(seq, sessionUpdate=kind, content={"type": "text", "text": text})


def update(seq: int, **fields: Any) -> Json:
    return {"seq": seq, "at": 1.0, "kind": "update", "update": fields}


@pytest.fixture
def three(session: Make) -> list[Json]:
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
def seen(three: list[Json], snapshot: Make) -> State:
    return apply_page(apply_snapshot(State(), snapshot(*three), 100.0), "repo/api", EVENTS, 13)


def test_an_empty_broker(snapshot: Make) -> None:
    check("empty", apply_snapshot(State(), snapshot(), 100.0))


def test_three_sessions(seen: State) -> None:
    check("three", seen)


@pytest.mark.parametrize("tab", Tab)
def test_the_details_of_one(tab: Tab, seen: State) -> None:
    state = attrs.evolve(
        seen,
        show_detail=True,
        tab=tab,
        agent_output=("repo/api", "warn: slow\n\x1b[31mred\x1b[0m\n", ("no\x1bjson",)),
    )
    if tab is not Tab.LOG:  # has the clock of whoever runs this
        check(f"detail-{tab.value}", state)
    else:
        assert "4" in text_of(render_screen(state, 100.0, 80, 24))


def test_a_question(three: list[Json], agent_request: Make, session: Make, snapshot: Make) -> None:
    one = session(
        "repo/api",
        phase="waiting",
        turn_since=20.0,
        asks=[agent_request("1-7", "Apply the change to greet.py", 88.0)],
    )
    two = session(
        "repo/web", phase="waiting", asks=[agent_request("2-3", "Run `rm -rf build`" + HOSTILE, 95.0)]
    )
    check("ask", apply_snapshot(State(), snapshot(one, two, *three[1:]), 100.0))


def test_a_question_that_no_key_answers_says_who_can(
    session: Make, agent_request: Make, snapshot: Make
) -> None:
    form = agent_request("1-7", "Your name?", 88.0) | {"method": "elicitation/create", "mode": "form"}
    other = agent_request("1-7", "?", 88.0) | {"method": "_x/choose", "options": []}
    for one, says in ((form, "it is a form"), (other, "answer it with a client that can: _x/choose")):
        state = apply_snapshot(State(), snapshot(session("repo/api", phase="waiting", asks=[one])), 100.0)
        assert says in text_of(render_screen(state, 100.0, 140, 40))
        assert render_requests(state, 100.0, 80, 1) == [], "no room: none is drawn by half"


def test_a_dead_agent(session: Make, snapshot: Make) -> None:
    error = "the agent's process ended: signal 9 (SIGKILL)"
    dead = session("repo/api", phase="dead", pid=None, error=error, events=3)
    state = apply_snapshot(State(), snapshot(dead, session("repo/web")), 100.0)
    exited = {"seq": 3, "at": 1.0, "kind": "agent", "event": "exited", "pid": 1, "signal": "SIGKILL"}
    check("dead", apply_page(state, "repo/api", [exited], 4))


def test_a_hundred_sessions(session: Make, snapshot: Make) -> None:
    phases = ("working", "idle", "working", "starting", "cancelling")
    many = [session(f"repo/{n:03}", phase=phases[n % 5], events=n) for n in range(100)]
    check("hundred", attrs.evolve(apply_snapshot(State(), snapshot(*many), 100.0), selected="repo/050"))


def test_titles_of_all_scripts_and_hostile_ones(session: Make, snapshot: Make) -> None:
    names = ("日本語のセッション", "emoji 👩‍💻 🇩🇪 ok", "combining e\u0301e\u0301", "עברית", HOSTILE)
    strange = [session(name, title=name, cwd=f"/srv/{name}", agent=name) for name in names]
    state = apply_snapshot(State(), snapshot(*strange), 100.0)
    check("strange", apply_page(state, names[0], [chunk(1, HOSTILE + " 日本語 " * 30)], 2))


def test_a_broker_that_is_gone(seen: State) -> None:
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


def test_before_the_first_picture() -> None:
    check("connecting", State())


def test_typing_a_prompt_of_several_lines(seen: State) -> None:
    editor = attrs.evolve(seen.editor, text="fix the tests\nand 漢字 " + "x" * 200, cursor=20)
    state = attrs.evolve(seen, mode=Mode.PROMPT, editor=editor)
    check("prompt", state)
    for width, height in SIZES:
        column, line = render_screen(state, 100.0, width, height).cursor or (-1, -1)
        assert 0 <= column < width and line == height - (5 if width == 80 else 3) + 1


def test_what_asks_before_it_acts(seen: State) -> None:
    pending = Confirmation(
        "kill repo/api at once, for good?", BrokerCall("_trio_broker/kill", {"key": "repo/api"})
    )
    check("confirm", attrs.evolve(seen, mode=Mode.CONFIRM, confirmation=pending))


def test_what_is_typed_says_what_becomes_of_it(seen: State) -> None:
    editor = attrs.evolve(seen.editor, text="leave that, fix the login", cursor=25)
    check("interrupt", attrs.evolve(seen, mode=Mode.INTERRUPT, editor=editor))
    check(
        "edit",
        attrs.evolve(
            seen, mode=Mode.EDIT, editor=editor, edited_prompt="p1", tab=Tab.QUEUE, show_detail=True
        ),
    )


def test_who_has_scrolled_back_sees_so_and_the_role(seen: State) -> None:
    state = attrs.evolve(seen, show_detail=True, scroll=7, roles={"repo/api": "observer"})
    check("scrolled", state)
    beyond = render_screen(attrs.evolve(state, scroll=10**6), 100.0, 80, 12)
    assert beyond.extent is not None and 0 < beyond.extent.scroll < 100


def test_filtered_and_sorted(seen: State) -> None:
    check("filtered", attrs.evolve(seen, filter="srv", sort="quiet", reverse=True))


def test_a_broker_that_drains(three: list[Json], snapshot: Make) -> None:
    drains = snapshot(*three)
    drains["broker"]["draining"] = True
    check("drains", apply_snapshot(State(), drains, 100.0))


def test_a_mishap_is_told_to_its_end(seen: State) -> None:
    text = "the queue of session 'repo/api' is full: 16 prompts wait, the limit; wait, or raise queue in [broker]"
    check("mishap", show_notice(seen, text, 100.0, error=True))


def test_a_wide_window_has_every_column(three: list[Json], snapshot: Make) -> None:
    check("wide", apply_snapshot(State(), snapshot(*three), 100.0), sizes=((200, 60),))
    head = (SNAPSHOTS / "wide-200x60.txt").read_text(encoding="utf-8").split("\n")[2].split()
    columns = "SESSION AGENT PHASE TURN QUIET Q UPDATES/S TOKENS COST CPU MEM CL PID DIRECTORY ABOUT"
    assert head == columns.split()


def test_help(seen: State) -> None:
    check("help", attrs.evolve(seen, mode=Mode.HELP))


def test_help_that_does_not_fit_is_scrolled_to_its_end(seen: State) -> None:
    helping, _ = handle_key(seen, Key("?", "?"), 100.0)
    assert "↑ ↓ scroll, any other key goes back" in text_of(render_screen(helping, 100.0, 60, 15))
    assert "scroll, any" not in text_of(render_screen(helping, 100.0, 140, 40))
    told = ""
    for _ in range(40):
        shown = render_screen(helping, 100.0, 60, 15)
        assert shown.extent is not None
        told += text_of(shown)
        helping = apply_scroll(helping, shown.extent.lines, shown.extent.scroll)
        helping, _ = handle_key(helping, Key("down", ""), 100.0)
    shown = render_screen(helping, 100.0, 60, 15)
    assert shown.extent is not None
    helping, end = apply_scroll(helping, shown.extent.lines, shown.extent.scroll), text_of(shown)
    assert "restart its agent" in told and "Esc        leave it" in end
    assert text_of(render_screen(handle_key(helping, Key("up", ""), 100.0)[0], 100.0, 60, 15)) != end
    assert handle_key(helping, Key("x", "x"), 100.0)[0] == seen


def test_the_last_key_is_whole_where_there_is_just_room_for_it(seen: State) -> None:
    for width in range(40, 160):
        assert "…" not in text_of(render_screen(seen, 100.0, width, 40)).splitlines()[-1], width


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
    width: int, height: int, seen: State, agent_request: Make, session: Make, snapshot: Make
) -> None:
    asking = session("a", phase="waiting", asks=[agent_request("3-1", "sure?", 1.0)])
    for state in (
        seen,
        apply_snapshot(seen, snapshot(asking, *seen.sessions), 100.0),
        attrs.evolve(seen, show_detail=True, mode=Mode.PROMPT),
    ):
        shown = render_screen(show_notice(state, "done", 100.0), 100.0, width, height)
        assert len(shown.lines) == height
        assert {sum(cell_len(part.text) for part in line) for line in shown.lines} == {width}


def test_one_picture_has_all_the_sessions(session: Make, snapshot: Make) -> None:
    many = [session(f"repo/{n:03}") for n in range(100)]
    shown = text_of(render_snapshot(apply_snapshot(State(), snapshot(*many), 100.0), 100.0, 100))
    assert all(f"repo/{n:03}" in shown for n in range(100))
