"""How the process ends, and that nothing stays of it."""

from __future__ import annotations

import signal
import sys

import trio

from trio_broker.testing.check.base import ACP, Check, CheckContext
from trio_broker.testing.check.outcomes import Failed, Skipped
from trio_broker.testing.check.target import ProcessConversation

RULE = f"{ACP}transports"
AFTER = 2.0  # seconds for what it had started to end with it
POLL_INTERVAL = 0.05


async def idle(context: CheckContext) -> str:
    async with context.program(session=False) as conversation:
        return await _ends(conversation, context)


async def with_session(context: CheckContext) -> str:
    async with context.program(session=True) as conversation:
        await conversation.stop_reason(await conversation.prompt(context.settings.prompt))
        return await _ends(conversation, context)


async def in_turn(context: CheckContext) -> str:
    async with context.program(session=True) as conversation:
        await context.long_turn(conversation)
        return await _ends(conversation, context)


async def _ends(conversation: ProcessConversation, context: CheckContext) -> str:
    await conversation.hang_up()
    took = await conversation.wait_exit(context.settings.exit_within, "the end of its stdin")
    return f"it took {took:.2f} s; {conversation.exit_text()}"


async def code(context: CheckContext) -> str:
    async with context.program(session=True) as conversation:
        await conversation.hang_up()
        await conversation.wait_exit(context.settings.exit_within, "the end of its stdin")
        if conversation.process.returncode != 0:
            raise Failed(f"at the end of its stdin {conversation.exit_text()}, not exit code 0")
    return ""


async def children(context: CheckContext) -> str:
    context.require_program()
    if sys.platform != "linux":
        raise Skipped(f"the processes of others can't be seen on {sys.platform}")
    async with context.program(session=True) as conversation:
        await context.long_turn(conversation)
        number = len(conversation.remaining_processes())
        await conversation.hang_up()
        await conversation.wait_exit(context.settings.exit_within, "the end of its stdin")
        with trio.move_on_after(AFTER):
            while conversation.remaining_processes():  # noqa: ASYNC110  # nothing tells of the end of others' children
                await trio.sleep(POLL_INTERVAL)
        if left := conversation.remaining_processes():
            named = "; ".join(f"{process.pid} {process.command[:100]}" for process in left)
            raise Failed(f"{AFTER:g} s after its end there still run: {named}")
        return f"{number} processes in the turn, none after it"


async def term(context: CheckContext) -> str:
    async with context.program(session=True) as conversation:
        conversation.record_event("SIGTERM")
        conversation.process.send_signal(signal.SIGTERM)
        took = await conversation.wait_exit(context.settings.exit_within, "SIGTERM")
        return f"it took {took:.2f} s; {conversation.exit_text()}"


CHECKS = (
    Check("end.idle", "the end of stdin ends the process", RULE, idle),
    Check("end.session", "the end of stdin ends the process, with a session open", RULE, with_session),
    Check("end.turn", "the end of stdin ends the process, in the middle of a turn", RULE, in_turn),
    Check("end.code", "the end of stdin is no failure: exit code 0", RULE, code),
    Check("end.children", "it leaves no process behind, though a turn was running", RULE, children),
    Check("end.term", "SIGTERM ends the process", RULE, term),
)
