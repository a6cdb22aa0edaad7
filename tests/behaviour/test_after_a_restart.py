"""What a user sees after the broker was stopped or killed, or could not write its journal."""

from __future__ import annotations

import json
import os
import signal
import sqlite3

import pytest

from trio_broker.testing.processes.home import LIMIT, Home, eventually, is_running


def kill_daemon(home: Home) -> None:
    """`kill -9`, and wait until it is gone."""
    pid = home.status()["pid"]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_running(pid))


def test_what_became_of_a_session_is_said_in_words(home: Home) -> None:
    home.run("prompt", "-a", "demo", "-s", "k", "fast: build 0")
    with home.start("watch", "-s", "k") as watching:
        eventually(lambda: home.session("k")["clients"] == 1)
        assert home.run("sessions", "restart", "-s", "k").returncode == 0
        home.run("down")
        _, told = watching.communicate(timeout=LIMIT)
    assert "[agent] resumed the conversation goes on where it was" in told
    assert "[session] suspended" in told and "[session] ended" not in told
    home.run("prompt", "-a", "demo", "-s", "k", "fast: build 0")
    history = home.run("sessions", "history", "-s", "k").stdout
    assert "agent    resumed: the conversation goes on where it was" in history and "exact" not in history
    assert "session  suspended" in history
    shown = home.run("sessions", "show", "-s", "k").stdout
    assert "resumed: exact: the conversation goes on where it was" in shown
    assert "updates of other sessions: 0" in shown and "foreign" not in shown


def test_after_a_kill_the_next_prompt_says_what_happened_and_history_shows_all(home: Home) -> None:
    assert home.run("prompt", "-a", "demo", "-s", "k", "fast: hello", "--approve-all").returncode == 0
    assert home.run("prompt", "-a", "demo", "-s", "k", "build 600", "--no-wait").returncode == 0
    home.until("k", "working")
    agent = home.session("k")["pid"]
    kill_daemon(home)
    eventually(lambda: not is_running(agent))
    done = home.run("prompt", "-a", "demo", "-s", "k", "fast: again", "--approve-all")
    assert done.returncode == 0
    assert "[before] the last turn: unknown: the broker ended while this turn ran" in done.stderr
    assert "[resumed] the conversation goes on where it was" in done.stderr
    items = [
        json.loads(line)
        for line in home.run("sessions", "history", "-s", "k", "--format", "json").stdout.splitlines()
    ]
    assert [item["text"] for item in items if item["kind"] == "prompt"] == [
        "fast: hello",
        "build 600",
        "fast: again",
    ]
    ends = [(item["outcome"]) for item in items if item["kind"] == "end"]
    assert ends == ["completed", "unknown", "completed"]
    text = home.run("sessions", "history", "-s", "k").stdout
    assert "prompt   build 600" in text and "unknown: the broker ended" in text
    quiet = home.run("sessions", "history", "-s", "k", "--format", "quiet").stdout
    assert quiet.count("You asked") == 2


def test_a_prompt_that_was_queued_runs_after_the_kill_once(home: Home) -> None:
    for id, text in (("one", "hang"), ("two", "say second")):
        assert home.run("fake", "-s", "k", text, "--no-wait", "--prompt-id", id).returncode == 0
    kill_daemon(home)
    assert home.run("up").returncode == 0
    done = home.run("wait", "-s", "k", "--prompt-id", "two", "--format", "json")
    assert json.loads(done.stdout)["ended"]["outcome"] == "completed"
    again = home.run("fake", "-s", "k", "say second", "--no-wait", "--prompt-id", "two")
    assert "it has run already: completed" in again.stderr
    assert home.run("sessions", "history", "-s", "k", "--format", "quiet").stdout == "second\n"


def test_a_prompt_that_was_removed_from_the_queue_does_not_run_after_a_kill(home: Home) -> None:
    for id, text in (("one", "hang"), ("two", "say second"), ("three", "say third")):
        assert home.run("fake", "-s", "k", text, "--no-wait", "--prompt-id", id).returncode == 0
    assert home.run("queue", "remove", "-s", "k", "two").returncode == 0
    kill_daemon(home)
    assert home.run("up").returncode == 0
    assert home.run("wait", "-s", "k", "--prompt-id", "three").returncode == 0
    assert home.run("sessions", "history", "-s", "k", "--format", "quiet").stdout == "third\n"
    assert "cancelled 'say second': removed" in home.run("sessions", "history", "-s", "k").stdout


@pytest.mark.slow
def test_a_journal_that_fails_is_told_loudly_and_sessions_go_on(home: Home) -> None:
    assert home.run("fake", "-s", "k", "say one").returncode == 0
    journal = home.path / "state" / "journal.sqlite"
    with sqlite3.connect(journal, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")  # as long as this lasts, nobody else can write
        assert home.run("fake", "-s", "k", "say two", "--format", "quiet").stdout == "two\n"
        assert "THE JOURNAL FAILS, sessions go on without it" in home.run("status").stdout
        other.execute("ROLLBACK")
    other.close()
    eventually(lambda: home.status()["journal"]["failing"] is None)
    assert home.run("sessions", "history", "-s", "k", "--format", "quiet").stdout == "one\ntwo\n"
