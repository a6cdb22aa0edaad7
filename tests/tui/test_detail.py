"""The pane about one session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from trio_broker.tui.screen import Screen, render_screen
from trio_broker.tui.state import (
    State,
    Tab,
    apply_page,
    apply_snapshot,
)

Json = dict[str, Any]
Make = Callable[..., Json]
Check = Callable[..., None]
ScreenText = Callable[[Screen], str]


@pytest.mark.parametrize("tab", Tab)
def test_the_details_of_one(tab: Tab, seen: State, check: Check, screen_text: ScreenText) -> None:
    state = attrs.evolve(
        seen,
        show_detail=True,
        tab=tab,
        agent_output=("repo/api", "warn: slow\n\x1b[31mred\x1b[0m\n", ("no\x1bjson",)),
    )
    if tab is not Tab.LOG:  # has the clock of whoever runs this
        check(f"detail-{tab.value}", state)
    else:
        assert "4" in screen_text(render_screen(state, 100.0, 80, 24))


def test_a_dead_agent(session: Make, snapshot: Make, check: Check) -> None:
    error = "the agent's process ended: signal 9 (SIGKILL)"
    dead = session("repo/api", phase="dead", pid=None, error=error, events=3)
    state = apply_snapshot(State(), snapshot(dead, session("repo/web")), 100.0)
    exited = {"seq": 3, "at": 1.0, "kind": "agent", "event": "exited", "pid": 1, "signal": "SIGKILL"}
    check("dead", apply_page(state, "repo/api", [exited], 4))


def test_who_has_scrolled_back_sees_so_and_the_role(seen: State, check: Check) -> None:
    state = attrs.evolve(seen, show_detail=True, scroll=7, roles={"repo/api": "observer"})
    check("scrolled", state)
    beyond = render_screen(attrs.evolve(state, scroll=10**6), 100.0, 80, 12)
    assert beyond.extent is not None and 0 < beyond.extent.scroll < 100
