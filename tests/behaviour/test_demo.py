"""The demo, which is the first thing that a person runs: it works on any machine and leaves nothing behind."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from trio_broker.testing.processes.home import LIMIT, Home, eventually


def of_this_home(home: Home) -> Iterator[int]:
    """Every process with the HOME of the demo: agents get hardly anything of an environment, but that."""
    mark = f"HOME={home.env['HOME']}".encode()
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in file.read_bytes().split(b"\0"):
                yield int(file.parent.name)
        except OSError:  # it has ended, or is not ours
            continue


@pytest.fixture
def place(home: Home) -> Path:
    """Where the demo may put its temporary files; it has a HOME of its own, by which its processes are known."""
    home.env |= {"HOME": str(home.path / "demo"), "TMPDIR": str(home.path / "tmp")}
    (home.path / "tmp").mkdir()
    return home.path / "tmp"


def test_the_demo_shows_the_main_job_and_leaves_nothing(home: Home, place: Path) -> None:
    done = home.run("demo")
    assert (done.returncode, done.stderr) == (0, "")
    at = [float(line[:5]) for line in done.stdout.splitlines() if re.match(r" *\d+\.\ds ", line)]
    assert at == sorted(at) and at[-1] < 45, "it takes less than the build in it"
    assert "[asks] Apply the change to greet.py?" in done.stdout
    for name in ("api", "docs", "late"):
        assert re.search(rf"{name} +\| \[end_turn\]", done.stdout), done.stdout
    assert re.search(r"build +\| \[cancelled\].*build +\| \[end_turn\]", done.stdout, re.DOTALL)
    assert re.search(r"build +working", done.stdout) and "1 queued" in done.stdout
    assert "down: 4 agents ended, 0 processes left behind" in done.stdout
    printed = [line.strip().partition("  ")[0] for line in done.stdout.partition(" Next:\n")[2].splitlines()]
    assert len(printed) >= 3
    for command in printed:
        helped = subprocess.run(
            f"{command} --help", shell=True, capture_output=True, timeout=LIMIT, check=False, env=home.env
        )
        assert helped.returncode == 0, f"it works as it is printed: {command}"
    eventually(lambda: list(of_this_home(home)) == [])
    assert list(place.iterdir()) == []


def test_ctrl_c_in_the_demo_leaves_nothing_and_it_never_touched_a_broker_of_yours(
    home: Home, place: Path
) -> None:
    home.run("up", env={"HOME": str(home.path)})
    with home.start("demo") as demo:
        assert demo.stdout is not None
        while "[tool] Build the project" not in demo.stdout.readline():
            pass
        assert home.status()["sessions"] == []
        demo.send_signal(signal.SIGINT)
        _, stderr = demo.communicate(timeout=LIMIT)
    assert demo.returncode == 130 and "Traceback" not in stderr
    eventually(lambda: list(of_this_home(home)) == [])
    assert home.status()["sessions"] == []
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("word", ["build 30", "fast", "TRIO_BROKER_DEMO_SPEED"])
def test_the_agents_words_are_in_its_help(home: Home, word: str) -> None:
    assert word in home.run("demo-agent", "--help").stdout
