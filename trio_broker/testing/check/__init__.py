"""A battery of checks for anything that speaks ACP: an agent, or a broker with an agent behind it.

    report = trio.run(run, Program(["my-agent", "--acp"]), Settings(cwd="/tmp/empty"))
    assert report.passed, report.as_json()

`trio-broker check -- my-agent --acp` is the same from a shell. `CHECKS` is the table: each `Check` has an id, a title,
and the page that makes a rule of it; `select_checks(["session", "cancel.*"])` picks from it. A check has a process, or
a connection, of its own; its `Result` is a `Verdict` with the frames that led to it.

The folder owns the checks, their run and its report. It must not know the broker or the command line: a broker is one
more thing that speaks ACP. Read `outcomes`, `conversation`, `target` and `base`, then `suite` with the checks, then
`report` and `runner`. `schema` compares values with the published schema of ACP, for `suite.invariants`.
"""

from trio_broker.testing.check.base import Check, Settings
from trio_broker.testing.check.conversation import Direction, Frame
from trio_broker.testing.check.outcomes import Verdict
from trio_broker.testing.check.report import Report, Result
from trio_broker.testing.check.runner import CHECKS, run, select_checks
from trio_broker.testing.check.target import Endpoint, Program, Target

__all__ = [
    "CHECKS",
    "Check",
    "Direction",
    "Endpoint",
    "Frame",
    "Program",
    "Report",
    "Result",
    "Settings",
    "Target",
    "Verdict",
    "run",
    "select_checks",
]
