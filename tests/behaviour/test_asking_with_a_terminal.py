"""Agents that ask for a permission only where somebody else runs their commands, at the command line of a user."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from trio_broker.testing.processes.home import FAKE, Home

pytestmark = pytest.mark.process

AGENT = f"""
default_agent = "with"
[agents.with]
command = {json.dumps(list(FAKE))}
terminal = true
[agents.without]
command = {json.dumps(list(FAKE))}
"""


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    with Home(AGENT) as home:
        yield home


def test_with_a_terminal_of_the_broker_the_agent_asks_and_a_denial_counts(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "precious"
    done = home.run("exec", "--deny-all", f"ask-terminal touch {file}")
    assert not file.exists(), done.stdout
    done = home.run("exec", "--approve-all", f"ask-terminal touch {file}")
    assert file.exists(), done.stdout + done.stderr


def test_an_agent_that_does_not_ask_is_stopped_by_the_policy(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "precious"
    done = home.run("exec", "--deny-all", f"terminal touch {file}")
    assert not file.exists() and "policy:deny-all" in done.stdout


def test_output_and_exit_code_are_what_the_command_gave(home: Home) -> None:
    done = home.run("exec", "--approve-all", "terminal echo hello from here; exit 3")
    assert "hello from here" in done.stdout


def test_without_one_nothing_is_offered(home: Home) -> None:
    done = home.run("exec", "-a", "without", "capabilities", "--format", "quiet")
    assert json.loads(done.stdout)["terminal"] is False
    done = home.run("exec", "-a", "with", "capabilities", "--format", "quiet")
    assert json.loads(done.stdout)["terminal"] is True
