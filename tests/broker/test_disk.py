"""A disk that takes its time: what is promised to be on it waits, and nothing else does."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from trio_broker.keeper import Keeper
from trio_broker.session import Session
from trio_broker.testing.memory import Habits
from trio_broker.testing.rig import Rig, User, open_rig
from trio_broker.wire import jsonrpc

MOMENT = 0.1  # virtual seconds: everything that can happen by itself has happened then
LADDER = 10.0  # seconds that a stubborn agent takes to end
STUBBORN = Habits(ignores_eof=True, ignores_term=True)


@attrs.define(eq=False)
class SlowKeeper(Keeper):
    """Nothing is on disk until `free` is set."""

    free: trio.Event = attrs.field(factory=trio.Event)

    async def flush(self, session: int | None = None) -> None:
        await self.free.wait()


@asynccontextmanager
async def open_slow(habits: Habits | None = None) -> AsyncGenerator[tuple[Rig, User, str, SlowKeeper], None]:
    """A broker, a user, and the session "k", whose disk is slow from now on."""
    with trio.fail_after(600):
        async with open_rig(habits=habits) as rig, rig.connect() as user:
            session = await user.open("k")
            slow = rig.session("k").log.keeper = SlowKeeper()
            yield rig, user, session, slow


def ends(user: User) -> list[str]:
    """The ids of the prompts of which the user was told the end."""
    return [event["promptId"] for event in user.events if event["kind"] == "ended"]


def logged(session: Session, kind: str) -> list[dict[str, Any]]:
    """The events of that kind in its log, shown or not."""
    found, number = [], 1
    while number < session.log.next and (record := session.log.recent(number)) is not None:
        number = record.last + 1
        if record.kind == kind:
            found.append(jsonrpc.decode(record.data))
    return found


async def test_a7_only_the_end_of_a_turn_waits_for_the_disk(autojump_clock: MockClock) -> None:
    async with open_slow() as (_, user, session, slow):
        turn = user.later(user.prompt, session, "say hello")
        other = await user.open("other")
        with trio.fail_after(MOMENT):
            assert await user.prompt(other, "say hello") == "end_turn"
            assert (await user.view("k"))["phase"] == "working"
        await trio.sleep(60)
        assert user.said(session) == "hello" and not turn.done
        slow.free.set()
        assert await turn.wait() == "end_turn"


async def test_the_end_of_a_turn_is_shown_to_nobody_before_it_is_on_disk(autojump_clock: MockClock) -> None:
    async with open_slow() as (rig, user, session, slow):
        first = user.later(user.prompt, session, "say hello", promptId="first")
        await trio.sleep(MOMENT)
        second = user.later(user.prompt, session, "say never", promptId="second")
        await trio.sleep(MOMENT)
        assert await user.cancel(session, promptId="second") == "queued"
        assert await second.wait() == "cancelled"
        await trio.sleep(60)
        assert ends(user) == [] and not first.done
        assert rig.agent("k").prompts() == ["say hello"]
        slow.free.set()
        assert await first.wait() == "end_turn"
        await trio.sleep(MOMENT)
        assert ends(user) == ["first", "second"]


async def test_d2_a_prompt_that_is_cancelled_before_it_is_on_disk_never_reaches_the_agent(
    autojump_clock: MockClock,
) -> None:
    async with open_slow() as (rig, user, session, slow):
        user.later(user.submit, session, "say never", promptId="p")
        await user.wait_phase("k", "working")
        assert await user.cancel(session) == "turn"
        slow.free.set()
        assert await user.prompt(session, "say hello") == "end_turn"
        assert [event["outcome"] for event in logged(rig.session("k"), "ended")] == ["cancelled", "completed"]
        assert rig.agent("k").prompts() == ["say hello"] and not rig.agent("k").got("session/cancel")


@pytest.mark.parametrize("after", [0, MOMENT, 2 * LADDER])
async def test_e2_a_prompt_whose_session_ends_before_it_is_on_disk_ends_once_and_is_not_sent(
    after: float, autojump_clock: MockClock
) -> None:
    async with open_slow(STUBBORN) as (rig, user, session, slow), rig.connect() as other:
        closed = rig.session("k")
        user.later(user.submit, session, "say never")
        await other.wait_phase("k", "working")
        closing = other.later(other.call, "_trio_broker/close", key="k")
        await other.wait_phase("k", "closed")
        await trio.sleep(after)
        slow.free.set()
        await closing.wait()
        (ended,) = logged(closed, "ended")
        assert "never sent" in ended["error"]
        assert rig.agents.spawned[0].prompts() == []
        assert ends(user) == [ended["promptId"]]


async def test_e2_a_turn_that_was_answered_is_answered_though_its_session_ends_before_that_is_on_disk(
    autojump_clock: MockClock,
) -> None:
    async with open_slow() as (rig, user, session, _):
        turn = user.later(user.prompt, session, "say hello")
        await trio.sleep(MOMENT)
        assert not turn.done
        rig.agent("k").kill()
        assert await turn.wait() == "end_turn"


@pytest.mark.parametrize("how", ["open", "attach", "load", "events"])
async def test_who_comes_before_the_end_of_a_turn_is_on_disk_misses_nothing(
    how: str, autojump_clock: MockClock
) -> None:
    async with open_slow() as (rig, user, session, slow), rig.connect() as comer:
        turn = user.later(user.prompt, session, "late 3; say hello", promptId="p")
        await comer.status()
        await comer.call("initialize", protocolVersion=1)
        await trio.sleep(MOMENT)
        page = await come(comer, session, how)
        slow.free.set()
        assert await turn.wait() == "end_turn"
        await trio.sleep(MOMENT)
        if page is not None:
            since = await comer.call("_trio_broker/events", sessionId=session, since=page["next"])
            told = [(event["kind"], event["seq"]) for event in page["events"] + since["events"]]
            assert [number for _, number in told] == list(range(1, len(told) + 1))
            assert [kind for kind, _ in told[-4:]] == ["ended", "update", "update", "update"]
        else:
            assert comer.said(session).endswith("late 0late 1late 2")
            assert ends(comer) == ([] if how == "load" else ["p"])


async def come(user: User, session: str, how: str) -> Any:
    """Take up the session in that way; a page of its log, if that is the way."""
    if how == "open":
        await user.open("k")
    elif how == "load":
        await user.call("session/load", sessionId=session, cwd="/tmp", mcpServers=[])
    else:
        page = await user.call(f"_trio_broker/{how}", sessionId=session)
        return page if how == "events" else None
    return None
