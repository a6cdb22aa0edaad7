"""The report of `chaos`."""

from __future__ import annotations

from collections import Counter

import pytest

from trio_broker.cli.testing import chaos
from trio_broker.testing.chaos.run import Plan, Report


def test_chaos_shows_each_promise_that_was_broken(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(
        Plan(1), Counter({"kill_agent": 2}), Counter(completed=3), 9, 1, 0.01, ["a word was lost"]
    )
    chaos._print_report(report)
    said = capsys.readouterr().out
    assert "2 kill agent" in said and "3 completed" in said
    assert said.endswith("broken    1\n  a word was lost\n")
