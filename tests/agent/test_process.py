"""How real agents are ended, and what is left of them: nothing."""

from __future__ import annotations

import contextlib
import gc
import os
import signal

import pytest
import trio

from trio_broker.agent import process_tags
from trio_broker.agent.catalog import AgentSpec
from trio_broker.agent.process import Ladder
from trio_broker.agent.spawn import spawn_process
from trio_broker.errors import NoSession
from trio_broker.model import Exit
from trio_broker.testing.clients.user import User
from trio_broker.testing.in_process.rig import Rig, open_real
from trio_broker.testing.processes.agents import (
    agent_pid,
    environment_of,
    fake,
    prompt_for_number,
    zombie_children,
)
from trio_broker.testing.processes.daemon import wait_until
from trio_broker.testing.processes.home import is_running

pytestmark = pytest.mark.process

STUBBORN = ("--ignore-term", "--ignore-eof")


async def test_f8_a_polite_agent_ends_by_itself_when_its_stdin_does() -> None:
    with trio.fail_after(60):
        async with open_real(close_grace=30) as rig, rig.connect() as user:
            session = await user.open("a")
            closed = await user.call("_trio_broker/close", sessionId=session)
            assert closed["exit"] == {"exitCode": 0, "signal": None}


async def test_f8_one_that_does_not_heed_it_gets_sigterm() -> None:
    with trio.fail_after(60):
        async with open_real(close_grace=0.2, term_grace=30) as rig, rig.connect() as user:
            session = await user.open("a", command=fake("--ignore-eof"))
            closed = await user.call("_trio_broker/close", sessionId=session)
            assert closed["exit"]["signal"] == "SIGTERM"


@pytest.mark.parametrize("flags", [STUBBORN, (*STUBBORN, "--deaf")])
async def test_f8_one_that_heeds_nothing_gets_sigkill(flags: tuple[str, ...]) -> None:
    with trio.fail_after(60):
        async with open_real(close_grace=0.2, term_grace=0.2) as rig, rig.connect() as user:
            session = await user.open("a", command=fake(*flags))
            closed = await user.call("_trio_broker/close", sessionId=session)
            assert closed["exit"]["signal"] == "SIGKILL"


@pytest.mark.parametrize("verb", ["close", "kill"])
async def test_f1_children_of_an_agent_are_gone_when_its_end_is_answered(verb: str) -> None:
    """The agent itself leaves politely; its child would not."""
    with trio.fail_after(60):
        async with open_real(close_grace=30) as rig, rig.connect() as user:
            session = await user.open("a")
            pid, child = await agent_pid(user, "a"), await prompt_for_number(user, session, "fork-child")
            assert is_running(child)
            await user.call(f"_trio_broker/{verb}", sessionId=session)
            assert not is_running(pid)
            await wait_until(lambda: not is_running(child))


@pytest.mark.parametrize("how", ["kill KILL", "die 1"])
async def test_f1_children_of_an_agent_that_broke_down_are_gone(how: str) -> None:
    with trio.fail_after(60):
        async with open_real(close_grace=0.2, term_grace=0.2) as rig, rig.connect() as user:
            session = await user.open("a")
            child = await prompt_for_number(user, session, "fork-child")
            await user.later(user.prompt, session, how).fails()
            await wait_until(lambda: not is_running(child))


async def test_f1_nothing_is_left_when_the_broker_is_cancelled() -> None:
    with trio.fail_after(60):
        async with open_real() as rig, rig.connect() as user:
            session = await user.open("a", command=fake(*STUBBORN))
            pids = [await agent_pid(user, "a"), await prompt_for_number(user, session, "fork-child")]
            rig.cancel_scope.cancel()
            await rig.ended.wait()
            assert not is_running(pids[0])
            await wait_until(lambda: not is_running(pids[1]))


async def test_f7_a_session_stuck_in_every_way_is_killed_and_its_key_is_free() -> None:
    """It reads nothing, writes to it are stuck in the pipe, a cancel is under way, another prompt waits."""
    with trio.fail_after(60):
        async with open_real() as rig, rig.connect() as user:
            session = await user.open("a", command=fake("--deaf", *STUBBORN))
            pid = await agent_pid(user, "a")
            stuck = user.later(user.prompt, session, "x" * 1_000_000)
            await user.wait_phase("a", "working")
            await user.submit(session, "and this")
            await user.cancel(session)
            await user.call("_trio_broker/kill", sessionId=session)
            assert not is_running(pid) and await stuck.wait() == "cancelled"
            assert await user.prompt(await user.open("a"), "say free") == "end_turn"


async def test_f7_an_agent_that_was_stopped_is_ended_as_well() -> None:
    with trio.fail_after(60):
        async with open_real(close_grace=0.1, term_grace=0.1) as rig, rig.connect() as user:
            session = await user.open("a")
            os.kill(await agent_pid(user, "a"), signal.SIGSTOP)
            closed = await user.call("_trio_broker/close", sessionId=session)
            assert closed["exit"]["signal"] == "SIGKILL"


async def test_f9_megabytes_on_stderr_hold_up_nothing_and_the_end_of_them_is_kept() -> None:
    with trio.fail_after(60):
        async with open_real(stderr_ring=1000) as rig, rig.connect() as user:
            session = await user.open("a", command=fake("--stderr", "the very first"))
            assert await user.prompt(session, "stderr 10000000; say done") == "end_turn"
            assert user.said(session) == "done"
            logs = await user.call("_trio_broker/logs", sessionId=session)
            assert len(logs["stderr"]) <= 1000 and set(logs["stderr"]) == {"e", "\n"}


def open_files() -> set[str]:
    """Number and name of each; what an earlier test has left for the collector is closed first."""
    gc.collect()
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
    return found


def more(files: set[str]) -> set[str]:
    """Those that are open now, if they are more than these."""
    now = open_files()
    return now - files if len(now) > len(files) else set()


async def one_shot(user: User, key: str) -> None:
    session = await user.open(key)
    assert await user.prompt(session, f"say {key}") == "end_turn"
    await user.call("_trio_broker/close", sessionId=session)


async def all_together(user: User, keys: list[str]) -> None:
    async with trio.open_nursery() as nursery:
        for key in keys:
            nursery.start_soon(one_shot, user, key)


@pytest.mark.slow
async def test_b9_b10_f6_two_hundred_one_shot_sessions_leave_no_file_no_entry_and_no_zombie() -> None:
    with trio.fail_after(120):
        async with open_real() as rig, rig.connect() as user:
            await all_together(user, ["first"])
            files = open_files()
            for batch in range(20):
                await all_together(user, [f"{batch}/{number}" for number in range(10)])
            assert more(files) == set()
            assert zombie_children(os.getpid()) == []
            assert tables(rig) == {"sessions": 0, "ids": 0, "controls": 0, "starting": 0}
            error = await user.later(user.call, "_trio_broker/cancel", key="0/0").fails()
            assert isinstance(error, NoSession)


def tables(rig: Rig) -> dict[str, int]:
    broker, registry = rig.broker, rig.broker.registry
    found = {
        "sessions": broker.pool.snapshot(),
        "ids": broker.pool._by_id,
        "controls": registry.control_agents(),
    }
    return {name: len(table) for name, table in found.items()} | {
        "starting": registry.starting.borrowed_tokens
    }


@pytest.mark.slow
async def test_b10_f6_nor_do_a_hundred_that_died_or_never_started_leave_files_or_zombies() -> None:
    """They stay to be looked at; nothing of the system stays with them."""
    with trio.fail_after(120):
        async with open_real() as rig, rig.connect() as user:
            await user.later(user.prompt, await user.open("first"), "die 1").fails()
            await user.wait_phase("first", "dead")
            files = open_files()
            for number in range(100):
                session = await user.open(f"s{number}")
                await user.later(user.prompt, session, "fork-child; kill KILL").fails()
                await user.later(user.open, f"f{number}", command=[f"no-such-agent-{number}"]).fails()
            await wait_until(lambda: rig.broker.pool.live() == 0)
            with trio.move_on_after(30):
                await wait_until(lambda: not more(files))
            assert more(files) == set()
            assert zombie_children(os.getpid()) == []
            assert rig.broker.registry.starting.borrowed_tokens == 0


async def test_a_command_of_an_agent_has_its_environment_and_carries_its_tags() -> None:
    env = {"PATH": os.environ["PATH"], "OWN": "1", process_tags.INSTANCE: "i", process_tags.SESSION: "s"}
    more = {"MORE": "2", process_tags.INSTANCE: "other", process_tags.SESSION: ""}
    with trio.fail_after(60):
        agent = await spawn_process(AgentSpec("x", ("sleep", "600"), cwd="/"), env)
        command = await agent.start_command(["sleep", "600"], "/", more)
        try:
            assert agent.unreaped_pids() == {agent.pid, command.pid}
            found = environment_of(command.pid)
            assert found == env | {"MORE": "2"}
            assert (
                os.getpgid(command.pid) == command.pid
            )  # nothing that ends the agent's group ends it by the way
        finally:
            with trio.move_on_after(30, shield=True):
                for one in (command, agent):
                    await one.end(Ladder(0, 0), lambda: None)
        assert agent.unreaped_pids() == set()
        for stream in (command.stdout, agent.stdin, agent.stdout, agent.stderr):
            await stream.aclose()


@pytest.mark.parametrize(("line", "exit"), [("exit 3", Exit(code=3)), ("kill -9 $$", Exit(signal=9))])
async def test_the_exit_of_a_command_is_known_before_it_is_reaped(line: str, exit: Exit) -> None:
    with trio.fail_after(60):
        agent = await spawn_process(AgentSpec("x", ("sleep", "600"), cwd="/"), {"PATH": os.environ["PATH"]})
        command = await agent.start_command(["sh", "-c", f"echo last words; sleep 600 & {line}"], "/", {})
        try:
            assert await command.wait_exit() == exit and command.exit is None
            assert command.read_nowait() == b"last words\n" and command.read_nowait() == b""
            os.killpg(command.pid, 0)  # its group is there, and its number nobody else's
            await command.end(Ladder(0, 0), lambda: None)
            assert command.exit == exit == await command.wait_exit()
        finally:
            with trio.move_on_after(30, shield=True):
                for one in (command, agent):
                    await one.end(Ladder(0, 0), lambda: None)
        for stream in (command.stdout, agent.stdin, agent.stdout, agent.stderr):
            await stream.aclose()
