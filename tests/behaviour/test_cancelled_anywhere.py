"""Everything a client does may be given up at any moment, and the broker may end at any moment: sweeps over all of it.

What has to hold then is in testing/invariants.py. In the fast suite a sweep takes every so many steps; more of them in
the slow one, and all of them with SWEEP_EVERY=1 in the environment.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import attrs
import pytest
import trio

from trio_broker.config.config import AgentConfig, Config, ServedBy
from trio_broker.errors import BrokerError
from trio_broker.protocol.jsonrpc import Message
from trio_broker.testing.clients.user import allow
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import Rig, settings
from trio_broker.testing.in_process.sweep import sound_rig, sweep

RESUMES = Habits(resume=True)
SERVED = Config(agents={"demo": AgentConfig(("demo",), terminal=ServedBy.BROKER, fs=ServedBy.CLIENT)})
CLOSELY = int(os.environ.get("SWEEP_EVERY", "3"))  # the distance of two steps in the slow suite


async def open_twice(rig: Rig) -> None:
    async with rig.connect() as user, rig.connect() as other:
        first, second = user.later(user.open, "k"), other.later(other.open, "k")
        assert await first.wait() == await second.wait()
        assert len(rig.agents.spawned) == 1


async def prompt(rig: Rig) -> None:
    async with rig.connect() as user:
        session = await user.open("k")
        turns = [user.later(user.prompt, session, f"say {n}; wait 1; say {n}") for n in range(3)]
        assert [await turn.wait() for turn in turns] == ["end_turn"] * 3
        said = user.said(session)
        assert sorted(said[::2]) == ["0", "1", "2"] and said[::2] == said[1::2]


async def cancel(rig: Rig) -> None:
    async with rig.connect() as user, rig.connect() as other:
        session = await user.open("k")
        running = user.later(user.prompt, session, "say a; hang")
        await user.wait_phase("k", "working")
        queued = user.later(user.prompt, session, "say b")
        await other.open("k")
        after = other.later(other.prompt, session, "say c")
        user.client.notify("session/cancel", {"sessionId": session})
        assert [await running.wait(), await queued.wait()] == ["cancelled"] * 2
        assert await after.wait() == "end_turn"


async def cancel_in_vain(rig: Rig) -> None:
    async with rig.connect() as user:
        session = await user.open("k")
        turn = user.later(user.prompt, session, "say a; hang-hard")
        await user.wait_phase("k", "working")
        await user.cancel(session)
        assert await turn.wait() == "cancelled"
        assert await user.prompt(session, "say again") == "end_turn"


async def close(rig: Rig) -> None:
    async with rig.connect() as user, rig.connect() as other:
        session = await user.open("k")
        turns = [user.later(user.prompt, session, "say a; hang") for _ in range(2)]
        await user.wait_phase("k", "working")
        await other.call("_trio_broker/close", key="k")
        assert [(await turn.fails()).code for turn in turns] == ["session_over"] * 2
        assert await other.prompt(await other.open("k"), "say anew") == "end_turn"


async def crash(rig: Rig) -> None:
    async with rig.connect() as user:
        session = await user.open("k")
        turns = [user.later(user.prompt, session, "say a; wait 1; die 3")]
        await user.wait_phase("k", "working")
        turns.append(user.later(user.prompt, session, "say b"))
        assert [(await turn.fails()).code for turn in turns] == ["agent_gone", "session_over"]
        assert await user.prompt(session, "say back") == "end_turn"


async def attach(rig: Rig) -> None:
    async with rig.connect() as user, rig.connect() as late:
        session = await user.open("k")
        await user.prompt(session, "say a; say b")
        await late.call("_trio_broker/attach", key="k", since=1)
        assert await user.prompt(session, "say c") == "end_turn"
        await late.call("_trio_broker/detach", key="k")
        await late.call("session/load", sessionId=session, cwd="/tmp", mcpServers=[])
        assert await late.prompt(session, "say d") == "end_turn"


async def ask(rig: Rig) -> None:
    async with rig.connect(allow) as user, rig.connect() as other:
        session = await user.open("k")
        await other.open("k")
        assert await user.prompt(session, "ask may I; say done") == "end_turn"
        assert user.said(session) == "allowdone"


async def ask_and_cancel(rig: Rig) -> None:
    async with rig.connect() as user:
        session = await user.open("k")
        turn = user.later(user.prompt, session, "ask may I; say done")
        await user.wait_phase("k", "waiting")
        await user.cancel(session)
        assert await turn.wait() == "cancelled"


async def terminal(rig: Rig) -> None:
    async with rig.connect() as user, rig.connect() as other:
        session = await user.open("k")
        assert await user.prompt(session, "run sleep 1") == "end_turn"
        assert user.said(session) == "sleep 1"
        later = user.later(user.prompt, session, "run sleep 600")
        await user.wait_phase("k", "working")
        await other.call("_trio_broker/close", key="k")
        assert (await later.fails()).code == "session_over"


async def files_of_the_client(rig: Rig) -> None:
    async with rig.connect(reads) as user:
        await user.open("before")  # or `initialize` starts an agent that stays for a while
        await user.call("initialize", protocolVersion=1, clientCapabilities={"fs": {"readTextFile": True}})
        await user.open("k")
        answer = await rig.agent("k").request("fs/read_text_file", {"path": "/x"})
        assert answer["result"] == {"content": "x"}


async def reads(message: Message) -> object:
    await trio.sleep(1)
    return {"content": "x"}


async def suspend(rig: Rig) -> None:
    async with rig.connect() as user:
        session = await user.open("k")
        await user.prompt(session, "say a")
        assert await user.prompt(await user.open("other"), "say b") == "end_turn"
        assert (await user.view("k"))["phase"] == "suspended"
        assert await user.prompt(session, "say c") == "end_turn"
        assert (await user.view("k"))["resumed"] == "exact"


async def idle_and_loaded(rig: Rig) -> None:
    async with rig.connect() as user:
        session = await user.open("k")
        await user.call("_trio_broker/detach", key="k")
        await trio.sleep(60)
        assert (await user.view("k"))["phase"] == "suspended"
        assert await user.prompt(session, "say again") == "end_turn"
        assert (await user.view("k"))["resumed"] == "loaded"


async def fresh(rig: Rig) -> None:
    async with rig.connect() as user:
        first = await user.open("k")
        assert await user.open("k", fresh=True) != first


async def forget(rig: Rig) -> None:
    async with rig.connect() as user:
        session = await user.open("k")
        await user.submit(session, "say a")
        await user.call("_trio_broker/wait", key="k", until="idle")
        await user.call("_trio_broker/delete", sessionId=session)


async def shut_down(rig: Rig) -> None:
    async with rig.connect() as user:
        session = await user.open("k")
        turns = [user.later(user.prompt, session, "say a; hang") for _ in range(2)]
        opening = user.later(user.open, "other")
        await user.wait_phase("k", "working")
        rig.broker.stop()
        for call in (*turns, opening):
            try:
                await call.wait()
            except BrokerError:
                pass  # each is told something, whatever it is
        await rig.ended.wait()


async def drain(rig: Rig) -> None:
    async with rig.connect() as user:
        session = await user.open("k")
        turn = user.later(user.prompt, session, "say a; wait 1; say b")
        await user.wait_phase("k", "working")
        await user.call("_trio_broker/shutdown", drain=True)
        try:
            await user.open("other")
        except BrokerError as error:
            assert error.code == "draining"
        assert await turn.wait() == "end_turn"
        await rig.ended.wait()


@attrs.frozen
class Sweep:
    """`every`: in the fast suite, the distance of two steps that are tried; about forty of them are."""

    scenario: Callable[[Rig], Awaitable[None]]
    every: int
    options: dict[str, Any] = attrs.field(factory=dict)


SWEEPS = [
    Sweep(open_twice, 5),
    Sweep(prompt, 7),
    Sweep(cancel, 7),
    Sweep(cancel_in_vain, 7, {"config": settings(cancel_grace=2, close_grace=1, term_grace=1)}),
    Sweep(close, 7),
    Sweep(crash, 7),
    Sweep(attach, 7),
    Sweep(ask, 7),
    Sweep(ask_and_cancel, 7),
    Sweep(terminal, 7, {"config": SERVED}),
    Sweep(files_of_the_client, 7, {"config": SERVED}),
    Sweep(suspend, 7, {"config": settings(max_sessions=1), "habits": RESUMES}),
    Sweep(idle_and_loaded, 25, {"config": settings(idle_ttl=10), "habits": Habits(load=True)}),
    Sweep(fresh, 7),
    Sweep(forget, 7),
    Sweep(shut_down, 7),
    Sweep(drain, 7),
]
PARAMS = [pytest.param(one, id=one.scenario.__name__) for one in SWEEPS]


async def until_it_ends(scenario: Callable[[Rig], Awaitable[None]], rig: Rig) -> None:
    """The broker is cancelled under it: each of its clients is told so, one way or the other, or has left."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tolerant, scenario, rig, nursery)
        await rig.ended.wait()
        await trio.sleep(1)
        nursery.cancel_scope.cancel()


async def tolerant(scenario: Callable[[Rig], Awaitable[None]], rig: Rig, nursery: trio.Nursery) -> None:
    try:
        await scenario(rig)
    except* (BrokerError, AssertionError):
        if not rig.cancel_scope.cancel_called:
            raise
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("one", PARAMS)
def test_d10_g2_a_client_may_leave_at_any_moment(one: Sweep) -> None:
    sweep(one.scenario, around=partial(sound_rig, **one.options), every=one.every)


@pytest.mark.parametrize("one", PARAMS)
def test_f1_the_broker_may_be_cancelled_at_any_moment(one: Sweep) -> None:
    sweep(
        partial(until_it_ends, one.scenario),
        around=partial(sound_rig, **one.options),
        victim=lambda rig: rig.cancel_scope,
        every=one.every * 3,
    )


@pytest.mark.slow
@pytest.mark.parametrize("one", PARAMS)
def test_at_more_steps(one: Sweep) -> None:
    sweep(one.scenario, around=partial(sound_rig, **one.options), every=CLOSELY)
