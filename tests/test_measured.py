"""The gate of `just coverage`: it names what falls short, and nothing else."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

GATE = Path(__file__).with_name("measured.py")
FINE = {
    "trio_broker/protocol/acp.py": 100.0,
    "trio_broker/broker/sessions.py": 100.0,
    "trio_broker/session/turn_queue.py": 100.0,
    "trio_broker/journal/log.py": 100.0,
    "trio_broker/auth/policy.py": 100.0,
    "trio_broker/agent/orphans.py": 90.0,
    "trio_broker/testing/agent.py": 83.0,  # an exception, with its reason
}


def gate(found: dict[str, float]) -> subprocess.CompletedProcess[str]:
    files = {path: {"summary": {"percent_covered": percent}} for path, percent in found.items()}
    argv = [sys.executable, "-S", "-E", str(GATE)]
    return subprocess.run(
        argv, input=json.dumps({"files": files}), capture_output=True, encoding="utf-8", check=False
    )


def test_what_is_well_measured_passes() -> None:
    done = gate(FINE)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{len(FINE)} modules measured, 0 fall short\n"


@pytest.mark.parametrize(
    ("path", "percent", "wanted"),
    [
        ("trio_broker/agent/orphans.py", 89.9, 90),
        ("trio_broker/protocol/acp.py", 99.9, 100),
        ("trio_broker/session/turn_queue.py", 99.9, 100),
        ("trio_broker/cli/new.py", 0.0, 90),
    ],
)
def test_each_module_that_falls_short_is_named(path: str, percent: float, wanted: int) -> None:
    done = gate({**FINE, path: percent})
    assert done.returncode == 1
    assert (
        done.stderr.startswith(f"{path}: {percent} %, and {wanted} % are wanted")
        and done.stderr.count("\n") == 1
    )


def test_a_module_that_must_be_exact_and_was_renamed_is_missed() -> None:
    done = gate({path: percent for path, percent in FINE.items() if path != "trio_broker/journal/log.py"})
    assert done.returncode == 1 and "trio_broker/journal/log.py: no such module was measured" in done.stderr


def test_an_exception_is_one_only_for_as_long_as_it_has_to_be() -> None:
    short = runpy.run_path(str(GATE))["short"]
    path = "trio_broker/agent/orphans.py"
    fine = {path: percent for path, percent in FINE.items() if percent >= 90}
    assert list(short({**fine, path: 50.0}, {path: "why"})) == []
    (enough,) = short(fine, {path: "why"})
    (gone,) = short(fine, {"trio_broker/gone.py": "why"})
    assert enough.startswith(f"{path}: 90.0 % are enough; take it out")
    assert gone.startswith("trio_broker/gone.py: is not there; take it out")
