"""The report of a run: its results, as JSON, and as JUnit's XML, which CI systems show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET

import attrs

from trio_broker.testing.check.base import Check
from trio_broker.testing.check.conversation import Frame
from trio_broker.testing.check.outcomes import Verdict

LAST = 100  # frames of one check that a report keeps
NOT_STARTED = "initialize came to nothing, so there was no start"
NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
SUITE = "trio-broker check"


@attrs.frozen
class Result:
    """What came of a check: `frames` are the evidence, of all its conversations, in order, as is what was on stderr."""

    check: Check
    verdict: Verdict
    why: str
    seconds: float = 0.0
    frames: Sequence[Frame] = ()
    stderr: Sequence[str] = ()  # lines, the last ones
    option: str = ""  # that would let it be tried

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.check.id,
            "title": self.check.title,
            "rule": self.check.rule,
            "result": self.verdict.value,
            "why": self.why,
            "seconds": round(self.seconds, 3),
            "frames": [
                {"at": round(frame.at, 3), "way": frame.direction.value, "text": frame.text()}
                for frame in self.frames[-LAST:]
            ],
            "stderr": [*self.stderr],
            **({"option": self.option} if self.option else {}),
        }


@attrs.frozen
class Report:
    """The results of a battery, in the order of its table.

    Where the agent did not start, the one result is that failure, and `untried` are the checks that wait for a start.
    """

    target: str
    results: Sequence[Result]
    untried: Sequence[Check] = ()

    def count(self, verdict: Verdict) -> int:
        more = len(self.untried) if verdict is Verdict.UNTRIED else 0
        return more + sum(result.verdict is verdict for result in self.results)

    def needed_options(self) -> dict[str, list[str]]:
        """The options that would let more be tried, with the ids of those checks."""
        found: dict[str, list[str]] = {}
        for result in self.results:
            if result.option:
                found.setdefault(result.option, []).append(result.check.id)
        return found

    def counts(self) -> dict[str, int]:
        return {verdict.value: self.count(verdict) for verdict in Verdict}

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.count(Verdict.FAIL)

    def as_json(self) -> dict[str, Any]:
        """The report as one JSON object: `target`, how many of each verdict, and `results` with their frames.

        Where there was no start, `untried` has the ids of the checks that were not tried, and `why`.
        """
        untried = {"checks": [check.id for check in self.untried], "why": NOT_STARTED}
        return {
            "target": self.target,
            "counts": self.counts(),
            "results": [one.as_json() for one in self.results],
            **({"untried": untried} if self.untried else {}),
        }


def check_count(checks: Sequence[Check]) -> str:
    return "1 check" if len(checks) == 1 else f"{len(checks)} checks"


def as_junit(report: Report) -> str:
    """The report as one `testsuite`: what neither passed nor failed counts as skipped, with its reason.

    Where the agent did not start there are two cases: that error, and all that was not tried.
    """
    started = not report.untried
    failed = report.count(Verdict.FAIL)
    skipped = sum(one.verdict not in (Verdict.PASS, Verdict.FAIL) for one in report.results)
    counts = {
        "tests": len(report.results) + (not started),
        "failures": failed if started else 0,
        "errors": 0 if started else failed,
        "skipped": skipped + (not started),
    }
    took = f"{sum(result.seconds for result in report.results):.3f}"
    root = ET.Element("testsuites")
    suite = ET.SubElement(
        root,
        "testsuite",
        {
            "name": _clean(f"{SUITE} {report.target}"),
            "time": took,
            **{key: str(n) for key, n in counts.items()},
        },
    )
    for result in report.results:
        _add(suite, result, "failure" if started else "error")
    if not started:
        words = {"classname": "acp", "name": check_count(report.untried), "time": "0.000"}
        case = ET.SubElement(suite, "testcase", words)
        ET.SubElement(case, "skipped", {"message": f"{Verdict.UNTRIED}: {NOT_STARTED}"})
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True)


def _add(suite: ET.Element, result: Result, kind: str) -> None:
    group, _, name = result.check.id.partition(".")
    case = ET.SubElement(
        suite,
        "testcase",
        {
            "classname": f"acp.{group}",
            "name": f"{name}: {result.check.title}",
            "time": f"{result.seconds:.3f}",
        },
    )
    if result.verdict is Verdict.FAIL:
        failure = ET.SubElement(case, kind, {"message": _clean(result.why)})
        lines = [f"{frame.at:8.3f} {frame.direction} {frame.text()}" for frame in result.frames[-LAST:]]
        failure.text = _clean("\n".join([f"rule: {result.check.rule}", *lines]))
        if result.stderr:
            ET.SubElement(case, "system-err").text = _clean("\n".join(result.stderr))
    elif result.verdict is not Verdict.PASS:
        ET.SubElement(case, "skipped", {"message": _clean(f"{result.verdict}: {result.why}")})


def _clean(text: str) -> str:
    """Characters that XML can't hold, written out."""
    return NO_XML.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
