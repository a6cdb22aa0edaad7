"""What the dashboard knows, folded from pictures and pages: pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.tui.screen import screen
from trio_broker.tui.state import SORTS, State, Tab, Trend, answers, lost, read, saw, select, wanted
from trio_broker.tui.transcript import BACK, ITEMS, Transcript

Json = dict[str, Any]
Make = Callable[..., Json]


def keys(state: State) -> list[str]:
    return [view["key"] for view in state.rows()]


def test_the_first_session_is_selected_and_stays_so(session: Make, picture: Make) -> None:
    state = saw(State(), picture(session("a"), session("b")), 1.0)
    assert state.selected == "a"
    state = saw(select(state, "b"), picture(session("c"), session("b"), session("a")), 2.0)
    assert state.selected == "b"
    state = saw(state, picture(session("c"), session("a")), 3.0)
    assert state.selected == "c"
    assert saw(state, picture(), 4.0).selected is None


def test_the_question_on_top_stays_while_it_is_open(session: Make, ask: Make, picture: Make) -> None:
    late = session("late", asks=[ask("2-1", "late", 50.0)])
    state = saw(State(), picture(late), 1.0)
    assert state.ask == ("late", "2-1")
    early = session("early", asks=[ask("1-1", "early", 10.0)])
    state = saw(state, picture(early, late), 2.0)
    assert state.ask == ("late", "2-1") and state.ask_since == 1.0
    state = saw(state, picture(early), 3.0)
    assert state.ask == ("early", "1-1") and state.ask_since == 3.0


@pytest.mark.parametrize(
    ("filter", "found"),
    [("", ["a", "b"]), ("CLAUDE", ["a"]), ("work idle", ["b"]), ("greet", ["a"]), ("nothing", [])],
)
def test_the_filter_looks_into_every_column(
    filter: str, found: list[str], session: Make, picture: Make
) -> None:
    one = session("a", agent="claude", phase="working", title="type greet()", cwd="/tmp")
    state = saw(State(filter=filter), picture(one, session("b")), 1.0)
    assert keys(state) == found


def test_each_sort_has_the_most_telling_on_top(session: Make, picture: Make) -> None:
    low = session("b", agent="a", usage={"used": 5}, use={"cpu": 1.0, "memory": 1, "processes": 1})
    high = session(
        "a", agent="b", phase="waiting", turn_since=5.0, heard_at=5.0, queue=2, title=None,
        usage={"used": 50, "cost": {"amount": 2}}, use={"cpu": 90.0, "memory": 9, "processes": 1},
    )  # fmt: skip
    state = saw(State(), picture(low, high), 1.0)
    state = attrs.evolve(state, trends={"a": Trend(9, 1.0, 5.0)})
    for sort in SORTS:
        expected = ["b", "a"] if sort in ("opened", "agent") else ["a", "b"]
        assert keys(attrs.evolve(state, sort=sort)) == expected, sort
        assert keys(attrs.evolve(state, sort=sort, reverse=True)) == expected[::-1], sort


def test_rates_are_counted_over_two_seconds_and_a_restart_is_no_burst() -> None:
    trend = Trend(100, 10.0)
    assert trend.seen(110, 11.0) is trend
    assert trend.seen(110, 12.0).rate == 5.0
    assert trend.seen(3, 12.0).rate == 0
    assert len(trend.seen(110, 500.0).samples) == 8


def test_a_broker_that_comes_back_is_told_and_its_log_read_anew(session: Make, picture: Make) -> None:
    one = session("a", events=5)
    state = read(saw(State(), picture(one), 1.0), "a", [], 6)
    assert wanted(state) is None
    state = lost(state, "it hung up", 2.0)
    assert wanted(state) is None and state.clock(50.0) == state.clock(2.0)
    state = saw(state, picture(one), 60.0)
    assert state.gone is None and state.notice is not None and "back" in state.notice[0]
    assert wanted(state) == ("a", 1)


def test_of_a_long_log_only_the_end_is_read_and_what_is_left_out_is_told(
    session: Make, picture: Make
) -> None:
    state = saw(State(), picture(session("a", events=10_000)), 1.0)
    assert wanted(state) == ("a", 10_000 - BACK + 1)
    page = [{"seq": 9_401, "at": 1.0, "kind": "note", "text": "hi"}]
    state = read(state, "a", page, 9_402)
    assert wanted(state) == ("a", 9_402)
    state = read(state, "a", [{**page[0], "seq": 9_500}], 10_001)
    assert wanted(state) is None and state.transcript is not None
    assert "98 events left out" in [item.text for item in state.transcript.items]


def test_what_stands_before_a_gap_is_read_though_the_gap_has_more_numbers_than_is_read_back(
    session: Make, picture: Make
) -> None:
    """As a broker that was killed leaves it."""
    gap = {"seq": 1001, "kind": "gap", "from": 1001, "to": 9000, "why": "it died", "at": 1.0}
    notes = [
        {"seq": number, "kind": "note", "text": f"{number}", "at": 1.0} for number in (*range(1, 1001), 9001)
    ]
    state = saw(State(), picture(session("a", events=9001)), 0.0)
    state = read(state, "a", [gap | {"seq": 9001 - BACK + 1}, notes[-1]], 9002)
    assert wanted(state) == ("a", 1001 - BACK)
    state = read(state, "a", [*notes[1000 - BACK : 1000], gap, notes[-1]], 9002)
    assert wanted(state) is None and state.transcript is not None
    assert [item.text for item in state.transcript.items][-3:] == [
        "1000", "events 1001 to 9000 are lost: it died", "9001",
    ]  # fmt: skip


def test_a_page_of_a_session_that_is_not_looked_at_any_more_is_dropped(session: Make, picture: Make) -> None:
    state = saw(State(), picture(session("a"), session("b")), 1.0)
    assert read(state, "b", [], 5) is state


def test_a_transcript_keeps_the_newest(session: Make) -> None:
    notes = [{"seq": n, "at": 1.0, "kind": "note", "text": str(n)} for n in range(1, 2 * ITEMS)]
    kept = Transcript("a").fed(notes, 2 * ITEMS)
    assert len(kept.items) == ITEMS and kept.items[-1].text == str(2 * ITEMS - 1)


def test_what_keys_can_answer(ask: Make) -> None:
    permission = ask("1-1", "sure?", 1.0)
    assert [(one.name, one.refuses) for one in answers(permission)][2] == ("Leave the file as it is", True)
    form = permission | {"method": "elicitation/create", "mode": "form", "options": []}
    assert [one.params for one in answers(form)] == [{"answer": "deny"}]
    assert [one.params for one in answers(form | {"mode": "url"})] == [
        {"answer": "allow"},
        {"answer": "deny"},
    ]
    assert answers(permission | {"method": "their/own", "options": []}) == []


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
    view = _session(events=len(events), usage=usage)
    state = read(saw(State(), _picture(view), 1.0), "a", events, len(events) + 1)
    for tab in Tab:
        for sort in SORTS:
            shown = screen(attrs.evolve(state, tab=tab, detail=True, sort=sort), 2.0, 160, 40)
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


def _picture(*views: Json) -> Json:
    broker = {"version": "0", "counts": {"idle": 1}, "clients": 1, "journal": {"failing": None}}
    return {"number": 1, "at": 1.0, "broker": broker, "sessions": list(views)}
