"""Runs the checks. Each check has a context of its own, so that none is affected by another.

`CHECKS` is every check, in the order of a report. `select_checks` selects some of them, and `run` runs them.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Sequence

import attrs
import trio

from trio_broker.errors import SpawnFailed
from trio_broker.testing.check.base import Check, CheckContext, Settings
from trio_broker.testing.check.conversation import Conversation, Frame
from trio_broker.testing.check.outcomes import CheckEnded, Untried, Verdict
from trio_broker.testing.check.report import Report, Result
from trio_broker.testing.check.suite import (
    framing,
    initialize,
    invariants,
    questions,
    sessions,
    shutdown,
    turns,
)
from trio_broker.testing.check.target import Target

CHECKS: Sequence[Check] = (
    *initialize.CHECKS,
    *framing.CHECKS,
    *sessions.CHECKS,
    *turns.CHECKS,
    *questions.CHECKS,
    *shutdown.CHECKS,
    *invariants.CHECKS,
)
FRAMES_BEFORE, FRAMES_AFTER = 30, 3  # frames shown around the one that broke a standing rule
OnResult = Callable[[Result], None]


def select_checks(patterns: Iterable[str]) -> list[Check]:
    """The checks whose id one of the patterns fits: a whole id, its part before the dot, or a shell pattern."""
    used = [*patterns] or ["*"]
    return [check for check in CHECKS if any(_fits(check.id, pattern) for pattern in used)]


def _fits(id: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(id, pattern) or id.startswith(f"{pattern}.")


async def run(
    target: Target,
    settings: Settings,
    checks: Sequence[Check] = CHECKS,
    *,
    observed: Sequence[Check] = CHECKS,
    jobs: int = 1,
    on_result: OnResult = lambda _: None,
) -> Report:
    """Run these checks, `jobs` of them at once, and call `on_result` with each result as soon as it is there.

    Standing rules judge all conversations: with one of them among `checks`, all checks in `observed` run too, and their
    results are not reported. A program that does not start is one failure, that of `initialize.reply`, whatever was to
    be checked. Raises NoBroker or Misuse if an endpoint can't be reached; a target that breaks every rule raises
    nothing. Cancelling it ends every process that it has started.
    """
    suite = SuiteRun(target, settings, on_result)
    if failed := await suite.start():
        return Report(target.name, [failed], [check for check in checks if check is not failed.check])
    standing = [check for check in checks if check.judge]
    tried = [check for check in CHECKS if check.run and (check in checks or (standing and check in observed))]
    await suite.run_all(tried, [check.id for check in checks], jobs)
    for check in standing:
        suite.record(judge_all(check, suite.conversations))
    found = {result.check.id: result for result in suite.results}
    return Report(target.name, [found[check.id] for check in checks])


@attrs.define(eq=False)
class SuiteRun:
    """A run: `conversations` are all those so far that standing rules are about."""

    target: Target
    settings: Settings
    on_result: OnResult
    results: list[Result] = attrs.field(factory=list)
    conversations: list[Conversation] = attrs.field(factory=list)
    _first: Result | None = None

    def record(self, result: Result) -> None:
        self.results.append(result)
        self.on_result(result)

    async def start(self) -> Result | None:
        """Why it can't be talked to at all, if it can't: nobody wants to wait for its silence sixty times."""
        check = next(check for check in CHECKS if check.run is initialize.reply)
        self._first = await self._run_check(check)
        if any(conversation.agent for conversation in self.conversations):
            return None
        failed = attrs.evolve(
            self._first, verdict=Verdict.FAIL, option=""
        )  # a wish for a login comes too early here
        self.record(failed)
        return failed

    async def run_all(self, checks: Sequence[Check], shown: Sequence[str], jobs: int) -> None:
        limit = trio.CapacityLimiter(jobs)
        async with trio.open_nursery() as nursery:
            for check in checks:
                await limit.acquire_on_behalf_of(check)
                nursery.start_soon(self._run_and_record, check, check.id in shown, limit)

    async def _run_and_record(self, check: Check, shown: bool, limit: trio.CapacityLimiter) -> None:
        try:
            result = (
                self._first if self._first and self._first.check is check else await self._run_check(check)
            )
            assert result is not None
            if shown:
                self.record(result)
        finally:
            limit.release_on_behalf_of(check)

    async def _run_check(self, check: Check) -> Result:
        context = CheckContext(self.target, self.settings)
        started_at = trio.current_time()
        verdict, why, option = await _outcome(check, context)
        frames = [frame for conversation in context.conversations for frame in conversation.frames]
        if not check.malformed:
            self.conversations += context.conversations
        stderr = [line for conversation in context.conversations for line in conversation.stderr_lines()]
        return Result(check, verdict, why, trio.current_time() - started_at, frames, stderr, option)


async def _outcome(check: Check, context: CheckContext) -> tuple[Verdict, str, str]:
    assert check.run is not None
    ended: BaseException | None = None
    remark = ""
    try:
        remark = await check.run(context)
    except* (CheckEnded, SpawnFailed) as group:
        ended = group
    while isinstance(ended, BaseExceptionGroup):
        ended = ended.exceptions[0]
    if isinstance(ended, CheckEnded):
        return ended.verdict, str(ended), ended.option if isinstance(ended, Untried) else ""
    if ended is not None:
        return Verdict.FAIL, str(ended), ""
    return Verdict.PASS, remark, ""


def judge_all(check: Check, conversations: Sequence[Conversation]) -> Result:
    """A standing rule held against all conversations; the first that breaks it is the evidence."""
    assert check.judge is not None
    for conversation in conversations:
        if why := check.judge(conversation):
            frames, stderr = _evidence(conversation, why), conversation.stderr_lines()
            return Result(check, Verdict.FAIL, why, frames=frames, stderr=stderr)
    number = sum(len(conversation.frames) for conversation in conversations)
    return Result(check, Verdict.PASS, f"{len(conversations)} conversations, {number} lines")


def _evidence(conversation: Conversation, why: str) -> list[Frame]:
    """The frames that lead to the one that is named, and a few behind it; all but the last ones if none is."""
    named = [index for index, frame in enumerate(conversation.frames) if frame.text()[:40] in why]
    last = named[-1] + FRAMES_AFTER if named else len(conversation.frames)
    return conversation.frames[max(0, last - FRAMES_BEFORE) : last]
