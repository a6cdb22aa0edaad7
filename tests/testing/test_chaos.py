"""Chaos with a real daemon: ours keeps its promises, and one that is broken on purpose is found out."""

from __future__ import annotations

import json

import pytest
import trio

from trio_broker.testing.chaos.run import Plan, run
from trio_broker.testing.home import TRIO_BROKER

BOUND = 240.0
CALM = 10_000.0  # seconds between two faults: none comes

DROPS = """
from trio_broker.log import Log
_add, _count = Log.append_updates, 0
def _drop(self, count, lines, **how):
    global _count
    _count += 1
    return _add(self, count, lines.replace(b'.3"', b'.4"') if _count % 5 == 0 else lines, **how)
Log.append_updates = _drop
"""
REPEATS = """
from trio_broker.log import Log
_add = Log.append_updates
def _repeat(self, count, lines, **how):
    _add(self, count, lines, **how)
    return _add(self, count, lines, **how)
Log.append_updates = _repeat
"""
FORGETS = """
from trio_broker.connection import Connection
Connection.settle = lambda *args: None
"""


@pytest.mark.slow
async def test_our_broker_keeps_its_promises() -> None:
    with trio.fail_after(BOUND):
        report = await run(Plan(seed=7, seconds=12, sessions=8, clients=8, every=0.35))
    assert report.violations == []
    assert report.outcomes["completed"] > 50 and report.lives > 1
    assert sum(report.faults.values()) > 15


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (DROPS, "its words came as"),
        (REPEATS, "its words came as"),
        (FORGETS, "session/prompt was not answered"),
    ],
    ids=["drops", "repeats", "forgets"],
)
async def test_a_broken_broker_is_found_out(plant: str, words: str) -> None:
    plan = Plan(1, seconds=3, sessions=2, clients=3, every=CALM, patience=8.0, plant=plant)
    with trio.fail_after(BOUND):
        report = await run(plan)
    assert any(words in violation for violation in report.violations), report


@pytest.mark.slow
async def test_the_command_tells_the_seed_and_the_outcome() -> None:
    argv = [*TRIO_BROKER, "chaos", "--minutes", "0.03", "--seed", "3", "--sessions", "2", "--clients", "2"]
    with trio.fail_after(BOUND):
        done = await trio.run_process([*argv, "--format", "json"], capture_stdout=True)
    report = json.loads(done.stdout)
    assert report["plan"]["seed"] == 3 and report["violations"] == []
