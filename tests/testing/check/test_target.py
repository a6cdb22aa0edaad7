"""The targets of checks: one that can't be reached is an error, and not a result."""

from __future__ import annotations

from pathlib import Path

import pytest

from trio_broker.errors import NoBroker
from trio_broker.testing.check import Endpoint, Settings, run


async def test_an_endpoint_that_can_not_be_reached_is_an_error_and_no_result(tmp_path: Path) -> None:
    target = Endpoint(str(tmp_path / "no.sock"))
    with pytest.RaisesGroup(pytest.RaisesExc(NoBroker), flatten_subgroups=True, allow_unwrapped=True):
        await run(target, Settings(str(tmp_path), quiet=0.1))
