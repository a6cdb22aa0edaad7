"""Open requests and the table of sessions, on screens and by themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from trio_broker.tui.overview import render_requests
from trio_broker.tui.screen import Screen, render_screen
from trio_broker.tui.state import (
    State,
    apply_snapshot,
)

Json = dict[str, Any]
Make = Callable[..., Json]
Check = Callable[..., None]
ScreenText = Callable[[Screen], str]
HOSTILE = "\x1b[2J\x1b]0;owned\x07 \u202egnp.exe\r\nrm -rf"


def test_a_question(
    three: list[Json], agent_request: Make, session: Make, snapshot: Make, check: Check
) -> None:
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
    session: Make, agent_request: Make, snapshot: Make, screen_text: ScreenText
) -> None:
    form = agent_request("1-7", "Your name?", 88.0) | {"method": "elicitation/create", "mode": "form"}
    other = agent_request("1-7", "?", 88.0) | {"method": "_x/choose", "options": []}
    for one, says in ((form, "it is a form"), (other, "answer it with a client that can: _x/choose")):
        state = apply_snapshot(State(), snapshot(session("repo/api", phase="waiting", asks=[one])), 100.0)
        assert says in screen_text(render_screen(state, 100.0, 140, 40))
        assert render_requests(state, 100.0, 80, 1) == [], "no room: none is drawn by half"


def test_a_hundred_sessions(session: Make, snapshot: Make, check: Check) -> None:
    phases = ("working", "idle", "working", "starting", "cancelling")
    many = [session(f"repo/{n:03}", phase=phases[n % 5], events=n) for n in range(100)]
    check("hundred", attrs.evolve(apply_snapshot(State(), snapshot(*many), 100.0), selected="repo/050"))


def test_a_wide_window_has_every_column(
    three: list[Json], snapshot: Make, check: Check, screen_text: ScreenText
) -> None:
    wide = apply_snapshot(State(), snapshot(*three), 100.0)
    check("wide", wide, sizes=((200, 60),))
    head = screen_text(render_screen(wide, 100.0, 200, 60)).split("\n")[2].split()
    columns = "SESSION AGENT PHASE TURN QUIET Q UPDATES/S TOKENS COST CPU MEM CL PID DIRECTORY ABOUT"
    assert head == columns.split()


def test_filtered_and_sorted(seen: State, check: Check) -> None:
    check("filtered", attrs.evolve(seen, filter="srv", sort="quiet", reverse=True))
