"""The table of sessions, on screens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from trio_broker.tui.screen import Screen, render_screen
from trio_broker.tui.state import (
    State,
    apply_snapshot,
)

Json = dict[str, Any]
Make = Callable[..., Json]
Check = Callable[..., None]
ScreenText = Callable[[Screen], str]


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
