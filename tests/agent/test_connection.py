"""Real pipes: long lines and broken ones, agents that read late or never, and writes cut off half-way."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import trio

from trio_broker.errors import AgentGone
from trio_broker.testing.clients.user import allow
from trio_broker.testing.in_process.rig import open_real
from trio_broker.testing.processes.agents import agent_pid, fake
from trio_broker.testing.processes.daemon import wait_until
from trio_broker.testing.processes.home import is_running

pytestmark = pytest.mark.process

MEGABYTE = 1024 * 1024
FAR_ABOVE_A_PIPE = MEGABYTE  # bytes: a pipe takes 64 KiB, so whoever writes this waits for the reader


async def test_c15_bytes_that_are_no_utf8_cost_one_line() -> None:
    with trio.fail_after(60):
        async with open_real() as rig, rig.connect() as user:
            session = await user.open("a")
            assert await user.prompt(session, "say before; bad-utf8; garbage; say after") == "end_turn"
            assert user.said(session) == "beforeafter"
            assert (await user.view("a"))["rejected_lines"] == 2
            rejected = (await user.call("_trio_broker/logs", sessionId=session))["rejected"]
            assert "\ufffd" in rejected[0] and "npm warn" in rejected[1]


@pytest.mark.parametrize("size", [MEGABYTE, 20 * MEGABYTE])
async def test_c15_a_long_line_passes_both_ways(size: int) -> None:
    with trio.fail_after(60):
        async with open_real() as rig, rig.connect() as user:
            session = await user.open("a")
            assert await user.prompt(session, "say " + "x" * size) == "end_turn"
            assert len(user.said(session)) == size
            await user.prompt(session, f"big {size}")
            assert max(len(message.raw) for message in user.messages) >= size


async def test_c15_a_line_above_the_limit_ends_that_agent_only_and_names_the_setting() -> None:
    with trio.fail_after(60):
        async with open_real(max_line=MEGABYTE) as rig, rig.connect() as user:
            near = await user.open("near")
            assert await user.prompt(near, f"big {MEGABYTE}") == "end_turn"
            session = await user.open("above")
            pid = await agent_pid(user, "above")
            error = await user.later(user.prompt, session, f"say first; big {MEGABYTE + 1}; hang").fails()
            assert isinstance(error, AgentGone) and error.details["limit"] == MEGABYTE
            assert str(MEGABYTE) in error.message and "max_line" in error.message
            assert user.said(session) == "first"
            await wait_until(lambda: not is_running(pid))
            assert await user.prompt(near, "say still here") == "end_turn"


async def test_c15_a_line_without_end_is_noticed_at_the_limit() -> None:
    """It is not waited for: an agent that never writes a newline would fill the memory."""
    endless = ["sh", "-c", "yes x | tr -d '\\n'"]
    with trio.fail_after(60):
        async with open_real(max_line=MEGABYTE) as rig, rig.connect() as user:
            error = await user.later(user.open, "a", command=endless).fails()
            assert "max_line" in error.message


async def test_a8_everybody_writes_and_nobody_reads_for_a_while() -> None:
    """The agent reads on only when its stdout was consumed, in mid-prompt, and asks for a permission meanwhile."""
    with trio.fail_after(60):
        async with open_real() as rig, rig.connect(allow) as user:
            session = await user.open("a", command=fake("--ask-late"))
            assert await user.prompt(session, "say " + "x" * MEGABYTE) == "end_turn"
            assert user.said(session).endswith("x" * MEGABYTE)
            assert [asked["toolCall"]["title"] for asked in user.asked()] == ["late"]


async def test_a9_a_cancel_of_an_agent_that_never_reads_is_escalated() -> None:
    with trio.fail_after(60):
        async with (
            open_real(cancel_grace=0.2, close_grace=0.1, term_grace=0.1) as rig,
            rig.connect() as user,
        ):
            session = await user.open("a", command=fake("--deaf", "--ignore-term"))
            pid = await agent_pid(user, "a")
            turn = user.later(user.prompt, session, "say " + "x" * MEGABYTE)
            await user.wait_phase("a", "working")
            assert await user.cancel(session) == "turn"
            assert await turn.wait() == "cancelled"
            await wait_until(lambda: not is_running(pid))
            assert "ignored the cancel" in (await user.view("a"))["error"]


async def test_c22_a_caller_cancelled_in_mid_write_leaves_the_stream_whole(tmp_path: Path) -> None:
    """The agent is stopped, so that the prompt is stuck in its pipe when the caller goes away."""
    log, text = tmp_path / "log", "x" * FAR_ABOVE_A_PIPE
    command = fake("--log", str(log))
    with trio.fail_after(60):
        async with open_real() as rig, rig.connect() as user:
            session = await user.open("a", command=command)
            pid = await agent_pid(user, "a")
            os.kill(pid, signal.SIGSTOP)
            async with rig.connect() as caller:
                await caller.open("a", command=command)
                caller.later(caller.prompt, session, "hang; say " + text)
                await user.wait_phase("a", "working")
            assert await user.cancel(session) == "turn"
            follower = user.later(user.prompt, session, "say next")
            os.kill(pid, signal.SIGCONT)
            assert await follower.wait() == "end_turn"
            assert user.said(session) == "next"
    frames = [json.loads(line.partition(b" ")[2]) for line in log.read_bytes().splitlines()]
    methods = [frame["method"] for frame in frames[2:]]
    assert methods == ["session/prompt", "session/cancel", "session/prompt"]
    assert frames[2]["params"]["prompt"][0]["text"] == "hang; say " + text


async def test_c22_a_client_that_leaves_in_the_middle_of_its_line_leaves_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with trio.fail_after(60):
        async with open_real() as rig, rig.connect() as user:
            session = await user.open("a", command=fake("--log", str(log)))
            async with rig.raw() as raw:
                await raw.send_all(b'{"jsonrpc":"2.0","id":1,"method":"session/prompt","params":{"sess')
            await wait_until(lambda: len(rig.broker.clients) == 1)
            assert await user.prompt(session, "say next") == "end_turn"
    assert log.read_bytes().count(b"session/prompt") == 1
