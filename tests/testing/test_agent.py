"""The scripted agent is started as a module and by its path, and starts fast."""

from __future__ import annotations

import subprocess
import sys

import pytest

from trio_broker.testing import agent
from trio_broker.testing.processes.agent_process import (
    LIMIT,
    SCRIPTED_AGENT,
    AgentProcess,
    said,
)

HEAVY = {
    *("argparse", "asyncio", "dataclasses", "inspect", "logging", "pathlib", "socket", "subprocess", "trio"),
}
BY_PATH = [sys.executable, "-S", "-E", agent.__file__]  # as the other tests start it


def test_it_starts_fast() -> None:
    """Counted in modules, as time differs between machines."""
    argv = [sys.executable, "-X", "importtime", *BY_PATH[1:]]
    told = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=True
    ).stderr
    imported = {line.rpartition("|")[2].strip() for line in told.splitlines()}
    assert "trio_broker.testing.scripted_agent.agent" in imported, "importtime tells what is imported"
    assert imported & HEAVY == set()


@pytest.mark.parametrize(
    "argv",
    [SCRIPTED_AGENT, BY_PATH, [sys.executable, agent.__file__]],
    ids=["as a module", "by its path", "as a file"],
)
def test_the_ways_to_start_it(argv: list[str]) -> None:
    with AgentProcess([*argv, "--name", "X"]) as talk:
        assert talk.call("initialize", protocolVersion=1)["result"]["agentInfo"]["name"] == "X"
        talk.start()
        assert said(talk.turn("say hello")) == "hello"
        assert talk.hang_up() == 0


def test_the_scripted_agent_is_started_by_its_path_too() -> None:
    done = subprocess.run(
        [sys.executable, agent.__file__, "--help"], capture_output=True, text=True, check=True
    )
    assert "flood" in done.stdout
