"""Agents that were started for their introduction only: they are marked apart, whatever their programs are called."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import trio

from trio_broker.agent import process_tags
from trio_broker.testing.clients.user import BackgroundCall, User
from trio_broker.testing.processes.agents import fake
from trio_broker.testing.processes.daemon import home_with, instance_tag, serving, visit, wait_until
from trio_broker.testing.processes.home import Home

pytestmark = pytest.mark.process

Json = dict[str, object]


async def introduce(user: User, *flags: str) -> BackgroundCall[Json]:
    """Ask for what an agent says of itself; all of these are the same program, as with `npx`."""
    await user.call("_trio_broker/bind", command=fake(*flags))
    return user.later(user.call, "initialize", protocolVersion=1, clientCapabilities={})


async def marked(home: Home, number: int) -> None:
    """Wait until so many processes are marked by that daemon."""
    instance = instance_tag(home)
    await wait_until(lambda: len(process_tags.find(lambda tagged: tagged.instance == instance)) == number)


async def test_f1_the_end_of_one_program_ends_no_other_of_its_name() -> None:
    with trio.fail_after(60), home_with() as home, serving(home):
        async with visit(home) as user, visit(home) as other:
            starting = await introduce(user, "--slow-start", "3")
            await marked(home, 1)
            await (await introduce(other, "--exit-at-start", "1")).fails()
            assert (await starting.wait())["protocolVersion"] == 1


async def test_f1_nor_does_a_session_whose_key_looks_like_it() -> None:
    with trio.fail_after(60), home_with() as home, serving(home):
        async with visit(home) as user, visit(home) as other:
            starting = await introduce(user, "--slow-start", "3")
            await marked(home, 1)
            session = await other.open(f"control:{Path(sys.executable).name}")
            await other.call("_trio_broker/close", sessionId=session)
            assert (await starting.wait())["protocolVersion"] == 1
