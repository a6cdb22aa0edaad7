"""The context that each check receives."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trio_broker.testing import agent
from trio_broker.testing.check import Endpoint, Program, Settings
from trio_broker.testing.check.base import CheckContext
from trio_broker.testing.check.outcomes import Skipped, Untried

AGENT = (sys.executable, "-S", "-E", agent.__file__)


def test_a_check_of_a_process_is_skipped_where_there_is_none() -> None:
    with pytest.raises(Skipped, match="only a program can be watched"):
        CheckContext(Endpoint("/tmp/x.sock"), Settings("/tmp")).require_program()
    CheckContext(Program(AGENT), Settings("/tmp")).require_program()


async def test_a_session_is_opened_and_every_conversation_is_kept(tmp_path: Path) -> None:
    context = CheckContext(Program(AGENT), Settings(str(tmp_path), quiet=0.05))
    async with context.session() as conversation:
        assert conversation.session and await conversation.stop_reason(await conversation.prompt("say a"))
    async with context.ready() as other:
        assert other.session == ""
    assert context.conversations == [conversation, other]


async def test_a_turn_that_does_not_last_is_untried(tmp_path: Path) -> None:
    context = CheckContext(Program(AGENT), Settings(str(tmp_path), long="say a", quiet=0.3))
    with pytest.RaisesGroup(
        pytest.RaisesExc(Untried), flatten_subgroups=True, allow_unwrapped=True
    ) as caught:
        async with context.session() as conversation:
            await context.long_turn(conversation)
    error: BaseException = caught.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, Untried) and error.option == "--prompt-long"
