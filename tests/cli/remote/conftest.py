"""An editor that starts `trio-broker acp`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from trio_broker.testing.home import TRIO_BROKER, Home
from trio_broker.testing.talk import Talk


@pytest.fixture
def editor() -> Callable[..., AbstractContextManager[Talk]]:
    """Call it with a home and the words after `acp`; it ends with the block."""

    def start(home: Home, *words: str) -> Talk:
        return Talk([*TRIO_BROKER, "acp", *words], home.env, cwd=home.path)

    return start
