"""Run a scenario again and again, each time cancelled one step of Trio's scheduler later, and look at what is left.

    async def scenario(rig: Rig) -> None:
        async with rig.connect() as user:
            await user.prompt(await user.open("k"), "say hello")

    def test_a_prompt_may_be_given_up_at_any_moment() -> None:
        assert sweep(scenario) > 50

A step is one run of any task from one checkpoint to the next, so the cancel comes at every place where code waits, in
the scenario as in what it uses. Time is virtual. `around` and `check` make it a sweep of anything else than a broker.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, TypeVar, cast

import attrs
import trio
from trio.testing import MockClock

from trio_broker.testing.in_process.invariants import ResourceCount, assert_sound
from trio_broker.testing.in_process.rig import FOREVER, Rig, open_rig

T = TypeVar("T")


@attrs.define(eq=False)
class _CancelAt(trio.abc.Instrument):
    """Cancels `scope` at its step, counted from when it was given one; `where` is the task whose turn it was."""

    step: int
    scope: trio.CancelScope | None = None
    seen: int = 0
    where: str = "it had ended"

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.scope is not None:
            self.seen += 1
            if self.seen == self.step:
                self.where = task.name
                self.scope.cancel()


@asynccontextmanager
async def sound_rig(**options: Any) -> AsyncGenerator[Rig, None]:
    """`open_rig` with these options, whose broker has to be sound after whatever is done to it in the block."""
    with logged_errors() as failed:
        async with open_rig(**options) as rig:
            await trio.testing.wait_all_tasks_blocked()
            before = ResourceCount.take()
            yield rig
            await assert_sound(rig, before)
    assert not failed, f"the broker failed in itself: {failed}"


@contextmanager
def logged_errors() -> Iterator[list[str]]:
    """Every error that the broker writes to its log meanwhile: it contained a fault, and it was one of its own."""
    found: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: found.append(logging.Formatter().format(record))  # type: ignore[method-assign]
    logger = logging.getLogger("trio_broker")
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)


def sweep(
    scenario: Callable[[T], Awaitable[object]],
    *,
    around: Callable[[], AbstractAsyncContextManager[T]] | None = None,
    check: Callable[[T], Awaitable[object]] | None = None,
    victim: Callable[[T], trio.CancelScope] | None = None,
    first: int = 1,
    every: int = 1,
    limit: int = 20_000,
) -> int:
    """How many steps the scenario has, when it was cancelled at each of them, or at each `every`-th from `first` on.

    For each step: open what is `around` (by default a broker that has to be sound when it is over), run the scenario on
    it, cancelled at that step, and `await check(…)`. `victim`: the scope that is cancelled, if not the scenario's own,
    such as `lambda rig: rig.cancel_scope`. The last time the scenario runs to its end.

    Blocks, and calls trio.run itself: for tests that are no async functions. Whatever is raised says at which step.
    """
    if trio.lowlevel.in_trio_run():
        raise RuntimeError("sweep runs Trio itself, many times: call it from a plain `def test_…`")
    opened = around or cast("Callable[[], AbstractAsyncContextManager[T]]", sound_rig)
    for step in range(first, limit, every):
        instrument = _CancelAt(step)
        attempt = _Attempt(instrument, scenario, opened, check, victim)
        with _StepNote(instrument):
            trio.run(attempt.run, instruments=[instrument], clock=MockClock(autojump_threshold=0))
        if instrument.seen < step:
            return instrument.seen
    raise AssertionError(f"no end of the scenario after {limit} steps")


@attrs.frozen
class _StepNote:
    """Whatever is raised inside says at which step it was."""

    at: _CancelAt

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            error.add_note(f"sweep: cancelled at step {self.at.step}, before a step of {self.at.where}")


@attrs.frozen
class _Attempt:
    instrument: _CancelAt
    scenario: Callable[[Any], Awaitable[object]]
    around: Callable[[], AbstractAsyncContextManager[Any]]
    check: Callable[[Any], Awaitable[object]] | None
    victim: Callable[[Any], trio.CancelScope] | None

    async def run(self) -> None:
        with trio.fail_after(FOREVER):
            async with self.around() as thing:
                with trio.CancelScope() as scope:
                    self.instrument.scope = scope if self.victim is None else self.victim(thing)
                    await self.scenario(thing)
                self.instrument.scope = None
                if self.check is not None:
                    await self.check(thing)
