"""A broker for the tests of a module, and another one for whoever wants it for itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trio_broker.testing.processes.home import Home


@pytest.fixture(scope="module")
def shared() -> Iterator[Home]:
    """One daemon for the module: tests keep apart by directory, or by key."""
    with Home() as home:
        assert home.run("up").returncode == 0  # any of its tests may be the first
        yield home


@pytest.fixture
def home() -> Iterator[Home]:
    """A home in which nothing runs yet."""
    with Home() as home:
        yield home
