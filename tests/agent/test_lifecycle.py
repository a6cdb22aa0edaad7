"""A real agent that dies or falls silent in mid-turn: who waits is told at once how it ended, with its last words."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
import trio

from trio_broker.errors import AgentGone, SessionOver
from trio_broker.testing.in_process.rig import open_real
from trio_broker.testing.processes.agents import agent_pid, fake, prompt_for_number
from trio_broker.testing.processes.daemon import wait_queue_length, wait_until
from trio_broker.testing.processes.home import is_running

pytestmark = pytest.mark.process

FOR_EVER = 3600.0  # the liveness of tests in which an event has to tell, and not a look every few seconds


@pytest.fixture
def stray() -> Iterator[list[int]]:
    """Pids of processes that have left their agent's group: ended by their number when the test is over."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


async def test_c5_an_agent_killed_in_mid_turn_is_told_at_once_with_signal_and_last_words() -> None:
    with trio.fail_after(60):
        async with open_real(liveness=FOR_EVER) as rig, rig.connect() as user, rig.connect() as other:
            neighbour = await other.open("neighbour")
            busy = other.later(other.prompt, neighbour, "wait 1; say undisturbed")
            session = await user.open("a", command=fake("--stderr", "my last words"))
            running = user.later(user.prompt, session, "say begun; hang")
            await wait_until(lambda: user.said(session))
            queued = [user.later(user.prompt, session, f"say {number}") for number in range(2)]
            await wait_queue_length(user, "a", 2)
            os.kill(await agent_pid(user, "a"), signal.SIGKILL)
            error = await running.fails()
            assert isinstance(error, AgentGone) and error.details["signal"] == "SIGKILL"
            assert "SIGKILL" in error.message and "my last words" in error.details["stderrTail"]
            for later in queued:
                behind = await later.fails()
                assert isinstance(behind, SessionOver) and behind.details["sent"] is False
            assert (await user.view("a"))["phase"] == "dead"
            assert await busy.wait() == "end_turn" and other.said(neighbour) == "undisturbed"
            assert (await user.view("neighbour"))["phase"] == "idle"


@pytest.mark.parametrize("code", [0, 7])
async def test_c6_an_agent_that_exits_in_mid_turn_has_failed_whatever_it_said_before(code: int) -> None:
    with trio.fail_after(60):
        async with open_real(liveness=FOR_EVER) as rig, rig.connect() as user:
            session = await user.open("a")
            error = await user.later(user.prompt, session, f"say half an ans; die {code}").fails()
            assert isinstance(error, AgentGone) and error.details["exitCode"] == code
            assert f"exit code {code}" in error.message
            assert user.said(session) == "half an ans"


async def test_c6_an_answer_given_in_the_moment_of_the_exit_counts() -> None:
    with trio.fail_after(60):
        async with open_real() as rig, rig.connect() as user:
            for number in range(10):
                session = await user.open(f"s{number}")
                assert await user.prompt(session, "flood 20; stop refusal; exit 3") == "refusal"
                assert len(user.updates(session)) == 20
                assert "exit code 3" in (await user.wait_phase(f"s{number}", "dead"))["error"]


async def test_c7_a_grandchild_that_holds_stdout_does_not_hide_the_death() -> None:
    with trio.fail_after(60):
        async with open_real(liveness=FOR_EVER) as rig, rig.connect() as user:
            session = await user.open("a")
            child = await prompt_for_number(user, session, "fork-child")
            error = await user.later(user.prompt, session, "die 3").fails()
            assert isinstance(error, AgentGone) and error.details["exitCode"] == 3
            await wait_until(lambda: not is_running(child))


async def test_c7_nor_does_one_that_left_the_group(stray: list[int]) -> None:
    with trio.fail_after(60):
        async with open_real(liveness=FOR_EVER) as rig, rig.connect() as user:
            session = await user.open("a")
            child = await prompt_for_number(user, session, "setsid-child")
            stray.append(child)
            error = await user.later(user.prompt, session, "kill SEGV").fails()
            assert isinstance(error, AgentGone) and error.details["signal"] == "SIGSEGV"
            assert (await user.wait_phase("a", "dead"))["error"] and is_running(child)


async def test_c7_an_agent_that_closes_its_stdout_and_lives_is_told_as_such_and_ended() -> None:
    with trio.fail_after(60):
        async with (
            open_real(liveness=FOR_EVER, close_grace=0.1, term_grace=0.1) as rig,
            rig.connect() as user,
        ):
            session = await user.open("a", command=fake("--ignore-eof", "--ignore-term"))
            pid = await agent_pid(user, "a")
            error = await user.later(user.prompt, session, "say bye; close-stdout; hang-hard").fails()
            assert isinstance(error, AgentGone) and "closed its stdout while its process" in error.message
            await wait_until(lambda: not is_running(pid))
            assert user.said(session) == "bye"


async def test_c5_an_agent_that_dies_while_idle_is_seen_and_its_key_is_free() -> None:
    with trio.fail_after(60):
        async with open_real(liveness=FOR_EVER) as rig, rig.connect() as user:
            await user.open("a")
            os.kill(await agent_pid(user, "a"), signal.SIGKILL)
            await user.wait_phase("a", "dead")
            assert await user.prompt(await user.open("a"), "say again") == "end_turn"
