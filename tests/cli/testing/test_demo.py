"""The end of the demo names commands that work as they are printed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from trio_broker.cli.testing import demo


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
