"""Who a client of the Unix socket is, by its process: real processes, and what they may in a broker."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from trio_broker.agent import process_tags
from trio_broker.auth.grant import OWNER, Scope
from trio_broker.broker.peer_grant import ENDED, MAX_LOOKS, Origin, PeerGrants, find_origin
from trio_broker.config.config import AgentConfig, Config
from trio_broker.testing.in_process.rig import Rig, open_rig
from trio_broker.testing.processes.home import LIMIT, eventually, is_running

BOUND = 600  # virtual seconds
RUNTIME = "0123456789abcdef"
NEVER = sys.maxsize  # ticks since boot
# Prints the number of its grandchild, in a session of its own, and stays, as all three do.
FAMILY = """
import os, time
if not (child := os.fork()):
    os.setsid()
    if grandchild := os.fork():
        print(grandchild, flush=True)
time.sleep(600)
"""
# Prints the number of a child that has ended, for which it never waits.
ZOMBIE = """
import os, time
if child := os.fork():
    print(child, flush=True)
    time.sleep(600)
"""
PYTHON = (sys.executable, "-S", "-E", "-c")


@contextmanager
def running(*argv: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """A process of its own group, with this environment and no other."""
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, encoding="utf-8", env=env, start_new_session=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def family(**env: str) -> Iterator[tuple[int, int]]:
    """The numbers of a process and of its grandchild."""
    with running(*PYTHON, FAMILY, **env) as process:
        assert process.stdout is not None
        grandchild = int(process.stdout.readline())
        try:
            yield process.pid, grandchild
        finally:
            os.killpg(os.getsid(grandchild), 9)


def origin_of(pid: int, agents: dict[int, str] | None = None, since: int = NEVER) -> Origin | None:
    return find_origin(pid, agents or {}, RUNTIME, since)


def tags(instance: str = f"{RUNTIME}-1", session: str = "k") -> dict[str, str]:
    return {process_tags.INSTANCE: instance, process_tags.SESSION: session}


pytestmark = pytest.mark.process


def test_what_an_agent_started_is_that_agents_whatever_tags_it_has() -> None:
    for env in ({}, tags(session="another"), {process_tags.HOOK: str(os.getpid())}):
        with family(**env) as (agent, grandchild):
            assert origin_of(grandchild, {agent: "k"}) == origin_of(agent, {agent: "k"}) == Origin("k")


def test_a_tag_of_this_runtime_directory_counts_of_an_earlier_broker_too() -> None:
    with family(**tags()) as (_, grandchild):
        assert origin_of(grandchild) == Origin("k")
    with family(**tags(instance=f"{RUNTIME}-earlier")) as (_, grandchild):
        assert origin_of(grandchild) == Origin("k")


@pytest.mark.parametrize("instance", ["fedcba9876543210-1", "", "-", "0123456789abcde-1"])
def test_a_tag_of_another_runtime_directory_does_not_count(instance: str) -> None:
    with family(**tags(instance=instance)) as (_, grandchild):
        assert origin_of(grandchild) is None


def test_a_process_without_a_tag_below_one_with_a_tag_is_that_agents() -> None:
    script = "env -i sh -c 'echo $$; exec sleep 600' & wait"
    with running("sh", "-c", script, **tags(), PATH=os.environ["PATH"]) as shell:
        assert shell.stdout is not None
        try:
            assert origin_of(int(shell.stdout.readline())) == Origin("k")
        finally:
            os.killpg(shell.pid, 9)


def test_what_fell_to_the_broker_is_an_agents_unless_it_is_older_or_a_hooks() -> None:
    """This process stands for the broker, and its children for what it has adopted."""
    now = process_tags.ticks_since_boot()
    with family() as (_, grandchild):
        assert origin_of(grandchild, since=now) == Origin(None)
        assert origin_of(grandchild, since=NEVER) is None
    with family(**{process_tags.HOOK: str(os.getpid())}) as (_, grandchild):
        assert origin_of(grandchild, since=now) is None
    with family(**{process_tags.HOOK: "1"}) as (_, grandchild):
        assert origin_of(grandchild, since=now) == Origin(None), "the hook of another broker"


def test_the_brokers_own_process_and_those_above_it_are_the_owners() -> None:
    assert origin_of(os.getpid(), since=0) is None and origin_of(os.getppid(), since=0) is None


def test_a_process_that_has_ended_is_not_taken_for_the_owners() -> None:
    with running("true") as process:
        process.wait(LIMIT)
        found = origin_of(process.pid)
        assert found is not None and (found.key, found.why) == (None, ENDED)


def test_a_process_that_has_just_ended_and_is_not_reaped_is_still_its_parents_child() -> None:
    with running(*PYTHON, ZOMBIE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        eventually(lambda: not is_running(child))
        assert origin_of(child, {parent.pid: "k"}) == Origin("k")


# What it may in a broker


def peers(rig: Rig) -> PeerGrants:
    return PeerGrants(rig.broker, RUNTIME)


async def test_a_child_of_nobody_is_the_owner() -> None:
    with trio.fail_after(LIMIT):
        async with open_rig() as rig:
            assert await peers(rig).find(os.getpid()) is OWNER


async def test_inside_an_agent_it_looks_everywhere_and_prompts_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with trio.fail_after(LIMIT):
        async with open_rig() as rig, rig.connect() as user:
            await user.open("k", cwd=str(tmp_path / "link"))
            with family(**tags()) as (_, grandchild):
                grant = await peers(rig).find(grandchild)
            assert grant.name == "agent of session 'k'" and grant.scopes == {Scope.PROMPT}
            assert grant.roots == (os.path.realpath(tmp_path),)  # noqa: ASYNC240  # it is local, and there
            assert grant.can_see("k", "/") and grant.can_see("other", "/elsewhere")
            assert not grant.may_act_on("k") and grant.may_act_on("other")


@pytest.mark.parametrize("key", ["gone", "control:demo:1", ""])
async def test_inside_an_agent_of_a_session_that_is_not_there_it_only_looks(key: str) -> None:
    with trio.fail_after(LIMIT):
        async with open_rig() as rig, rig.connect() as user:
            await user.open("k")
            with family(**tags(session=key)) as (_, grandchild):
                grant = await peers(rig).find(grandchild)
            assert grant.scopes == {Scope.OBSERVE} and grant.roots == () and not grant.admin
            assert grant.can_see("k", "/tmp") and not grant.may_act_on("k") and not grant.may_act_on("x")


@pytest.mark.parametrize("may_answer", [True, False])
async def test_may_answer_holds_as_it_is_configured_now(may_answer: bool) -> None:
    def config(allowed: bool) -> Config:
        agent = AgentConfig(command=("x",), may_answer=allowed)
        return Config(default_agent="mine", agents={"mine": agent})

    with trio.fail_after(LIMIT):
        async with open_rig(config(not may_answer)) as rig, rig.connect() as user:
            await user.open("k")
            rig.broker.config = config(may_answer)
            with family(**tags()) as (_, grandchild):
                grant = await peers(rig).find(grandchild)
            assert grant.name == "agent of session 'k'", "the log names it, whatever it may"
            assert grant.admin is grant.may_act_on("k") is may_answer
            if grant.inside is not None:
                assert grant.inside.remedy == "set may_answer = true in [agents.mine] to allow it"


async def test_a_command_on_the_spot_does_not_take_the_rights_of_a_configured_name() -> None:
    config = Config(agents={"mine": AgentConfig(command=("x",), may_answer=True)})
    with trio.fail_after(LIMIT):
        async with open_rig(config) as rig, rig.connect() as user:
            await user.call("_trio_broker/open", key="k", cwd="/tmp", agent="mine", command=["y"])
            with family(**tags()) as (_, grandchild):
                grant = await peers(rig).find(grandchild)
            assert (
                grant.inside is not None
                and "its command and may_answer = true in [agents.mine]" in grant.inside.remedy
            )


async def test_where_processes_can_not_be_read_in_time_nobody_is_taken_for_the_owner(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(BOUND):
        async with open_rig() as rig:
            stuck = peers(rig)
            for holder in range(MAX_LOOKS):
                stuck._looks.acquire_on_behalf_of_nowait(holder)
            grant = await stuck.find(os.getpid())
            assert grant.scopes == {Scope.OBSERVE} and grant.inside is not None and grant.inside.why == ENDED


async def test_the_log_says_which_process_is_taken_for_an_agents(caplog: pytest.LogCaptureFixture) -> None:
    with trio.fail_after(LIMIT), caplog.at_level("INFO"):
        async with open_rig() as rig, rig.connect() as user:
            await user.open("k\n")
            with family(**tags(session="k\n")) as (_, grandchild):
                await peers(rig).find(grandchild)
    assert f"client_inside_agent pid={grandchild} session='k\\n'" in caplog.text
