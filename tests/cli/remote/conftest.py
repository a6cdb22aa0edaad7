"""An editor that starts `trio-broker acp`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from trio_broker.testing.processes.agent_process import AgentProcess
from trio_broker.testing.processes.home import TRIO_BROKER, Home


@pytest.fixture
def editor() -> Callable[..., AbstractContextManager[AgentProcess]]:
    """Call it with a home and the words after `acp`; it ends with the block."""

    def start(home: Home, *words: str) -> AgentProcess:
        return AgentProcess([*TRIO_BROKER, "acp", *words], home.env, cwd=home.path)

    return start
