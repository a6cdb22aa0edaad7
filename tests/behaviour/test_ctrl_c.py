"""Ctrl-C once or twice during a prompt, and a terminal that is closed."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from trio_broker.testing.processes.home import CONFIG, Home, Terminal, eventually, fake_command_line


def at_work(shared: Home, key: str, person: Terminal) -> None:
    person.see("[thinking] hm")
    shared.until(key, "working")


def test_ctrl_c_cancels_the_turn_and_is_130(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "think hm; hang", "-s", "cancelled", cwd=tmp_path) as person:
        at_work(shared, "cancelled", person)
        person.ctrl_c()
        person.see("[cancelling] once more to leave the turn to itself")
        person.see("[done] cancelled")
        assert person.end() == 130
    assert shared.session("cancelled")["phase"] == "idle"


def test_ctrl_c_at_a_question_cancels_the_turn(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "ask edit it; hang", "-s", "asked", cwd=tmp_path) as person:
        person.see("for everybody > ")
        person.ctrl_c()
        person.see("[done] cancelled")
        assert person.end() == 130
    assert shared.session("asked")["phase"] == "idle"


def test_a_second_ctrl_c_detaches_and_the_turn_goes_on(shared: Home, tmp_path: Path) -> None:
    """RACES D3: this agent does not heed the cancel."""
    with shared.terminal("prompt", "hang-hard", "-s", "left", cwd=tmp_path) as person:
        shared.until("left", "working")
        person.ctrl_c()
        person.see("once more to leave the turn to itself")
        person.ctrl_c()
        person.see("detached: the turn goes on; to end it: `trio-broker cancel -s left`")
        assert person.end() == 130
    assert shared.session("left")["phase"] == "cancelling"
    assert shared.run("sessions", "close", "--kill", "-s", "left").returncode == 0


def test_after_a_second_ctrl_c_watch_shows_how_the_turn_goes_on(home: Home, tmp_path: Path) -> None:
    """This agent heeds no cancel: the broker ends it after cancel_grace, whoever looks."""
    home.config.write_text(f"{CONFIG}\n[broker]\ncancel_grace = 3\n", encoding="utf-8")
    with home.terminal("prompt", "think hm; hang-hard", "-s", "left", cwd=tmp_path) as person:
        at_work(home, "left", person)
        person.ctrl_c()
        person.see("once more to leave the turn to itself")
        person.ctrl_c()
        assert person.end() == 130
    with home.terminal("watch", "-s", "left", "--since", "1") as watcher:
        watcher.see("[thinking] hm")
        watcher.see("[done] cancelled")
        watcher.ctrl_c()
        assert watcher.end() == 130


def test_a_second_ctrl_c_in_exec_kills_the_agent(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("exec", "hang-hard", "-s", "own", cwd=tmp_path) as person:
        shared.until("own", "working")
        person.ctrl_c()
        person.see("once more to kill the agent")
        person.ctrl_c()
        person.see("detached; the session has ended")
        assert person.end() == 130
    assert shared.session("own") is None


@pytest.mark.parametrize("command", ["prompt", "exec"])
def test_ctrl_c_before_the_session_has_started(shared: Home, tmp_path: Path, command: str) -> None:
    """A prompt leaves it to start, and tells how to end it; an exec ends what is its own."""
    key = f"early {command}"
    with shared.terminal(
        command, "hi", "-s", key, "--command", fake_command_line("--no-start"), cwd=tmp_path
    ) as person:
        person.see("[starting] python")
        person.ctrl_c()
        person.see("sessions close -s 'early" if command == "prompt" else "the session has ended")
        assert person.end() == 130
    assert (shared.session(key) is None) == (command == "exec")
    if command == "prompt":
        assert shared.run("sessions", "close", "-s", key).returncode == 0


def test_a_prompt_in_the_queue_says_so_and_ctrl_c_takes_it_out(shared: Home, tmp_path: Path) -> None:
    shared.run("prompt", "hang", "--no-wait", "-s", "queue", cwd=tmp_path)
    with shared.terminal("prompt", "say never", "-s", "queue", cwd=tmp_path) as person:
        person.see("[queued] 1 before this one")
        person.ctrl_c()
        assert person.end() == 130
        assert "never" not in person.screen
    view = shared.session("queue")
    assert (view["phase"], view["queue"]) == ("working", 0)
    assert shared.run("cancel", "-s", "queue").returncode == 0


def test_closing_the_terminal_leaves_the_turn(shared: Home, tmp_path: Path) -> None:
    """RACES C23: a window that is closed is a client that leaves (DESIGN D8)."""
    with shared.terminal("prompt", "think hm; hang", "-s", "window", cwd=tmp_path) as person:
        at_work(shared, "window", person)
        assert person.close_window() == -signal.SIGHUP
    eventually(lambda: shared.session("window")["clients"] == 0)
    assert shared.session("window")["phase"] == "working"
    assert shared.run("cancel", "-s", "window").returncode == 0
