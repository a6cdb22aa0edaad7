"""The client of most tests: what it keeps of what it receives, its calls in the background, and its answers."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from trio_broker.errors import BrokerError
from trio_broker.testing.clients.user import allow, prompt_params
from trio_broker.testing.in_process.rig import open_rig


async def test_updates_are_kept_by_session_and_said_is_their_text(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig() as rig, rig.connect() as user:
            one, other = await user.open("one"), await user.open("other")
            await user.prompt(one, "say a; say b")
            await user.prompt(other, "say c")
            assert (user.said(one), user.said(other)) == ("ab", "c")
            assert [update["sessionUpdate"] for update in user.updates(one)] == ["agent_message_chunk"] * 2


async def test_a_call_in_the_background_has_a_result_or_an_error(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k")
            turn, wrong = user.later(user.prompt, session, "wait 5"), user.later(user.call, "no/such")
            assert (turn.name, turn.done, wrong.done) == ("prompt", False, False)
            assert await turn.wait() == "end_turn" and turn.done
            assert "Method not found" in (await wrong.fails()).message
            with pytest.raises(BrokerError):
                await wrong.wait()
            with pytest.raises(AssertionError, match="it gave 'end_turn'"):
                await turn.fails()


async def test_leaving_ends_the_calls_in_the_background(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig() as rig:
            async with rig.connect() as user:
                turn = user.later(user.prompt, await user.open("k"), "hang")
                await user.wait_phase("k", "working")
            assert not turn.done and rig.users == []


async def test_allow_answers_permission_requests_and_the_default_abstains(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k")
            turn = user.later(user.prompt, session, "ask edit it")
            await user.wait_phase("k", "waiting")
            assert len(user.asked()) == 1 and not turn.done
            user.on_request = allow
            await user.cancel(session)
            assert await turn.wait() == "cancelled"
            await user.prompt(session, "ask again")
            assert user.said(session).endswith("allow")


def test_the_parameters_of_a_prompt_have_options_in_meta() -> None:
    assert "_meta" not in prompt_params("s", "x")
    assert list(prompt_params("s", "x", promptId="p")["_meta"].values()) == [{"promptId": "p"}]
