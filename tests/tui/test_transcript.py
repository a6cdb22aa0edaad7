"""Which part of a log is read, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trio_broker.tui.state import (
    State,
    apply_page,
    apply_snapshot,
    next_page,
)
from trio_broker.tui.transcript import BACKLOG, MAX_ITEMS, Transcript

Json = dict[str, Any]
Make = Callable[..., Json]


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


def test_a_transcript_keeps_the_newest(session: Make) -> None:
    notes = [{"seq": n, "at": 1.0, "kind": "note", "text": str(n)} for n in range(1, 2 * MAX_ITEMS)]
    kept = Transcript("a").with_events(notes, 2 * MAX_ITEMS)
    assert len(kept.items) == MAX_ITEMS and kept.items[-1].text == str(2 * MAX_ITEMS - 1)


def test_a_notice_and_a_compaction_are_notes() -> None:
    notice = {"sessionUpdate": "notice", "severity": "warning", "title": "Limited", "description": "40 s"}
    compaction = {"sessionUpdate": "compaction_update", "compactionId": "c", "status": "completed"}
    events = [
        {"seq": seq, "at": 1.0, "kind": "update", "update": update}
        for seq, update in enumerate((notice, compaction), 1)
    ]
    items = Transcript("a").with_events(events, 3).items
    assert [(item.kind, item.text) for item in items] == [
        ("note", "[notice, warning] Limited: 40 s"),
        ("note", "[compaction] the agent has compacted its context"),
    ]
