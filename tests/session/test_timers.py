"""The clocks that a configuration may set for turns: off by default, absolute where they say so (DESIGN D10)."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_broker.config.config import Quiet
from trio_broker.testing.clients.user import User, prompt_params
from trio_broker.testing.in_process.rig import open_rig, settings

CHATTY = ";".join(["say x; wait 1"] * 1000)
MOMENT = 0.1  # virtual seconds


def notes(user: User) -> list[str]:
    return [event["text"] for event in user.events if event["kind"] == "note"]


async def prompted(user: User, text: str) -> tuple[Any, float]:
    """The whole answer to a prompt, and the seconds that it took."""
    session, begun = await user.open("k"), trio.current_time()
    result = await user.call("session/prompt", **prompt_params(session, text))
    return result, trio.current_time() - begun


def note_of(result: Any) -> str:
    note: str = result["_meta"]["trio-broker"]["note"]
    return note


async def test_c9_a_chatty_agent_is_cut_at_the_ceiling(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig(settings(max_turn=30)) as rig, rig.connect() as user:
            result, took = await prompted(user, CHATTY)
            assert result["stopReason"] == "cancelled" and took == pytest.approx(30, abs=1.5)
            assert note_of(result) == "it ran for 30 s, the limit (max_turn in [broker])"
            assert len(rig.agent("k").got("session/cancel")) == 1
            ended = [event for event in user.events if event["kind"] == "ended"]
            assert (ended[0]["outcome"], ended[0]["note"]) == ("cancelled", note_of(result))


async def test_c9_each_turn_has_a_ceiling_of_its_own_and_waiting_is_not_running(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(600):
        async with open_rig(settings(max_turn=30)) as rig, rig.connect() as user:
            session = await user.open("k")
            turns = [user.later(user.prompt, session, "wait 20; say done") for _ in range(4)]
            assert [await turn.wait() for turn in turns] == ["end_turn"] * 4
            assert rig.agent("k").got("session/cancel") == []


async def test_the_ceiling_holds_while_a_person_is_asked_and_for_an_agent_that_does_not_heed(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(600):
        async with open_rig(settings(max_turn=30, cancel_grace=10)) as rig, rig.connect() as user:
            result, took = await prompted(user, "ask go")
            assert result["stopReason"] == "cancelled" and took == pytest.approx(30, abs=1)
            result, took = await prompted(user, "hang-hard")
            assert result["stopReason"] == "cancelled" and took == pytest.approx(40, abs=1)


async def test_without_them_an_agent_may_be_silent_for_hours(autojump_clock: MockClock) -> None:
    with trio.fail_after(100_000):
        async with open_rig() as rig, rig.connect() as user:
            result, _ = await prompted(user, "wait 36000; say done")
            assert result["stopReason"] == "end_turn" and notes(user) == []
            assert rig.agent("k").got("session/cancel") == []


async def test_quiet_after_says_so_once_a_silence_and_ends_nothing(autojump_clock: MockClock) -> None:
    with trio.fail_after(6000):
        async with open_rig(settings(quiet_after=60)) as rig, rig.connect() as user:
            result, _ = await prompted(user, "wait 50; say a; wait 500; say b; wait 70; say c")
            assert result["stopReason"] == "end_turn" and "_meta" not in result
            text = "the agent has said nothing for 60 s (quiet_after in [broker]); its process lives"
            assert notes(user) == [text, text]
            assert rig.agent("k").got("session/cancel") == []


async def test_quiet_after_may_cancel(autojump_clock: MockClock) -> None:
    with trio.fail_after(6000):
        config = settings(quiet_after=60, on_quiet=Quiet.CANCEL)
        async with open_rig(config) as rig, rig.connect() as user:
            result, took = await prompted(user, "wait 50; say a; hang")
            assert result["stopReason"] == "cancelled" and took == pytest.approx(110, abs=1)
            assert note_of(result).startswith("the agent has said nothing for 60 s (quiet_after in [broker])")
            assert user.said(await user.open("k")) == "a" and notes(user) == []


async def test_who_waits_for_a_person_is_not_quiet(autojump_clock: MockClock) -> None:
    with trio.fail_after(6000):
        config = settings(quiet_after=60, on_quiet=Quiet.CANCEL)
        async with open_rig(config) as rig, rig.connect() as user:
            session = await user.open("k")
            turn = user.later(user.prompt, session, "ask go; wait 59; say done")
            await user.wait_phase("k", "waiting")
            await trio.sleep(1000)
            (ask,) = (await user.call("_trio_broker/asks"))["asks"]
            await user.call("_trio_broker/answer", askId=ask["askId"], answer="allow")
            assert await turn.wait() == "end_turn"


async def test_the_next_process_of_a_session_has_them_too(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig(settings(max_turn=30)) as rig, rig.connect() as user:
            session = await user.open("k")
            await user.later(user.prompt, session, "die 1").fails()
            result, took = await prompted(user, CHATTY)
            assert result["stopReason"] == "cancelled" and took == pytest.approx(30, abs=1.5)
