"""A report has what an agent wrote to stderr, as JSON and as JUnit's XML."""

from __future__ import annotations

import sys
from pathlib import Path

from trio_broker.testing.check import Program, Settings, run, select_checks
from trio_broker.testing.check.report import as_junit

GIVES_UP = """
import json, sys, traceback
for line in sys.stdin:
    asked = json.loads(line)
    if asked["method"] == "initialize":
        result = {"protocolVersion": 1}
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
    else:
        try:
            {}["nobody"]
        except KeyError:
            traceback.print_exc()
"""


async def test_what_an_agent_says_on_stderr_and_does_not_die_of_is_told(tmp_path: Path) -> None:
    target = Program([sys.executable, "-c", GIVES_UP])
    report = await run(target, Settings(str(tmp_path), timeout=4.0), select_checks(["session.unknown"]))
    [result] = report.results
    assert result.why == "no answer to session/prompt within 4 s; stderr: KeyError: 'nobody'"
    assert result.stderr[0].startswith("Traceback") and result.stderr[-1] == "KeyError: 'nobody'"
    assert result.as_json()["stderr"] == [*result.stderr]
    assert f"<system-err>{result.stderr[0]}\n" in as_junit(report)
