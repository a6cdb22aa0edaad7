"""Chaos with a real daemon: ours keeps its promises, and one that is broken on purpose is found out."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import trio

from trio_broker.cli.testing.chaos import _print_report
from trio_broker.testing.chaos import daemon
from trio_broker.testing.chaos.faults import WEIGHTS, schedule
from trio_broker.testing.chaos.run import Plan, Report, run
from trio_broker.testing.processes.home import TRIO_BROKER

BOUND = 240.0
NEW_LIVES = ("kill_broker", "restart_broker", "second_signal")
CALM = 10_000.0  # seconds between two faults: none comes

SLOW_DISK = """
import time
from trio_broker.journal.store import Journal
_write = Journal.write
def _slowly(self, batch):
    time.sleep(0.15)
    return _write(self, batch)
Journal.write = _slowly
"""
DROPS = """
from trio_broker.journal.log import Log
_add = Log.append_updates
def _drop(self, count, lines, **how):
    return _add(self, count, lines.replace(b'.3"', b'.4"'), **how)
Log.append_updates = _drop
"""
REPEATS = """
from trio_broker.journal.log import Log
_add = Log.append_updates
def _repeat(self, count, lines, **how):
    _add(self, count, lines, **how)
    return _add(self, count, lines, **how)
Log.append_updates = _repeat
"""
FORGETS = """
from trio_broker.server.connection import Connection
Connection.reply_outcome = lambda *args: None
"""
BELIEVES = """
from trio_broker.protocol.pending import PendingRequests
_close = PendingRequests.close
def _believe(self, token):
    found = _close(self, token)
    return self._open.pop(max(self._open)) if found is None and self._open else found
PendingRequests.close = _believe
"""
MIXES = """
from trio_broker.session.router import Router
Router._reject_misrouted = lambda self, message: self.receive_updates(1, message.raw + b"\\n")
"""


@pytest.mark.slow
async def test_our_broker_keeps_its_promises() -> None:
    with trio.fail_after(BOUND):
        report = await run(Plan(seed=7, seconds=12, sessions=8, clients=8, every=0.35))
    assert report.violations == []
    assert report.outcomes["completed"] > 10 and report.lives > 1
    assert sum(report.faults.values()) > 15


async def test_each_kind_of_fault_is_survived() -> None:
    """A short run whose schedule has one of each at least."""
    plan = Plan(seed=6518, seconds=3, sessions=3, clients=4, every=0.2)
    assert {fault.name for fault in schedule(plan.seed, plan.seconds, plan.every)} == WEIGHTS.keys()
    told: list[str] = []
    with trio.fail_after(BOUND):
        report = await run(plan, told.append)
    assert report.violations == []
    assert report.faults.keys() == WEIGHTS.keys() and len(told) == report.faults.total()
    assert report.lives == 1 + sum(report.faults[name] for name in NEW_LIVES)
    assert report.outcomes["completed"] > 0 and report.events > 0


async def test_what_was_told_outlives_a_kill_however_slow_the_disk_is() -> None:
    """A prompt that was cancelled while it waited, or ended with its agent, was told so before that was on disk."""
    faults = ("kill_broker", "kill_agent", "full_queue")
    with trio.fail_after(BOUND):
        report = await run(Plan(1, 3, sessions=2, clients=6, every=0.12, plant=SLOW_DISK, only=faults))
    assert report.violations == [] and report.lives > 1


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


DIES = """
import os, sys, threading
if "serve" in sys.argv:
    threading.Timer(3, os._exit, (5,)).start()
"""
WON_T_WAIT = """
import os
from trio_broker.journal.folding import Folding
_note = Folding.note
def _hold(self, size):
    _note(self, size)
    if self.holding:
        os._exit(7)
Folding.note = _hold
"""
STAYS = """
import signal, trio
_receive = trio.open_signal_receiver
def _deaf(*numbers):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return _receive(signal.SIGUSR1)
trio.open_signal_receiver = _deaf
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "fault", "words"),
    [
        (DIES, "cut_client", "the broker ended by itself, with exit code 5"),
        (WON_T_WAIT, "flood", "the broker ended by itself, with exit code 7"),
        (STAYS, "restart_broker", "the broker did not end within 10 s"),
    ],
    ids=["dies", "folds", "stays"],
)
async def test_a_broker_with_which_one_can_not_go_on_is_a_finding_too(
    plant: str, fault: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "RESTART_TIMEOUT", 10.0)
    plan = Plan(1, 6, sessions=2, clients=2, every=0.5, plant=plant, only=(fault,))
    with trio.fail_after(BOUND):
        report = await run(plan)
    assert report.violations[0].startswith(words) and report.faults, report


CHAOS = [*TRIO_BROKER, "chaos", "--minutes", "0.005", "--seed", "3", "--sessions", "2", "--clients", "2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "words"),
    [(BELIEVES, "came behind its end"), (MIXES, "said in its name by another's agent")],
    ids=["believes", "mixes"],
)
async def test_a_broker_that_believes_garbage_is_found_out(plant: str, words: str) -> None:
    plan = Plan(1, 2, sessions=2, clients=1, every=0.05, patience=8.0, plant=plant, only=("rude_agent",))
    with trio.fail_after(BOUND):
        report = await run(plan)
    assert any(words in violation for violation in report.violations), report


@pytest.mark.slow
async def test_the_command_tells_the_seed_and_the_outcome() -> None:
    with trio.fail_after(BOUND):
        done = await trio.run_process([*CHAOS, "--format", "json"], capture_stdout=True, capture_stderr=True)
    report = json.loads(done.stdout)
    assert report["plan"]["seed"] == 3 and report["violations"] == []
    assert done.stderr.decode().startswith("seed 3: 0.005 min, 2 sessions, 2 clients\n")


async def test_the_command_tells_people_the_same() -> None:
    with trio.fail_after(BOUND):
        done = await trio.run_process(CHAOS, capture_stdout=True, capture_stderr=True)
    lines = dict(line.split(maxsplit=1) for line in done.stdout.decode().splitlines())
    assert list(lines) == ["faults", "prompts", "events", "status", "broken"]
    assert lines["events"].endswith("over 1 lives of the broker") and lines["broken"] == "nothing"


def test_where_a_promise_was_broken_status_is_not_told_as_answered_always(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = Report(
        Plan(1), Counter(), Counter(), 0, 1, 0.2, ["status was not answered within 10 s, in life 0"]
    )
    _print_report(report)
    assert "status    answered within 200 ms at most\nbroken    1\n" in capsys.readouterr().out
