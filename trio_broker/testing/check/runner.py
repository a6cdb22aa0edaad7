"""Runs a battery of checks: each in a place of its own, so that none suffers from another.

`CHECKS` is every check, in the order of a report; `chosen` picks from it, and `run` runs them.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Sequence

import attrs
import trio

from trio_broker.errors import SpawnFailed
from trio_broker.testing.check.base import Bench, Check, Settings
from trio_broker.testing.check.conversation import Conversation, Frame
from trio_broker.testing.check.outcomes import Over, Untried, Verdict
from trio_broker.testing.check.report import Report, Result
from trio_broker.testing.check.suite import framing, initialize, invariants, sessions, shutdown, turns
from trio_broker.testing.check.target import Target

CHECKS: Sequence[Check] = (
    *initialize.CHECKS,
    *framing.CHECKS,
    *sessions.CHECKS,
    *turns.CHECKS,
    *shutdown.CHECKS,
    *invariants.CHECKS,
)
BEFORE, BEHIND = 30, 3  # frames shown around the one that broke a standing rule
Tell = Callable[[Result], None]


def chosen(patterns: Iterable[str]) -> list[Check]:
    """The checks whose id one of the patterns fits: a whole id, its part before the dot, or a shell pattern."""
    wanted = [*patterns] or ["*"]
    return [check for check in CHECKS if any(_fits(check.id, pattern) for pattern in wanted)]


def _fits(id: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(id, pattern) or id.startswith(f"{pattern}.")


async def run(
    target: Target,
    settings: Settings,
    checks: Sequence[Check] = CHECKS,
    *,
    over: Sequence[Check] = CHECKS,
    jobs: int = 1,
    tell: Tell = lambda _: None,
) -> Report:
    """Run these checks, `jobs` of them at once, and tell each result as soon as it is there.

    Standing rules want to see everything: with one of them among `checks`, all those in `over` run too, untold. A
    program that does not start is one failure, that of `initialize.reply`, whatever was to be checked. Raises NoBroker
    or Misuse if a door can't be reached; a target that breaks every rule raises nothing. Cancelling it ends whatever it
    has started.
    """
    battery = Battery(target, settings, tell)
    if failed := await battery.start():
        return Report(target.name, [failed], [check for check in checks if check is not failed.check])
    standing = [check for check in checks if check.judge]
    tried = [check for check in CHECKS if check.run and (check in checks or (standing and check in over))]
    await battery.try_all(tried, [check.id for check in checks], jobs)
    for check in standing:
        battery.put(judged(check, battery.talks))
    found = {result.check.id: result for result in battery.results}
    return Report(target.name, [found[check.id] for check in checks])


@attrs.define(eq=False)
class Battery:
    """A run: `talks` are all conversations so far that standing rules are about."""

    target: Target
    settings: Settings
    tell: Tell
    results: list[Result] = attrs.field(factory=list)
    talks: list[Conversation] = attrs.field(factory=list)
    _first: Result | None = None

    def put(self, result: Result) -> None:
        self.results.append(result)
        self.tell(result)

    async def start(self) -> Result | None:
        """Why it can't be talked to at all, if it can't: nobody wants to wait for its silence sixty times."""
        check = next(check for check in CHECKS if check.run is initialize.reply)
        self._first = await self._tried(check)
        if any(talk.agent for talk in self.talks):
            return None
        failed = attrs.evolve(
            self._first, verdict=Verdict.FAIL, option=""
        )  # a wish for a login comes too early here
        self.put(failed)
        return failed

    async def try_all(self, checks: Sequence[Check], shown: Sequence[str], jobs: int) -> None:
        limit = trio.CapacityLimiter(jobs)
        async with trio.open_nursery() as nursery:
            for check in checks:
                await limit.acquire_on_behalf_of(check)
                nursery.start_soon(self._try, check, check.id in shown, limit)

    async def _try(self, check: Check, shown: bool, limit: trio.CapacityLimiter) -> None:
        try:
            result = self._first if self._first and self._first.check is check else await self._tried(check)
            assert result is not None
            if shown:
                self.put(result)
        finally:
            limit.release_on_behalf_of(check)

    async def _tried(self, check: Check) -> Result:
        bench = Bench(self.target, self.settings)
        begun = trio.current_time()
        verdict, why, option = await _outcome(check, bench)
        frames = [frame for talk in bench.held for frame in talk.frames]
        if not check.rough:
            self.talks += bench.held
        stderr = [line for talk in bench.held for line in talk.stderr_lines()]
        return Result(check, verdict, why, trio.current_time() - begun, frames, stderr, option)


async def _outcome(check: Check, bench: Bench) -> tuple[Verdict, str, str]:
    assert check.run is not None
    over: BaseException | None = None
    remark = ""
    try:
        remark = await check.run(bench)
    except* (Over, SpawnFailed) as group:
        over = group
    while isinstance(over, BaseExceptionGroup):
        over = over.exceptions[0]
    if isinstance(over, Over):
        return over.verdict, str(over), over.option if isinstance(over, Untried) else ""
    if over is not None:
        return Verdict.FAIL, str(over), ""
    return Verdict.PASS, remark, ""


def judged(check: Check, talks: Sequence[Conversation]) -> Result:
    """A standing rule held against all conversations; the first that breaks it is the evidence."""
    assert check.judge is not None
    for talk in talks:
        if why := check.judge(talk):
            return Result(check, Verdict.FAIL, why, frames=_around(talk, why), stderr=talk.stderr_lines())
    number = sum(len(talk.frames) for talk in talks)
    return Result(check, Verdict.PASS, f"{len(talks)} conversations, {number} lines")


def _around(talk: Conversation, why: str) -> list[Frame]:
    """The frames that lead to the one that is named, and a few behind it; all but the last ones if none is."""
    named = [index for index, frame in enumerate(talk.frames) if frame.text()[:40] in why]
    last = named[-1] + BEHIND if named else len(talk.frames)
    return talk.frames[max(0, last - BEFORE) : last]
