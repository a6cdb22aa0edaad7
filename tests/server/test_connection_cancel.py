"""What is given up while it waits: `$/cancel_request` for verbs of the broker's own."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from trio_broker.protocol import jsonrpc
from trio_broker.testing.in_process.rig import open_rig


async def test_waiting_that_its_client_gives_up_takes_no_room(autojump_clock: MockClock) -> None:
    """Each counted among the requests that wait for their answers, until the connection was refused any more."""
    async with open_rig() as rig, rig.connect() as user:
        await user.open("k")
        for _ in range(rig.broker.config.listen.max_in_flight + 1):
            with trio.move_on_after(1):
                await user.call("_trio_broker/wait", key="k", until="closed")
        assert len(await user.call("_trio_broker/sessions")) == 1
        told = [message.error for message in user.messages if message.error is not None]
        assert {jsonrpc.decode(error or b"")["code"] for error in told} == {-32800}


async def test_a_prompt_that_nobody_waits_for_any_more_goes_on(autojump_clock: MockClock) -> None:
    async with open_rig() as rig, rig.connect() as user:
        session = await user.open("k")
        with trio.move_on_after(1):
            await user.prompt(session, "wait 5; say done")
        await user.call("_trio_broker/wait", key="k", until="idle")
        assert user.said(session) == "done"
