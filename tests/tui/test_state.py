"""What the dashboard knows, folded from snapshots and pages: pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.tui.screen import render_screen
from trio_broker.tui.state import (
    SORT_COLUMNS,
    State,
    Tab,
    Trend,
    answer_choices,
    apply_page,
    apply_snapshot,
    mark_disconnected,
    next_page,
    select,
)
from trio_broker.tui.transcript import BACKLOG, MAX_ITEMS, Transcript

Json = dict[str, Any]
Make = Callable[..., Json]


def keys(state: State) -> list[str]:
    return [row["key"] for row in state.visible_sessions()]


def test_the_first_session_is_selected_and_stays_so(session: Make, snapshot: Make) -> None:
    state = apply_snapshot(State(), snapshot(session("a"), session("b")), 1.0)
    assert state.selected == "a"
    state = apply_snapshot(select(state, "b"), snapshot(session("c"), session("b"), session("a")), 2.0)
    assert state.selected == "b"
    state = apply_snapshot(state, snapshot(session("c"), session("a")), 3.0)
    assert state.selected == "c"
    assert apply_snapshot(state, snapshot(), 4.0).selected is None


def test_the_question_on_top_stays_while_it_is_open(
    session: Make, agent_request: Make, snapshot: Make
) -> None:
    late = session("late", asks=[agent_request("2-1", "late", 50.0)])
    state = apply_snapshot(State(), snapshot(late), 1.0)
    assert state.selected_request == ("late", "2-1")
    early = session("early", asks=[agent_request("1-1", "early", 10.0)])
    state = apply_snapshot(state, snapshot(early, late), 2.0)
    assert state.selected_request == ("late", "2-1") and state.request_selected_at == 1.0
    state = apply_snapshot(state, snapshot(early), 3.0)
    assert state.selected_request == ("early", "1-1") and state.request_selected_at == 3.0


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


def test_of_a_long_log_only_the_end_is_read_and_what_is_left_out_is_told(
    session: Make, snapshot: Make
) -> None:
    state = apply_snapshot(State(), snapshot(session("a", events=10_000)), 1.0)
    assert next_page(state) == ("a", 10_000 - BACKLOG + 1)
    page = [{"seq": 9_401, "at": 1.0, "kind": "note", "text": "hi"}]
    state = apply_page(state, "a", page, 9_402)
    assert next_page(state) == ("a", 9_402)
    state = apply_page(state, "a", [{**page[0], "seq": 9_500}], 10_001)
    assert next_page(state) is None and state.transcript is not None
    assert "98 events left out" in [item.text for item in state.transcript.items]


def test_what_stands_before_a_gap_is_read_though_the_gap_has_more_numbers_than_is_read_back(
    session: Make, snapshot: Make
) -> None:
    """As a broker that was killed leaves it."""
    gap = {"seq": 1001, "kind": "gap", "from": 1001, "to": 9000, "why": "it died", "at": 1.0}
    notes = [
        {"seq": number, "kind": "note", "text": f"{number}", "at": 1.0} for number in (*range(1, 1001), 9001)
    ]
    state = apply_snapshot(State(), snapshot(session("a", events=9001)), 0.0)
    state = apply_page(state, "a", [gap | {"seq": 9001 - BACKLOG + 1}, notes[-1]], 9002)
    assert next_page(state) == ("a", 1001 - BACKLOG)
    state = apply_page(state, "a", [*notes[1000 - BACKLOG : 1000], gap, notes[-1]], 9002)
    assert next_page(state) is None and state.transcript is not None
    assert [item.text for item in state.transcript.items][-3:] == [
        "1000", "events 1001 to 9000 are lost: it died", "9001",
    ]  # fmt: skip


def test_a_page_of_a_session_that_is_not_looked_at_any_more_is_dropped(session: Make, snapshot: Make) -> None:
    state = apply_snapshot(State(), snapshot(session("a"), session("b")), 1.0)
    assert apply_page(state, "b", [], 5) is state


def test_a_transcript_keeps_the_newest(session: Make) -> None:
    notes = [{"seq": n, "at": 1.0, "kind": "note", "text": str(n)} for n in range(1, 2 * MAX_ITEMS)]
    kept = Transcript("a").with_events(notes, 2 * MAX_ITEMS)
    assert len(kept.items) == MAX_ITEMS and kept.items[-1].text == str(2 * MAX_ITEMS - 1)


def test_what_keys_can_answer(agent_request: Make) -> None:
    permission = agent_request("1-1", "sure?", 1.0)
    assert [(one.name, one.is_rejection) for one in answer_choices(permission)][2] == (
        "Leave the file as it is",
        True,
    )
    form = permission | {"method": "elicitation/create", "mode": "form", "options": []}
    assert [one.params for one in answer_choices(form)] == [{"answer": "deny"}]
    assert [one.params for one in answer_choices(form | {"mode": "url"})] == [
        {"answer": "allow"},
        {"answer": "deny"},
    ]
    assert answer_choices(permission | {"method": "their/own", "options": []}) == []


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
