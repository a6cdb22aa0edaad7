"""`allow` and `deny` without an id at a terminal: a choice, the request, and a key to confirm."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from trio_broker.testing.processes.home import Home
from trio_broker.testing.processes.terminal_emulator import TerminalEmulator

CONFIRM = "this? y; any other key: no >"


@pytest.fixture
def two(home: Home) -> Home:
    """Two questions wait: `one` to edit /x, and `two` to run make."""
    for key, action in (
        ("one", "ask-edit x.txt new"),
        ("two", 'ask-raw {"title": "T", "rawInput": {"command": "make"}}'),
    ):
        home.run("prompt", action, "-s", key, "--ask", "--no-wait", cwd=home.path)
        home.until(key, "waiting")
    return home


def window(home: Home, *words: str) -> TerminalEmulator:
    return TerminalEmulator(home.env, *words, columns=80, lines=24, NO_COLOR="1")


def waiting(home: Home) -> list[str]:
    return sorted(ask["key"] for ask in home.json("pending")["asks"])


def outcome(home: Home, key: str) -> Any:
    return home.run("sessions", "history", "-s", key).stdout


def test_the_chosen_one_is_shown_and_confirmed(two: Home) -> None:
    with window(two, "allow") as person:
        person.see("  1)", " one: ", "  2)", " two: T", "│ command: make", "allow which one? 1-2, then Enter")
        person.type("2")
        person.see("> 2")
        person.type("\r")
        person.see(" two (fake), ", f"allow {CONFIRM}")
        person.type("y")
        person.see(" T: Allow")
        assert person.end() == 0
    assert waiting(two) == ["one"]
    with window(two, "deny") as person:
        person.see(" one (fake), ", "│ +new", f"deny {CONFIRM}")
        person.type("y")
        assert person.end() == 0
    assert waiting(two) == [] and "Reject" in outcome(two, "one")


def test_keys_that_arrive_together_count_one_by_one(two: Home) -> None:
    with window(two, "allow") as person:
        person.see("any other key: none >")
        person.type("12\x7f\x7f2\r")
        person.see(" two (fake), ", f"allow {CONFIRM}")
        person.type("y")
        assert person.end() == 0
    assert waiting(two) == ["one"]


@pytest.mark.parametrize("keys", ["x", "\r", "3\r", "0\r", "\x04", "\x1b[A"])
def test_any_other_key_chooses_none(two: Home, keys: str) -> None:
    with window(two, "allow") as person:
        person.see("allow which one? 1-2, then Enter")
        person.type(keys)
        person.see("nothing is answered")
        assert person.end() == 1
    assert waiting(two) == ["one", "two"]


def test_any_other_key_confirms_none_and_the_act_is_named(two: Home) -> None:
    with window(two, "allow", "--always") as person:
        person.see("allow always which one? 1-2, then Enter")
        person.type("1")
        person.see("> 1")
        person.type("\r")
        person.see(f"allow always {CONFIRM}")
        person.type("n")
        person.see("nothing is answered")
        assert person.end() == 1
    assert waiting(two) == ["one", "two"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_answers_none_and_the_terminal_is_as_it_was(two: Home, number: signal.Signals) -> None:
    with window(two, "allow") as person:
        person.see("allow which one? 1-2, then Enter")
        os.kill(person.process.pid, number)
        person.see("nothing is answered")
        assert person.end() == 1
    assert waiting(two) == ["one", "two"]
