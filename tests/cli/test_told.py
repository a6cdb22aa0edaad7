"""What commands say at their end, whatever it was."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

from trio_broker.cli.testing import chaos, demo
from trio_broker.testing.chaos.run import Plan, Report


@pytest.mark.parametrize(
    ("program", "in_path", "said"),
    [
        ("/usr/bin/pytest", True, f"{sys.executable} -m trio_broker"),
        ("/somewhere/bin/trio-broker", True, "trio-broker"),
        ("/somewhere/bin/trio-broker", False, "/somewhere/bin/trio-broker"),
        ("bin/trio-broker", False, "bin/trio-broker"),
    ],
)
def test_the_demo_names_a_command_that_works_as_it_is_printed(
    program: str, in_path: bool, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [program])
    monkeypatch.setattr(shutil, "which", lambda name: name if in_path else None)
    assert f"\n  {said} status " in demo._next_steps()


def test_chaos_shows_each_promise_that_was_broken(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(
        Plan(1), Counter({"kill_agent": 2}), Counter(completed=3), 9, 1, 0.01, ["a word was lost"]
    )
    chaos._print_report(report)
    said = capsys.readouterr().out
    assert "2 kill agent" in said and "3 completed" in said
    assert said.endswith("broken    1\n  a word was lost\n")
