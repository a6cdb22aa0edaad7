"""Agents that are processes: how they are started alone, and what the system says of them."""

from __future__ import annotations

import os
import subprocess
import sys

from trio_broker.testing.processes.agents import zombie_children


def test_zombies_are_the_children_that_have_ended_and_were_not_reaped() -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert child.pid in zombie_children(os.getpid())
        assert zombie_children(child.pid) == []
    assert child.pid not in zombie_children(os.getpid())
