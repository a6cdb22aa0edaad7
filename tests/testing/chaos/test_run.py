"""The report of a chaos run, as `--format json` prints it."""

from __future__ import annotations

from collections import Counter

from trio_broker.testing.chaos.run import Plan, Report


def test_a_report_is_one_json_object_with_its_plan() -> None:
    report = Report(Plan(7), Counter(cut_client=1), Counter(completed=2), 9, 1, 0.25, [])
    assert report.as_json() == {
        "plan": {
            "seed": 7,
            "seconds": 60.0,
            "sessions": 20,
            "clients": 20,
            "every": 0.5,
            "patience": 60.0,
            "plant": "",
            "only": (),
        },
        "faults": {"cut_client": 1},
        "outcomes": {"completed": 2},
        "events": 9,
        "lives": 1,
        "slowest_status": 0.25,
        "violations": [],
    }
