"""What a check is, and what comes of one."""

from __future__ import annotations

import enum
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from trio_broker.testing.check.bench import Bench
    from trio_broker.testing.check.conversation import Conversation

ACP = "https://agentclientprotocol.com/protocol/"
KEPT = 2000  # characters of one frame that a report keeps
LAST = 100  # frames of one check that a report keeps
NOT_STARTED = "initialize came to nothing, so there was no start"


class Verdict(enum.StrEnum):
    """`UNSUPPORTED`: the agent does not offer it; `SKIPPED`: it is about something that there is not here.

    `UNTRIED`: it could be tried with another prompt, or after a login; or if the agent started.
    """

    PASS = "pass"  # noqa: S105  # no password
    FAIL = "fail"
    UNSUPPORTED = "not supported"
    UNTRIED = "not tried"
    SKIPPED = "skipped"


class Over(Exception):
    """Ends a check before its last line; the words say why."""

    verdict = Verdict.SKIPPED


class Failed(Over):
    """The agent broke the rule."""

    verdict = Verdict.FAIL


class Unsupported(Over):
    """The agent does not offer what the rule is about."""

    verdict = Verdict.UNSUPPORTED


class Skipped(Over):
    """The rule can't be tried here."""


class Untried(Over):
    """The rule was not tried; with `option` of `trio-broker check`, the field of `Settings` so called, it would be."""

    verdict = Verdict.UNTRIED

    def __init__(self, why: str, option: str) -> None:
        super().__init__(why)
        self.option = option


class Way(enum.StrEnum):
    """Of a frame, as a client sees it. `EVENT`: no frame, but something that happened, in words."""

    SENT = "->"
    CAME = "<-"
    EVENT = "--"


@attrs.frozen
class Frame:
    """One line of a conversation, `at` seconds after its beginning."""

    at: float
    way: Way
    raw: bytes
    message: Any = None  # what it is as JSON; None if it is none

    def text(self) -> str:
        """The line as it went over the wire, cut if it is long. It may hold anything: clean it for a terminal."""
        text = self.raw[: KEPT + 1].decode("utf-8", "backslashreplace")
        return text if len(text) <= KEPT else f"{text[:KEPT]}… ({len(self.raw)} bytes)"


@attrs.frozen
class Check:
    """One behaviour. `run` tries it and returns a remark, or raises `Over`; `rule` says in whose words it is a rule.

    A check with `judge` instead of `run` is a standing rule: it looks at every conversation of all the others. `rough`:
    the conversation has bytes in it that no client sends, so that standing rules leave it alone.
    """

    id: str
    title: str
    rule: str
    run: Callable[[Bench], Awaitable[str]] | None = None
    judge: Callable[[Conversation], str] | None = None
    rough: bool = False


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
                {"at": round(frame.at, 3), "way": frame.way.value, "text": frame.text()}
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

    def wanted(self) -> dict[str, list[str]]:
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


def number_of(checks: Sequence[Check]) -> str:
    return "1 check" if len(checks) == 1 else f"{len(checks)} checks"


def parsed(raw: bytes) -> Any:
    """The JSON value of a line, None if it is none; null is none too, for it is no message."""
    try:
        return json.loads(raw.decode())
    except (ValueError, RecursionError):
        return None
