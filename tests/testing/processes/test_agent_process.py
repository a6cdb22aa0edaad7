"""The blocking client of an agent's process."""

from __future__ import annotations

import queue
import subprocess
import sys

import pytest

from trio_broker.testing.processes.agent_process import (
    BRIEFLY,
    AgentProcess,
    open_scripted_agent,
    said,
    stop_reason,
    updates,
)
from trio_broker.testing.processes.home import is_running


def test_a_turn_is_every_message_up_to_its_response() -> None:
    with open_scripted_agent() as agent:
        agent.start()
        messages = agent.turn("say a; think b; say c")
        assert len(updates(messages)) == 3 and said(messages) == "ac" and stop_reason(messages) == "end_turn"
        with pytest.raises(queue.Empty):
            agent.line(0.05)
        assert not agent.hung_up and agent.hang_up() == 0 and agent.hung_up
        assert agent.line() == b""


def test_an_agent_that_does_not_end_is_killed_with_its_group() -> None:
    with AgentProcess([sys.executable, "-S", "-c", "import time; time.sleep(600)"]) as agent:
        with pytest.raises(subprocess.TimeoutExpired):
            agent.hang_up(BRIEFLY / 10)
        assert is_running(agent.process.pid)
    assert not is_running(agent.process.pid) and agent.process.returncode == -9


def test_stderr_is_read_to_its_end() -> None:
    with AgentProcess([sys.executable, "-S", "-c", "import sys; sys.stderr.write('no key')"]) as agent:
        assert agent.line() == b""
    assert agent.stderr == b"no key"
