"""How the process ends, and that nothing stays of it."""

from __future__ import annotations

import signal
import sys

import trio

from trio_broker.testing.check.base import ACP, Bench, Check
from trio_broker.testing.check.outcomes import Failed, Skipped
from trio_broker.testing.check.target import Run

RULE = f"{ACP}transports"
AFTER = 2.0  # seconds for what it had started to end with it
LOOK = 0.05


async def idle(bench: Bench) -> str:
    async with bench.program(session=False) as run:
        return await _ends(run, bench)


async def with_session(bench: Bench) -> str:
    async with bench.program(session=True) as run:
        await run.stop_reason(await run.prompt(bench.settings.prompt))
        return await _ends(run, bench)


async def in_turn(bench: Bench) -> str:
    async with bench.program(session=True) as run:
        await bench.long_turn(run)
        return await _ends(run, bench)


async def _ends(run: Run, bench: Bench) -> str:
    await run.hang_up()
    took = await run.wait_exit(bench.settings.exit_within, "the end of its stdin")
    return f"it took {took:.2f} s; {run.exit_words()}"


async def code(bench: Bench) -> str:
    async with bench.program(session=True) as run:
        await run.hang_up()
        await run.wait_exit(bench.settings.exit_within, "the end of its stdin")
        if run.process.returncode != 0:
            raise Failed(f"at the end of its stdin {run.exit_words()}, not exit code 0")
    return ""


async def children(bench: Bench) -> str:
    bench.needs_program()
    if sys.platform != "linux":
        raise Skipped(f"the processes of others can't be seen on {sys.platform}")
    async with bench.program(session=True) as run:
        await bench.long_turn(run)
        number = len(run.left())
        await run.hang_up()
        await run.wait_exit(bench.settings.exit_within, "the end of its stdin")
        with trio.move_on_after(AFTER):
            while run.left():  # noqa: ASYNC110  # nothing tells of the end of others' children
                await trio.sleep(LOOK)
        if left := run.left():
            named = "; ".join(f"{kin.pid} {kin.command[:100]}" for kin in left)
            raise Failed(f"{AFTER:g} s after its end there still run: {named}")
        return f"{number} processes in the turn, none after it"


async def term(bench: Bench) -> str:
    async with bench.program(session=True) as run:
        run.event("SIGTERM")
        run.process.send_signal(signal.SIGTERM)
        took = await run.wait_exit(bench.settings.exit_within, "SIGTERM")
        return f"it took {took:.2f} s; {run.exit_words()}"


CHECKS = (
    Check("end.idle", "the end of stdin ends the process", RULE, idle),
    Check("end.session", "the end of stdin ends the process, with a session open", RULE, with_session),
    Check("end.turn", "the end of stdin ends the process, in the middle of a turn", RULE, in_turn),
    Check("end.code", "the end of stdin is no failure: exit code 0", RULE, code),
    Check("end.children", "it leaves no process behind, though a turn was running", RULE, children),
    Check("end.term", "SIGTERM ends the process", RULE, term),
)
