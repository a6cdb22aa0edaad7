"""The hook of [policy]: real commands, their failures, their time, and that none of it is anybody's trouble."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_broker.agent import process_tags
from trio_broker.auth.policy import Unattended
from trio_broker.broker.notify import MAX_RUNNING, MAX_WAITING, NotifyHook
from trio_broker.config.config import Config, PolicyConfig
from trio_broker.testing.in_process.rig import open_rig
from trio_broker.testing.processes.home import is_running

pytestmark = pytest.mark.process

LIMIT = 60.0


def shell(script: str) -> tuple[str, ...]:
    return ("sh", "-c", script)


async def until_written(path: Path) -> str:
    """What a command has written, once there is a whole line."""
    while not path.exists() or not path.read_text().endswith("\n"):  # noqa: ASYNC110, ASYNC240  # another process
        await trio.sleep(0.02)
    return path.read_text()  # noqa: ASYNC240


async def test_the_command_gets_the_facts_as_json_on_stdin(tmp_path: Path) -> None:
    told = tmp_path / "told"
    facts = {"askId": "1-2", "title": "a\nb ü " + "x" * 200_000}
    with trio.fail_after(LIMIT):
        await NotifyHook(shell(f"cat > {told}")).run(facts)
    assert json.loads(told.read_text()) == facts


async def test_it_carries_the_tag_of_a_hook_and_none_of_an_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it starts acts as the owner, also when it has left the hook."""
    monkeypatch.setenv(process_tags.INSTANCE, "outer-1")
    with trio.fail_after(LIMIT):
        await NotifyHook(shell(f"env > {tmp_path / 'env'}")).run({})
    env = (tmp_path / "env").read_text().splitlines()
    assert f"{process_tags.HOOK}={os.getpid()}" in env and not any(
        process_tags.INSTANCE in one for one in env
    )


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (shell("echo no mail today >&2; exit 3"), "exit code 3: no mail today"),
        (shell("kill -9 $$"), "exit code -9"),
        (("/no/such/command",), "No such file or directory"),
        (
            (sys.executable, "-c", "import sys; sys.stderr.write('x' * 10_000_000 + 'end'); sys.exit(1)"),
            "xend",
        ),
        (shell("exec <&-; exit 0"), None),
        (shell("echo fine >&2"), None),
    ],
)
async def test_a_failure_is_logged_and_nothing_else(
    command: tuple[str, ...], why: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(LIMIT):
        await NotifyHook(command).run({"askId": "1-2", "title": "x" * 1_000_000})
    if why is None:
        assert caplog.messages == []
    else:
        (message,) = caplog.messages
        assert message.startswith(f"notify_failed ask=1-2 command={command[0]} why=") and why in message
        assert len(message) < 1000


@pytest.mark.parametrize("how", ["time", "cancel", "exit"])
async def test_whatever_way_it_ends_its_group_ends(
    how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, mock_clock: MockClock
) -> None:
    mock_clock.rate = 1.0  # its time is over when it has written, however long that took
    told = tmp_path / "told"
    wait = "" if how == "exit" else "wait"
    script = f"trap '' TERM; sleep 600 & echo $! $$ > {told}.new; mv {told}.new {told}; {wait}"
    with trio.fail_after(2 * LIMIT):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(NotifyHook(shell(script), seconds=LIMIT).run, {"askId": "1-2"})
            pids = [int(pid) for pid in (await until_written(told)).split()]
            if how == "cancel":
                nursery.cancel_scope.cancel()
            elif how == "time":
                mock_clock.jump(LIMIT)
        while any(map(is_running, pids)):  # noqa: ASYNC110  # init reaps them
            await trio.sleep(0.02)
    assert ["took more than 60 s and was ended" in message for message in caplog.messages] == (
        [True] if how == "time" else []
    )


async def test_few_run_at_once_and_not_very_many_wait(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    go = tmp_path / "go"
    hook = NotifyHook(shell(f"echo begun >> {tmp_path}/begun; until test -e {go}; do sleep 0.05; done"))
    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            for _ in range(MAX_RUNNING + MAX_WAITING + 3):
                nursery.start_soon(hook.run, {"askId": "1-2"})
            begun = tmp_path / "begun"
            while not begun.exists() or len(begun.read_text().split()) < MAX_RUNNING:  # noqa: ASYNC110
                await trio.sleep(0.02)
            assert [message.startswith("notify_dropped") for message in caplog.messages] == [True] * 3
            assert len(begun.read_text().split()) == MAX_RUNNING
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("unattended", Unattended)
async def test_it_is_run_once_for_an_ask_that_finds_nobody(unattended: Unattended, tmp_path: Path) -> None:
    told = tmp_path / "told"
    asking = PolicyConfig(notify=shell(f"cat >> {told}; exit 1"), unattended=unattended)
    with trio.fail_after(LIMIT):
        async with open_rig(Config(policy=asking)) as rig, rig.connect() as user:
            session = await user.open("k")
            ended = user.later(user.prompt, session, "ask go")
            facts: dict[str, Any] = json.loads(await until_written(told))
            assert (facts["key"], facts["agent"], facts["title"], facts["cwd"]) == ("k", "demo", "go", "/tmp")
            assert facts["sessionId"] == session and len(facts["options"]) == 2
            if unattended is Unattended.HOLD:
                async with rig.connect() as other:  # it can't answer either, and comes and goes
                    await other.open("k")
                await user.call("_trio_broker/answer", askId=facts["askId"], answer="deny")
            await ended.wait()
            assert user.said(session) == "reject"
    assert len(told.read_text().splitlines()) == 1


async def test_a_hook_that_hangs_holds_up_nothing(tmp_path: Path) -> None:
    told = tmp_path / "told"
    asking = PolicyConfig(notify=shell(f"cat > {told}; sleep 600"))
    with trio.fail_after(LIMIT):
        async with open_rig(Config(policy=asking)) as rig, rig.connect() as user:
            session = await user.open("k")
            ended = user.later(user.prompt, session, "ask go")
            id = json.loads(await until_written(told))["askId"]
            await user.call("_trio_broker/answer", askId=id, answer="allow")
            assert await ended.wait() == "end_turn" and user.said(session) == "allow"
            rig.broker.stop()
            await rig.ended.wait()
