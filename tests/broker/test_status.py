"""`_trio_broker/watch`: one coalesced picture for all who watch, made only while somebody asks for it."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from trio_broker.auth.grant import Grant, Scope
from trio_broker.broker.status import MEASURE_INTERVAL, Meter, ProcessTree, Usage, measure_trees
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import Message
from trio_broker.testing.clients.user import User
from trio_broker.testing.in_process.rig import Rig, open_rig

NOBODY = ProcessTree(0, {})


async def nothing(_: Iterable[int]) -> dict[int, ProcessTree]:
    """Agents in memory have no process, and a clock that jumps does not wait for threads."""
    await trio.lowlevel.checkpoint()
    return {}


@asynccontextmanager
async def watched() -> AsyncGenerator[Rig, None]:
    async with open_rig() as rig:
        rig.broker.snapshots.meter.measure_trees = nothing
        yield rig


async def look(user: User, after: int | None = None) -> Any:
    return await user.call("_trio_broker/watch", **({} if after is None else {"after": after}))


def of(picture: Any, key: str) -> Any:
    return next(view for view in picture["sessions"] if view["key"] == key)


async def think(_: Message) -> object:
    await trio.sleep_forever()
    return None


async def chatter(rig: Rig, key: str, every: float) -> None:
    while True:
        await rig.agent(key).update("agent_message_chunk", content={"type": "text", "text": "x"})
        await trio.sleep(every)


async def test_the_picture_has_what_the_dashboard_shows(autojump_clock: trio.testing.MockClock) -> None:
    with trio.fail_after(300):
        async with watched() as rig, rig.connect(think) as user:
            session = await user.open("a")
            await rig.agent("a").update(
                "usage_update", used=10, size=100, cost={"amount": 1.5, "currency": "USD"}
            )
            user.later(user.prompt, session, "ask Delete it")
            await user.wait_phase("a", "waiting")
            await trio.sleep(10)
            picture = await look(user)
            view = of(picture, "a")
            assert view["usage"] == {"used": 10, "size": 100, "cost": {"amount": 1.5, "currency": "USD"}}
            assert [(one["title"], len(one["options"])) for one in view["asks"]] == [("Delete it", 2)]
            assert view["attached"] == [{"name": view["attached"][0]["name"], "role": "controller"}]
            assert 10 <= picture["at"] - view["phase_since"] < 10.5
            assert view["phase_since"] >= view["turn_since"]
            assert picture["broker"]["counts"]["waiting"] == 1


async def test_chatty_agents_and_many_watchers_cost_one_look_an_interval(
    autojump_clock: trio.testing.MockClock,
) -> None:
    seen: list[int] = []

    async def follow(user: User) -> None:
        while True:
            seen.append((await look(user, seen[-1] if seen else None))["number"])

    with trio.fail_after(120):
        async with (
            watched() as rig,
            rig.connect() as one,
            rig.connect() as two,
            trio.open_nursery() as nursery,
        ):
            await one.open("a")
            nursery.start_soon(chatter, rig, "a", 0.005)
            nursery.start_soon(follow, one)
            nursery.start_soon(follow, two)
            await trio.sleep(10)
            assert rig.session("a").log.last > 1000
            assert 40 <= rig.broker.snapshots.taken <= 60
            assert len(seen) <= 2 * 60
            nursery.cancel_scope.cancel()


async def test_nobody_watching_costs_nothing(autojump_clock: trio.testing.MockClock) -> None:
    with trio.fail_after(1200):
        async with watched() as rig, rig.connect() as user, trio.open_nursery() as nursery:
            await user.open("a")
            nursery.start_soon(chatter, rig, "a", 0.1)
            async with rig.connect() as watcher:
                picture = await look(watcher)
                watcher.later(look, watcher, picture["number"] + 1000)
                await trio.sleep(1)
            await trio.sleep(0.5)
            looks = rig.broker.snapshots.taken
            await trio.sleep(60)
            assert rig.broker.snapshots.taken == looks > 0
            nursery.cancel_scope.cancel()


async def test_a_watcher_that_lags_gets_the_newest_picture_and_no_backlog(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(300):
        async with watched() as rig, rig.connect() as user, trio.open_nursery() as nursery:
            await user.open("a")
            first = await look(user)
            nursery.start_soon(chatter, rig, "a", 0.1)
            await trio.sleep(60)
            picture = await look(user, first["number"])
            assert of(picture, "a")["events"] == rig.session("a").log.last
            nursery.cancel_scope.cancel()


async def test_a_picture_in_which_nothing_happens_is_not_sent_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(7200):
        async with watched() as rig, rig.connect() as user:
            await user.open("a")
            first = await look(user)
            next = user.later(look, user, first["number"])
            await trio.sleep(600)
            assert not next.done
            await rig.agent("a").update("agent_message_chunk", content={"type": "text", "text": "x"})
            assert (await next.wait())["number"] == first["number"] + 1


async def test_an_agent_that_says_nothing_is_measured_all_the_same(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A build that is quiet for an hour and takes all of a core: no update asks for a new picture."""
    spent = 0.0

    async def trees(roots: Iterable[int]) -> dict[int, ProcessTree]:
        nonlocal spent
        await trio.lowlevel.checkpoint()
        spent += MEASURE_INTERVAL * 0.75
        return {root: ProcessTree(100, {(root, 1.0): spent}) for root in roots}

    with trio.fail_after(300):
        async with watched() as rig, rig.connect() as user:
            rig.broker.snapshots.meter = Meter(trees)
            await user.open("a")
            picture = await look(user)
            while (of(picture, "a")["use"] or {}).get("cpu") is None:
                picture = await look(user, picture["number"])
            assert of(picture, "a")["use"]["cpu"] == pytest.approx(75, abs=10)


async def test_a_picture_shows_the_sessions_that_a_client_may_see() -> None:
    with trio.fail_after(30):
        async with watched() as rig, rig.connect() as user:
            await user.open("mine")
            await user.open("yours")
            seen = rig.broker.snapshots.take_snapshot().render_for(
                Grant("me", frozenset({Scope.OBSERVE}), ("mi*",)), 0.0
            )
            assert [view["key"] for view in jsonrpc.decode(seen)["sessions"]] == ["mine"]


async def test_cpu_is_what_was_spent_between_two_looks_and_a_process_that_ends_takes_nothing_away(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found = [
        ProcessTree(100, {(5, 1.0): 10.0, (6, 1.0): 50.0}),
        ProcessTree(60, {(5, 1.0): 11.0, (7, 3.0): 0.5}),
    ]
    asked: list[tuple[int, ...]] = []

    async def trees(roots: Iterable[int]) -> dict[int, ProcessTree]:
        await trio.lowlevel.checkpoint()
        asked.append(tuple(roots))
        return {5: found[len(asked) - 1]}

    meter = Meter(trees)
    with trio.fail_after(300):
        await meter.measure([5])
        assert meter.usages == {5: Usage(None, 100, 2)}
        await meter.measure([5])  # too early
        assert asked == [(5,)]
        await trio.sleep(3)
        await meter.measure([5])
        assert meter.usages == {5: Usage(50.0, 60, 2)}


@pytest.mark.process
async def test_a_tree_is_measured_with_its_children() -> None:
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            command = ["sh", "-c", "sleep 60 & wait"]
            process = await nursery.start(
                partial(trio.run_process, command, start_new_session=True, check=False)
            )
            while len((found := await measure_trees([process.pid])).get(process.pid, NOBODY).seconds) < 2:  # noqa: ASYNC110
                await trio.sleep(0.02)
            assert found[process.pid].memory > 0
            os.killpg(process.pid, signal.SIGKILL)
    assert await measure_trees([process.pid]) == {}
