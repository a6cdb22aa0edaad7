"""How real agents are started: with which environment and files, and what is told of those that do not start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_broker.agent.spawn import BASE_ENVIRONMENT
from trio_broker.config.config import AgentConfig
from trio_broker.errors import Misuse, SpawnFailed
from trio_broker.testing.clients.user import User
from trio_broker.testing.in_process.rig import Rig, open_real
from trio_broker.testing.processes.agents import agent_pid, environment_of, fake
from trio_broker.testing.processes.daemon import POLL_INTERVAL, wait_until
from trio_broker.testing.processes.home import FAKE, is_running

pytestmark = pytest.mark.process

PATIENCE = 60.0  # seconds for a start: no agent here needs them, and none that fails is waited for so long
SECRET = "TEST_TOKEN_OF_THE_BROKER"


def base() -> dict[str, str]:
    return {name: os.environ[name] for name in BASE_ENVIRONMENT if name in os.environ}


async def test_f10_an_agent_gets_the_named_environment_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(SECRET, "secret")
    monkeypatch.setenv("LANG", "C.UTF-8")
    with trio.fail_after(60):
        async with open_real() as rig, rig.connect() as user:
            await user.open("a")
            assert environment_of(await agent_pid(user, "a")) == base()
            assert base()["LANG"] == "C.UTF-8"


async def test_f10_configuration_and_client_add_to_the_environment_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(SECRET, "secret")
    monkeypatch.setenv("TEST_KEY", "key")
    own = AgentConfig(FAKE, env={"TEST_MODE": "on", "LANG": "C"}, inherit_env=("TEST_KEY", "TEST_NOT_THERE"))
    with trio.fail_after(60):
        async with open_real({"own": own}) as rig, rig.connect() as user:
            await user.open("a", agent="own", env={"TEST_SESSION": "1", "TEST_MODE": "off"})
            wanted = {"TEST_KEY": "key", "TEST_MODE": "off", "LANG": "C", "TEST_SESSION": "1"}
            assert environment_of(await agent_pid(user, "a")) == base() | wanted


async def test_f11_an_agent_has_three_open_files(tmp_path: Path) -> None:
    with trio.fail_after(60), (tmp_path / "inheritable").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        async with open_real() as rig, rig.connect() as user:
            for key in ("a", "b"):
                session = await user.open(key)
                await user.prompt(session, "fds")
                fds = sorted(os.listdir(f"/proc/{await agent_pid(user, key)}/fd"), key=int)
                assert fds == ["0", "1", "2"], user.said(session)


async def test_an_agent_leads_a_session_of_its_own() -> None:
    """So that Ctrl-C at the broker's terminal does not reach it, and one signal reaches its children."""
    with trio.fail_after(60):
        async with open_real() as rig, rig.connect() as user:
            await user.open("a")
            pid = await agent_pid(user, "a")
            assert os.getsid(pid) == os.getpgid(pid) == pid != os.getpid()


async def slot_is_free(rig: Rig, user: User) -> None:
    """Nothing is left of a failed start: the only place for sessions, and for starting ones, can be taken."""
    assert rig.broker.registry.starting.borrowed_tokens == 0 and rig.broker.pool.live() == 0
    assert await user.prompt(await user.open("a"), "say hello") == "end_turn"


FAILURES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "missing binary": ({"command": ["no-such-agent-anywhere"]}, ["no-such-agent-anywhere", "PATH"]),
    "not executable": ({"command": ["/dev/null"]}, ["Permission denied", "/dev/null"]),
    "no program": ({"command": ["/"]}, ["could not be started", "'/'"]),
    "bad cwd": ({"agent": "lost"}, ["its directory /no/such/place does not exist"]),
    "exit at start": (
        {"command": fake("--stderr", "no license found", "--exit-at-start", "3")},
        ["exit code 3", "before it had a session", "no license found"],
    ),
    "exit 0 at start": ({"command": ["true"]}, ["exit code 0", "before it had a session"]),
    "killed at start": ({"command": ["sh", "-c", "kill -9 $$"]}, ["SIGKILL", "before it had a session"]),
    "other version": (
        {"command": fake("--protocol", "2")},
        ["ACP version 2", "the broker version 1"],
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_f12_a_start_that_fails_says_why_and_frees_its_slot(failure: str) -> None:
    asked, words = FAILURES[failure]
    lost = AgentConfig(FAKE, cwd="/no/such/place")
    with trio.fail_after(60):
        async with open_real({"lost": lost}, max_sessions=1, max_starting=1) as rig, rig.connect() as user:
            error = await user.later(user.open, "a", **asked).fails()
            assert isinstance(error, SpawnFailed)
            assert [word for word in words if word not in error.message] == []
            await wait_until(lambda: rig.broker.pool.live() == 0)
            await slot_is_free(rig, user)


async def until_it_spoke(user: User, key: str) -> None:
    """Wait until an agent that is being started has said something beside the protocol."""
    await user.wait_phase(key, "starting")
    spoken = False
    while not spoken:  # seen from outside only
        logs = await user.call("_trio_broker/logs", key=key)
        spoken = logs["stderr"] or logs["rejected"]
        await trio.sleep(POLL_INTERVAL)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"agent": "silent"}, ["start_timeout", "I am thinking"]),
        (
            {"command": ["sh", "-c", "echo '$ '; while read -r line; do :; done"], "agent": "shell"},
            ["'shell'"],
        ),
    ],
    ids=["silent", "no agent at all"],
)
async def test_f12_one_that_gives_no_session_in_time_is_told_so(
    asked: dict[str, Any], words: list[str], mock_clock: MockClock
) -> None:
    """The time is over when it has spoken, however long it took to start."""
    mock_clock.rate = 1.0
    silent = AgentConfig((*FAKE, "--no-start", "--stderr", "I am thinking"), start_timeout=PATIENCE)
    with trio.fail_after(60 + PATIENCE):
        async with (
            open_real({"silent": silent}, max_sessions=1, max_starting=1, start_timeout=PATIENCE) as rig,
            rig.connect() as user,
        ):
            start = user.later(user.open, "a", **asked)
            await until_it_spoke(user, "a")
            mock_clock.jump(PATIENCE)
            error = await start.fails()
            assert isinstance(error, SpawnFailed) and f"no session within {PATIENCE:g} s" in error.message
            assert [word for word in words if word not in error.message] == []
            await wait_until(lambda: rig.broker.pool.live() == 0)
            await slot_is_free(rig, user)


async def test_f12_a_directory_that_is_not_there_is_the_clients_mistake() -> None:
    with trio.fail_after(60):
        async with open_real(max_sessions=1) as rig, rig.connect() as user:
            error = await user.later(user.open, "a", cwd="/no/such/place").fails()
            assert isinstance(error, Misuse) and "/no/such/place" in error.message
            await slot_is_free(rig, user)


async def test_f12_an_agent_that_never_answers_is_ended(mock_clock: MockClock) -> None:
    mock_clock.rate = 1.0
    silent = AgentConfig((*FAKE, "--no-start", "--ignore-term", "--ignore-eof"), start_timeout=PATIENCE)
    with trio.fail_after(60 + PATIENCE):
        async with (
            open_real({"silent": silent}, close_grace=0.1, term_grace=0.1) as rig,
            rig.connect() as user,
        ):
            start = user.later(user.open, "a", agent="silent")
            await user.wait_phase("a", "starting")
            while (pid := await agent_pid(user, "a")) is None:  # noqa: ASYNC110  # seen from outside only
                await trio.sleep(POLL_INTERVAL)
            mock_clock.jump(PATIENCE)
            assert isinstance(await start.fails(), SpawnFailed)
            await wait_until(lambda: not is_running(pid))


async def test_f12_a_banner_before_the_first_message_is_passed_over() -> None:
    with trio.fail_after(60):
        async with open_real() as rig, rig.connect() as user:
            session = await user.open("a", command=fake("--banner"))
            assert await user.prompt(session, "say hello") == "end_turn"
            logs = await user.call("_trio_broker/logs", sessionId=session)
            assert logs["rejected"] == ["Welcome to the fake agent! An update is available."]


async def test_f13_an_agent_that_crashes_at_each_start_is_given_a_rest(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    crasher = AgentConfig(("sh", "-c", f"echo start >> {starts}; echo out of luck >&2; exit 1"))
    with trio.fail_after(60):
        async with open_real({"crasher": crasher}) as rig, rig.connect() as user:
            errors = [await user.later(user.open, f"s{n}", agent="crasher").fails() for n in range(20)]
            assert all(isinstance(error, SpawnFailed) for error in errors)
            assert len(starts.read_text().splitlines()) < 10
            assert "out of luck" in errors[-1].message and errors[-1].details["retryIn"] > 0
            failing = (await user.status())["failing"]
            assert failing["crasher"]["failures"] >= 3 and "out of luck" in failing["crasher"]["reason"]
            assert await user.prompt(await user.open("other"), "say hello") == "end_turn"
