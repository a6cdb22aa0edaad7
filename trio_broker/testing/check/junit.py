"""A report as JUnit's XML, which CI systems show."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from trio_broker.testing.check.verdict import (
    LAST,
    NOT_STARTED,
    Report,
    Result,
    Verdict,
    number_of,
)

NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
SUITE = "trio-broker check"


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
        words = {"classname": "acp", "name": number_of(report.untried), "time": "0.000"}
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
        lines = [f"{frame.at:8.3f} {frame.way} {frame.text()}" for frame in result.frames[-LAST:]]
        failure.text = _clean("\n".join([f"rule: {result.check.rule}", *lines]))
        if result.stderr:
            ET.SubElement(case, "system-err").text = _clean("\n".join(result.stderr))
    elif result.verdict is not Verdict.PASS:
        ET.SubElement(case, "skipped", {"message": _clean(f"{result.verdict}: {result.why}")})


def _clean(text: str) -> str:
    """Characters that XML can't hold, written out."""
    return NO_XML.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
