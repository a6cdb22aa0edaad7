"""How a real daemon ends: whatever way it is, nothing of it and of its agents is left when it has."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM, Signals

import pytest
import trio

from trio_broker.errors import BrokerError
from trio_broker.testing.processes.agents import (
    agent_pid,
    environment_of,
    fake,
    prompt_for_number,
    zombie_children,
)
from trio_broker.testing.processes.daemon import (
    READY,
    home_with,
    instance_tag,
    serving,
    visit,
    wait_exit,
    wait_until,
)
from trio_broker.testing.processes.home import Home, Terminal, is_running

pytestmark = pytest.mark.process

STUBBORN = ("--ignore-term", "--ignore-eof")
MINUTES = 600  # seconds: a grace that no test waits for
BUDGET = 20.0  # seconds for twenty agents with two graces of a second each: far above both, and far below their sum


async def shut_down(home: Home, daemon: subprocess.Popen[str]) -> None:
    async with visit(home) as user:
        await user.call("_trio_broker/shutdown")


async def down(home: Home, daemon: subprocess.Popen[str]) -> None:
    done = await trio.to_thread.run_sync(lambda: home.run("down"))
    assert done.returncode == 0, done.stderr


def by_signal(number: Signals) -> Callable[[Home, subprocess.Popen[str]], Awaitable[None]]:
    async def send(_: Home, daemon: subprocess.Popen[str]) -> None:  # noqa: ASYNC124  # as `shut_down`
        daemon.send_signal(number)

    return send


WAYS = {
    "shutdown": shut_down,
    "down": down,
    "SIGINT": by_signal(SIGINT),
    "SIGTERM": by_signal(SIGTERM),
    "SIGHUP": by_signal(SIGHUP),
}


async def family(home: Home) -> list[int]:
    """A busy agent, one that heeds nothing, and their children, in their groups and outside."""
    async with visit(home) as user:
        polite, stubborn = (
            await user.open("polite"),
            await user.open("stubborn", command=fake(*STUBBORN)),
        )
        pids = [await agent_pid(user, "polite"), await agent_pid(user, "stubborn")]
        for session in (polite, stubborn):
            pids += [await prompt_for_number(user, session, act) for act in ("fork-child", "setsid-child")]
        await user.submit(polite, "hang-hard")
        assert all(is_running(pid) for pid in pids)
        return pids


def guardians(instance: str) -> list[str]:
    """The processes that were started to guard that broker."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if instance in command:
            found.append(command)
    return found


def ctrl_c(terminal: Terminal) -> int:
    terminal.ctrl_c()
    return terminal.end()


def ctrl_c_twice(terminal: Terminal) -> int:
    terminal.ctrl_c()
    terminal.see("stopping=False")
    return ctrl_c(terminal)


@pytest.mark.parametrize("way", WAYS)
async def test_f1_f2_f3_nothing_is_left_when_the_daemon_has_ended(way: str) -> None:
    with trio.fail_after(60), home_with(close_grace=0.3, term_grace=0.3) as home, serving(home) as daemon:
        pids, instance = await family(home), instance_tag(home)
        await WAYS[way](home, daemon)
        assert await wait_exit(daemon) == 0, home.log
        assert [pid for pid in pids if is_running(pid)] == []
        assert not home.socket.exists()
        await wait_until(lambda: guardians(instance) == [])


@pytest.mark.parametrize("leave", [ctrl_c, ctrl_c_twice, Terminal.close_window])
async def test_f1_nothing_is_left_when_the_daemons_terminal_says_so(leave: Callable[[Terminal], int]) -> None:
    """Its signals go to everybody in the foreground, so neither agents nor the guardian may be there."""
    grace = MINUTES if leave is ctrl_c_twice else 0.3
    with (
        trio.fail_after(60),
        home_with(close_grace=grace, term_grace=grace) as home,
        home.terminal("serve") as terminal,
    ):
        await trio.to_thread.run_sync(terminal.see, READY)
        pids, instance = await family(home), instance_tag(home)
        assert await trio.to_thread.run_sync(leave, terminal) == 0, terminal.screen
        assert [pid for pid in pids if is_running(pid)] == []
        assert not home.socket.exists()
        await wait_until(lambda: guardians(instance) == [])


@pytest.mark.slow
async def test_f4_nothing_is_left_of_a_daemon_that_was_killed_and_the_next_one_starts() -> None:
    with trio.fail_after(60), home_with() as home:
        with serving(home) as daemon:
            pids, instance = await family(home), instance_tag(home)
            daemon.kill()
            await wait_exit(daemon)
            await wait_until(lambda: not any(is_running(pid) for pid in pids))
            assert home.socket.exists()
        with serving(home) as second:
            async with visit(home) as user:
                assert (await user.status())["pid"] == second.pid
                assert await user.prompt(await user.open("new"), "say hello") == "end_turn"
            second.terminate()
            assert await wait_exit(second) == 0
        await wait_until(lambda: guardians(instance) == [])


async def test_f2_a_child_that_left_the_group_is_gone_when_close_is_answered() -> None:
    with trio.fail_after(60), home_with() as home, serving(home):
        async with visit(home) as user, visit(home) as other:
            neighbour = await other.open("neighbour")
            theirs = await prompt_for_number(other, neighbour, "setsid-child")
            session = await user.open("a")
            child = await prompt_for_number(user, session, "setsid-child")
            await user.call("_trio_broker/close", sessionId=session)
            assert not is_running(child) and is_running(theirs)


@pytest.mark.slow
async def test_f6_b10_a_daemon_keeps_no_zombie_and_no_file_of_sessions_that_left_orphans() -> None:
    """Orphans of agents fall to the daemon, which did not start them, and is to reap them all the same."""
    with trio.fail_after(120), home_with() as home, serving(home) as daemon:
        async with visit(home) as user:
            await user.prompt(await user.open("first"), "say hello")
            await user.call("_trio_broker/close", key="first")
            files = open_files(daemon.pid)
            for number in range(20):
                session = await user.open(f"s{number}")
                await user.prompt(session, "fork-child; setsid-child")
                await user.call("_trio_broker/close", sessionId=session)
            await wait_until(lambda: zombie_children(daemon.pid) == [])
            await wait_until(lambda: open_files(daemon.pid) == files)


def open_files(pid: int) -> int:
    """Without the journal's: it opens one more when it is folded for the first time, which is when it comes to rest."""
    found = 0
    for file in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found += "journal.sqlite" not in os.readlink(file)
        except FileNotFoundError:
            continue
    return found


ESCAPES = "\x1b]0;title\x07\x1b[2J\x1b[31mred\x9b31m\r words"


def test_f9_control_characters_of_an_agent_do_not_reach_the_terminal() -> None:
    with home_with() as home:
        command = shlex.join(fake("--stderr", ESCAPES, "--exit-at-start", "3"))
        failed = home.run("prompt", "--command", command, "-s", "a", "hello")
        assert failed.returncode == 1 and "red" in failed.stderr and "words" in failed.stderr
        talker = shlex.join(fake("--stderr", ESCAPES))
        said = home.run("prompt", "--command", talker, "-s", "b", f"say {ESCAPES}; tool {ESCAPES}; die 1")
        assert said.returncode == 1 and "red" in said.stdout and "words" in said.stderr
        status, shown = home.run("status"), home.run("sessions", "show", "-s", "b")
        for done in (failed, said, status, shown):
            assert not set(done.stdout + done.stderr) & set("\x1b\x07\x9b\r"), done


async def test_f10_under_a_daemon_only_the_marks_are_added_to_the_environment() -> None:
    with trio.fail_after(60), home_with() as home, serving(home, {"SECRET_TOKEN": "secret"}) as daemon:
        assert environment_of(daemon.pid)["SECRET_TOKEN"] == "secret"
        async with visit(home) as user:
            await user.open("a")
            found = environment_of(await agent_pid(user, "a"))
            marks = {"TRIO_BROKER_INSTANCE": instance_tag(home), "TRIO_BROKER_SESSION": "a"}
            assert {name: found.pop(name) for name in marks} == marks
            assert found == {name: home.env[name] for name in found}
            assert set(found) <= {"HOME", "PATH", "USER", "LANG", "TERM"}


@pytest.mark.slow
async def test_g5_twenty_agents_that_heed_nothing_are_ended_together() -> None:
    with trio.fail_after(120), home_with(close_grace=1, term_grace=1) as home, serving(home) as daemon:
        async with visit(home) as user:
            opened = [await user.open(f"s{number}", command=fake(*STUBBORN)) for number in range(20)]
            for session in opened:
                await user.submit(session, "say busy; hang-hard")
            # A prompt that no agent has got yet would be queued again by the next daemon.
            await wait_until(lambda: all(user.said(session) == "busy" for session in opened))
            pids = [view["pid"] for view in (await user.status())["sessions"]]
        assert len(set(pids)) == 20
        daemon.terminate()
        with trio.fail_after(BUDGET):
            assert await wait_exit(daemon) == 0
        assert [pid for pid in pids if is_running(pid)] == []
        with serving(home):
            sessions = await trio.to_thread.run_sync(home.status)
            phases = {view["key"]: view["phase"] for view in sessions["sessions"]}
            assert phases == {f"s{number}": "suspended" for number in range(20)}


@pytest.mark.parametrize("number", [SIGINT, SIGTERM])
async def test_g7_a_second_signal_ends_what_the_first_one_waits_for(number: Signals) -> None:
    with (
        trio.fail_after(60),
        home_with(close_grace=MINUTES, term_grace=MINUTES) as home,
        serving(home) as daemon,
    ):
        pids = await family(home)
        daemon.send_signal(number)
        await wait_until(lambda: "stopping=False" in home.log)
        assert is_running(pids[1])
        daemon.send_signal(number)
        assert await wait_exit(daemon) == 0, home.log
        assert [pid for pid in pids if is_running(pid)] == []


async def test_g6_a_daemon_that_stops_opens_nothing_and_says_so() -> None:
    with trio.fail_after(60), home_with(close_grace=MINUTES) as home, serving(home) as daemon:
        async with visit(home) as user:
            session = await user.open("a", command=fake(*STUBBORN))
            running = user.later(user.prompt, session, "hang-hard")
            await user.wait_phase("a", "working")
            daemon.terminate()
            assert isinstance(await running.fails(), BrokerError)
            error = await user.later(user.open, "b").fails()
            assert error.code == "draining" and "stopping" in error.message
            assert (await user.status())["sessions"][0]["key"] == "a"
        daemon.terminate()
        assert await wait_exit(daemon) == 0
