"""What the dashboard knows, folded from snapshots and pages: pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from trio_broker.tui.state import (
    SORT_COLUMNS,
    State,
    Trend,
    apply_page,
    apply_snapshot,
    mark_disconnected,
    next_page,
    select_session,
)

Json = dict[str, Any]
Make = Callable[..., Json]


def keys(state: State) -> list[str]:
    return [row["key"] for row in state.visible_sessions()]


def test_the_first_session_is_selected_and_stays_so(session: Make, snapshot: Make) -> None:
    state = apply_snapshot(State(), snapshot(session("a"), session("b")), 1.0)
    assert state.selected == "a"
    state = apply_snapshot(
        select_session(state, "b"), snapshot(session("c"), session("b"), session("a")), 2.0
    )
    assert state.selected == "b"
    state = apply_snapshot(state, snapshot(session("c"), session("a")), 3.0)
    assert state.selected == "c"
    assert apply_snapshot(state, snapshot(), 4.0).selected is None


def test_the_question_is_that_of_the_selected_session(
    session: Make, agent_request: Make, snapshot: Make
) -> None:
    one = session("one", asks=[agent_request("1-1", "early", 10.0)])
    two = session("two", asks=[agent_request("2-2", "later", 60.0), agent_request("2-1", "late", 50.0)])
    state = apply_snapshot(State(), snapshot(session("quiet"), one, two), 1.0)
    assert state.selected == "quiet" and state.current_request() is None
    assert select_session(state, "one").selected_request == ("one", "1-1")
    state = select_session(state, "two")
    assert state.selected_request == ("two", "2-1")
    two = session("two", asks=[agent_request("2-0", "earlier", 0.0), *two["asks"]])
    state = apply_snapshot(state, snapshot(one, two), 2.0)
    assert state.selected_request == ("two", "2-1"), "one that is still open stays"
    two = session("two", asks=[agent_request("2-2", "later", 60.0)])
    state = apply_snapshot(state, snapshot(one, two), 3.0)
    assert state.selected_request == ("two", "2-2")
    state = apply_snapshot(state, snapshot(one, session("two")), 4.0)
    assert state.selected == "two" and state.selected_request is None
    state = apply_snapshot(state, snapshot(one), 5.0)
    assert state.selected_request == ("one", "1-1")


@pytest.mark.parametrize(
    ("filter", "found"),
    [("", ["a", "b"]), ("CLAUDE", ["a"]), ("work idle", ["b"]), ("greet", ["a"]), ("nothing", [])],
)
def test_the_filter_looks_into_every_column(
    filter: str, found: list[str], session: Make, snapshot: Make
) -> None:
    one = session("a", agent="claude", phase="working", title="type greet()", cwd="/tmp")
    state = apply_snapshot(State(filter=filter), snapshot(one, session("b")), 1.0)
    assert keys(state) == found


def test_each_sort_has_the_most_telling_on_top(session: Make, snapshot: Make) -> None:
    low = session("b", agent="a", usage={"used": 5}, use={"cpu": 1.0, "memory": 1, "processes": 1})
    high = session(
        "a", agent="b", phase="waiting", turn_since=5.0, heard_at=5.0, queue=2, title=None,
        usage={"used": 50, "cost": {"amount": 2}}, use={"cpu": 90.0, "memory": 9, "processes": 1},
    )  # fmt: skip
    state = apply_snapshot(State(), snapshot(low, high), 1.0)
    state = attrs.evolve(state, trends={"a": Trend(9, 1.0, 5.0)})
    for sort in SORT_COLUMNS:
        expected = ["b", "a"] if sort in ("opened", "agent") else ["a", "b"]
        assert keys(attrs.evolve(state, sort=sort)) == expected, sort
        assert keys(attrs.evolve(state, sort=sort, reverse=True)) == expected[::-1], sort


def test_rates_are_counted_over_two_seconds_and_a_restart_is_no_burst() -> None:
    trend = Trend(100, 10.0)
    assert trend.updated(110, 11.0) is trend
    assert trend.updated(110, 12.0).rate == 5.0
    assert trend.updated(3, 12.0).rate == 0
    assert len(trend.updated(110, 500.0).samples) == 8


def test_a_broker_that_comes_back_is_told_and_its_log_read_anew(session: Make, snapshot: Make) -> None:
    one = session("a", events=5)
    state = apply_page(apply_snapshot(State(), snapshot(one), 1.0), "a", [], 6)
    assert next_page(state) is None
    state = mark_disconnected(state, "it hung up", 2.0)
    assert next_page(state) is None and state.broker_time(50.0) == state.broker_time(2.0)
    state = apply_snapshot(state, snapshot(one), 60.0)
    assert state.disconnected is None and state.notice is not None and "back" in state.notice[0]
    assert next_page(state) == ("a", 1)


def test_a_page_of_a_session_that_is_not_looked_at_any_more_is_dropped(session: Make, snapshot: Make) -> None:
    state = apply_snapshot(State(), snapshot(session("a"), session("b")), 1.0)
    assert apply_page(state, "b", [], 5) is state
