"""The help of the scripted agent is complete."""

from __future__ import annotations

import subprocess

import pytest

from trio_broker.testing.processes.agent_process import (
    LIMIT,
    SCRIPTED_AGENT,
)
from trio_broker.testing.scripted_agent import help_text
from trio_broker.testing.scripted_agent.agent import FLAGS
from trio_broker.testing.scripted_agent.script import ACTIONS


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_its_help_has_every_flag_and_every_word_of_a_prompt(word: str) -> None:
    done = subprocess.run([*SCRIPTED_AGENT, word], capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(help_text.action_names()) == sorted(ACTIONS)
    shown = {line.split()[0].rstrip(",") for line in done.stdout.splitlines() if line.startswith("  ")}
    assert shown | {"echo", "fds", "pid", "cwd", "prompt"} == ACTIONS.keys() | FLAGS.keys()
