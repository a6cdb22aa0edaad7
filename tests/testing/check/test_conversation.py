"""A conversation waits no longer than its patience, also for an agent that does not read."""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from trio_broker.testing.check import Program, Settings, run, select_checks
from trio_broker.transport.base import WRITE_TIMEOUT

READS_NO_MORE = """
import json, time
result = {"protocolVersion": 1}
print(json.dumps({"jsonrpc": "2.0", "id": json.loads(input())["id"], "result": result}), flush=True)
time.sleep(600)
"""


async def test_an_agent_that_does_not_read_is_waited_for_no_longer_than_for_any_answer(
    tmp_path: Path,
) -> None:
    target = Program([sys.executable, "-c", READS_NO_MORE])
    with trio.fail_after(WRITE_TIMEOUT / 2):
        report = await run(target, Settings(str(tmp_path), timeout=1.0), select_checks(["lines.long"]))
    [result] = report.results
    assert result.why == "no answer to _trio_broker_check/none within 1 s"
    assert b"it does not read any more" in [frame.raw for frame in result.frames]
