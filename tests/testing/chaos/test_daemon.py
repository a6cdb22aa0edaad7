"""The daemon of a chaos run: it is started, measured, and its wall clock jumps."""

from __future__ import annotations

import pytest
import trio

from trio_broker.testing.chaos.daemon import ChaosDaemon, DaemonLost
from trio_broker.testing.processes.home import CONFIG, Home

QUITS = """
import os, sys
if "serve" in sys.argv:
    os._exit(5)
"""


async def test_it_is_started_and_measured() -> None:
    with trio.fail_after(60), Home(CONFIG) as home:
        daemon = ChaosDaemon(home, "")
        await daemon.start()
        try:
            assert await daemon.is_answering() and daemon.last_status["sessions"] == []
            found = await daemon.measure()
            assert min(found.values()) > 0
            await daemon.wait_durable()
        finally:
            daemon.kill()
        assert daemon.exited and not await daemon.is_answering()


async def test_one_that_ends_by_itself_is_lost() -> None:
    with trio.fail_after(60), Home(CONFIG) as home:
        daemon = ChaosDaemon(home, QUITS)
        with pytest.raises(DaemonLost, match="the broker ended by itself, with exit code 5"):
            await daemon.start()


def test_its_clock_offset_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    with Home(CONFIG) as home:
        ChaosDaemon(home, "").set_clock_offset(-1.5)
        assert (home.path / "clock").read_text() == "-1.500"
