"""A battery of checks for anything that speaks ACP: an agent, or a broker with an agent behind it.

    report = trio.run(run, Program(["my-agent", "--acp"]), Settings(cwd="/tmp/empty"))
    assert report.passed, report.as_json()

`trio-broker check -- my-agent --acp` is the same from a shell. `CHECKS` is the table: each `Check` has an id, a title,
and the page that makes a rule of it; `chosen(["session", "cancel.*"])` picks from it. A check has a process, or a
connection, of its own; its `Result` is a `Verdict` with the frames that led to it.
"""

from trio_broker.testing.check.bench import Settings
from trio_broker.testing.check.run import run
from trio_broker.testing.check.table import CHECKS, chosen
from trio_broker.testing.check.target import Door, Program, Target
from trio_broker.testing.check.verdict import Check, Frame, Report, Result, Verdict, Way

__all__ = [
    "CHECKS",
    "Check",
    "Door",
    "Frame",
    "Program",
    "Report",
    "Result",
    "Settings",
    "Target",
    "Verdict",
    "Way",
    "chosen",
    "run",
]
