"""A cancel takes no lock, is aimed at one turn, and is never lost nor outlives its turn."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from trio_broker.config.config import Restart
from trio_broker.errors import SessionOver
from trio_broker.session.turn_queue import Turn
from trio_broker.testing.clients.user import BackgroundCall, User
from trio_broker.testing.in_process.memory_agent import Habits, MemoryAgent
from trio_broker.testing.in_process.rig import Rig, open_rig, settings

BY_HAND = Habits(mute=frozenset({"session/prompt"}))
MOMENT = 0.1  # virtual seconds: everything that can happen by itself has happened then
MEGABYTE = 1_000_000


def cancels(agent: MemoryAgent) -> int:
    return len(agent.got("session/cancel"))


async def think(message: object) -> object:
    """A person who never answers."""
    await trio.sleep_forever()


async def begin(user: User, text: str) -> tuple[str, BackgroundCall[str]]:
    """A session with a running turn."""
    session = await user.open("k")
    turn = user.later(user.prompt, session, text, promptId="first")
    await user.wait_phase("k", "working", "waiting")
    await trio.sleep(MOMENT)
    return session, turn


@pytest.mark.parametrize("how", ["verb", "notification"])
@pytest.mark.parametrize("who", ["author", "another"])
async def test_d1_a_cancel_in_mid_stream_returns_at_once(
    how: str, who: str, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user, rig.connect() as other:
            session, turn = await begin(user, "say words; hang")
            await other.open("k")
            canceller = user if who == "author" else other
            with trio.fail_after(MOMENT):
                if how == "verb":
                    assert await canceller.cancel(session) == "turn"
                else:
                    canceller.client.notify("session/cancel", {"sessionId": session})
                assert await turn.wait() == "cancelled"
            assert cancels(rig.agent("k")) == 1


async def test_d1_cancelling_twice_tells_the_agent_once(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=BY_HAND) as rig, rig.connect() as user:
            session, turn = await begin(user, "x")
            for _ in range(5):
                assert await user.cancel(session) == "turn"
            await trio.sleep(MOMENT)
            agent = rig.agent("k")
            assert cancels(agent) == 1
            await agent.answer(agent.got("session/prompt")[0]["id"], stopReason="cancelled")
            assert await turn.wait() == "cancelled"


async def test_d2_a_queued_prompt_is_taken_out_and_never_reaches_the_agent(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            session, first = await begin(user, "wait 10")
            queued = user.later(user.prompt, session, "say never", promptId="second")
            await user.submit(session, "say third")
            assert await user.cancel(session, promptId="second") == "queued"
            assert await queued.wait() == "cancelled"
            assert not first.done and await first.wait() == "end_turn"
            await user.wait_phase("k", "idle")
            assert rig.agent("k").prompts() == ["wait 10", "say third"] and cancels(rig.agent("k")) == 0


async def test_d2_a_cancel_while_it_starts_hits_nothing_and_leaves_nothing_behind(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=Habits(start=10)) as rig, rig.connect() as user:
            opening = user.later(user.open, "k")
            await user.wait_phase("k", "starting")
            answer = await user.call("_trio_broker/cancel", key="k")
            assert answer == {"cancelled": "nothing", "promptId": None}
            assert await user.prompt(await opening.wait(), "say hello") == "end_turn"
            assert cancels(rig.agent("k")) == 0


async def test_d2_c22_a_cancel_while_the_prompt_is_written_follows_it_whole(
    autojump_clock: MockClock,
) -> None:
    """The client that prompted leaves as well, in the middle of its own megabyte: the line stays whole."""
    with trio.fail_after(60):
        async with open_rig(habits=Habits(stops_reading=True)) as rig, rig.connect() as user:
            async with rig.connect() as leaver:
                session = await leaver.open("k")
                leaver.later(leaver.prompt, session, "hang " + " " * MEGABYTE)
                await leaver.wait_phase("k", "working")
                await trio.sleep(MOMENT)
            assert rig.agent("k").prompts() == []
            await user.open("k")
            assert await user.cancel(session) == "turn"
            rig.agent("k").reading_resumed.set()
            await user.wait_phase("k", "idle")
            assert rig.agent("k").methods()[-2:] == ["session/prompt", "session/cancel"]
            assert await user.prompt(session, "say next") == "end_turn" and user.said(session) == "next"


@pytest.mark.parametrize("following", [True, False])
async def test_d2_a_cancel_of_a_turn_that_just_finished_spares_the_next(
    following: bool, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=BY_HAND) as rig, rig.connect() as user:
            session, first = await begin(user, "one")
            agent = rig.agent("k")
            if following:
                await user.submit(session, "two")
            await agent.answer(agent.got("session/prompt")[0]["id"], stopReason="end_turn")
            late = user.later(user.cancel, session, promptId="first")
            assert await first.wait() == "end_turn"
            assert await late.wait() == "nothing"
            assert await user.cancel(session, promptId="first") == "nothing"
            await trio.sleep(MOMENT)
            assert cancels(agent) == 0
            assert (await user.view("k"))["phase"] == ("working" if following else "idle")


@pytest.mark.parametrize("steps", range(12))
async def test_d2_a_cancel_that_crosses_the_answer_is_settled_once(
    steps: int, autojump_clock: MockClock
) -> None:
    """The cancel comes `steps` scheduling steps after the answer: whichever is first, the outcome is one."""
    with trio.fail_after(60):
        async with open_rig(habits=BY_HAND) as rig, rig.connect() as user:
            session, first = await begin(user, "one")
            agent = rig.agent("k")
            await agent.answer(agent.got("session/prompt")[0]["id"], stopReason="end_turn")
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            what = await user.cancel(session, promptId="first")
            assert await first.wait() == "end_turn", "the agent had answered"
            await trio.sleep(MOMENT)
            assert cancels(agent) == (what == "turn")
            second = user.later(user.prompt, session, "two")
            await trio.sleep(MOMENT)
            assert (await user.view("k"))["phase"] == "working"
            await agent.answer(agent.got("session/prompt")[1]["id"], stopReason="end_turn")
            assert await second.wait() == "end_turn"


async def test_d2_a_cancel_in_the_very_step_of_the_answer_and_ever_after_is_nothing(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            id = await user.open("k")
            session, found = rig.session("k"), list[str]()
            params = b'{"sessionId":"%b","prompt":[{"type":"text","text":"say one"}]}' % id.encode()
            turn = Turn(params)
            turn.on_end(lambda _: found.append(session.cancel(turn)))
            session.submit(turn)
            await turn.wait()
            following = user.later(user.prompt, id, "wait 5")
            await user.wait_phase("k", "working")
            assert [*found, session.cancel(turn)] == ["nothing", "nothing"]
            assert await following.wait() == "end_turn" and cancels(rig.agent("k")) == 0


@pytest.mark.parametrize("how", ["verb", "notification"])
async def test_d7_a_cancel_without_a_turn_writes_nothing(how: str, autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k")
            if how == "verb":
                assert await user.cancel(session) == "nothing"
            else:
                user.client.notify("session/cancel", {"sessionId": session})
            assert await user.prompt(session, "say hello") == "end_turn"
            assert cancels(rig.agent("k")) == 0


async def test_d3_an_agent_that_ignores_a_cancel_is_ended_after_its_grace(autojump_clock: MockClock) -> None:
    with trio.fail_after(120):
        config = settings(cancel_grace=20)
        async with open_rig(config, Habits(ignores_eof=True)) as rig, rig.connect() as user:
            session, turn = await begin(user, "hang-hard")
            begun = trio.current_time()
            assert await user.cancel(session) == "turn"
            await trio.sleep(19)
            assert not turn.done and (await user.view("k"))["phase"] == "cancelling"
            assert await turn.wait() == "cancelled"
            assert trio.current_time() - begun == pytest.approx(20, abs=0.5)
            assert "cancel_grace in [broker]" in (await user.view("k"))["error"]
            await rig.agent("k").exited.wait()
            ends = [event["outcome"] for event in user.events if event["kind"] == "ended"]
            assert ends == ["cancelled"], "the end of its process is no second end of the turn"


async def test_d10_what_waits_behind_a_turn_that_ignores_its_cancel_runs_in_the_next_process(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(120):
        config = settings(cancel_grace=20)
        async with open_rig(config, Habits(ignores_eof=True, resume=True)) as rig, rig.connect() as user:
            session, turn = await begin(user, "hang-hard")
            deaf = rig.agent("k")
            queued = user.later(user.prompt, session, "say next")
            assert await user.cancel(session) == "turn"
            assert await turn.wait() == "cancelled"
            assert await queued.wait() == "end_turn" and user.said(session) == "next"
            assert rig.agent("k") is not deaf and deaf.exit is not None
            assert rig.agent("k").prompts() == ["say next"] and (await user.view("k"))["resumed"] == "exact"


async def test_an_agent_that_is_never_restarted_takes_what_waits_with_it(autojump_clock: MockClock) -> None:
    with trio.fail_after(120):
        config = settings(cancel_grace=20, restart=Restart.NEVER)
        async with open_rig(config) as rig, rig.connect() as user:
            session, turn = await begin(user, "hang-hard")
            queued = user.later(user.prompt, session, "say next")
            assert await user.cancel(session) == "turn"
            assert await turn.wait() == "cancelled"
            error = await queued.fails()
            assert isinstance(error, SessionOver) and error.details["sent"] is False


async def test_d3_the_answer_says_why_an_agent_was_ended(autojump_clock: MockClock) -> None:
    with trio.fail_after(120):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k")
            blocks = [{"type": "text", "text": "hang-hard"}]
            turn = user.later(user.call, "session/prompt", sessionId=session, prompt=blocks)
            await user.wait_phase("k", "working")
            await user.cancel(session)
            result = await turn.wait()
            assert result["stopReason"] == "cancelled"
            assert "ignored the cancel" in result["_meta"]["trio-broker"]["note"]
            await rig.agent("k").exited.wait()


async def test_d3_an_error_as_the_answer_to_a_cancelled_prompt_is_a_cancel(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=BY_HAND) as rig, rig.connect() as user:
            session, turn = await begin(user, "x")
            assert await user.cancel(session) == "turn"
            agent = rig.agent("k")
            await agent.refuse(agent.got("session/prompt")[0]["id"], {"code": -32603, "message": "aborted"})
            assert await turn.wait() == "cancelled"
            assert (await user.view("k"))["phase"] == "idle"


async def test_d3_an_agent_that_dies_of_a_cancel_has_cancelled(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=BY_HAND) as rig, rig.connect() as user:
            session, turn = await begin(user, "x")
            assert await user.cancel(session) == "turn"
            rig.agent("k").kill()
            assert await turn.wait() == "cancelled"
            assert (await user.view("k"))["phase"] == "dead"


@pytest.mark.parametrize("asked", [True, False])
async def test_d4_a_cancel_answers_an_open_permission_as_cancelled(
    asked: bool, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect(think) as user:
            session, turn = await begin(user, "ask to go on; hang")
            if not asked:
                await hold_alone(rig, user, session)
            assert (await user.view("k"))["phase"] == "waiting"
            assert await user.cancel(session) == "turn"
            assert await turn.wait() == "cancelled"
            responses = [message for message in rig.agent("k").received if "result" in message]
            assert [response["result"] for response in responses] == [{"outcome": {"outcome": "cancelled"}}]
            assert asked is any(message.method == "$/cancel_request" for message in user.messages)
            assert (await user.view("k"))["asks"] == 0


async def hold_alone(rig: Rig, user: User, session: str) -> None:
    """Have the user listen no more: the ask is held, for nobody is there."""
    async with rig.connect(think) as other:
        await other.open("k")
        await user.call("initialize", protocolVersion=1)
        await user.call("session/close", sessionId=session)
    user.messages.clear()


async def test_d4_a_permission_asked_after_the_cancel_is_cancelled_too(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=BY_HAND) as rig, rig.connect() as user:
            session, turn = await begin(user, "x")
            await user.cancel(session)
            agent = rig.agent("k")
            response = await agent.ask("one more thing")
            assert response["result"] == {"outcome": {"outcome": "cancelled"}} and user.asked() == []
            await agent.answer(agent.got("session/prompt")[0]["id"], stopReason="cancelled")
            assert await turn.wait() == "cancelled"


async def test_d5_a_cancel_ends_the_callers_queued_prompts_and_spares_those_of_others(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user, rig.connect() as other:
            session, turn = await begin(user, "hang")
            mine = user.later(user.prompt, session, "say mine")
            await trio.sleep(MOMENT)
            theirs = other.later(other.call, "_trio_broker/submit", key="k", prompt=[])
            await trio.sleep(MOMENT)
            user.client.notify("session/cancel", {"sessionId": session})
            assert await turn.wait() == await mine.wait() == "cancelled"
            assert (await theirs.wait())["position"] == 2
            await user.wait_phase("k", "idle")
            assert (await user.view("k"))["turns"] == 2


async def test_d5_ids_of_prompts_match_whole(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            session, _ = await begin(user, "hang")
            ids = ["T1", "T10", "19:abc@thread.v2", "19:abc"]
            for id in ids:
                await user.submit(session, f"say {id}", promptId=id)
            for id in ("T", "19:", "", "t1"):
                assert await user.cancel(session, promptId=id) == "nothing"
            assert await user.cancel(session, promptId="T1") == "queued"
            assert await user.cancel(session, promptId="19:abc") == "queued"
            left = [queued["promptId"] for queued in (await user.view("k"))["queued"]]
            assert left == ["T10", "19:abc@thread.v2"]
            assert cancels(rig.agent("k")) == 0


@pytest.mark.parametrize("how", ["max_turn", "interrupt", "verb"])
async def test_d3_a_cancel_that_the_agent_can_not_hear_counts_all_the_same(
    how: str, autojump_clock: MockClock
) -> None:
    with trio.fail_after(600):
        config = settings(cancel_grace=20, max_turn=0.4 if how == "max_turn" else 0)
        async with open_rig(config, Habits(resume=True, ignores_eof=True)) as rig, rig.connect() as user:
            session, turn = await begin(user, "hang-hard")
            await rig.agent("k").stdin.aclose()  # as an agent's that shuts its ear
            user.client.notify("_more", {"sessionId": session})
            await trio.sleep(MOMENT)
            if how == "verb":
                assert await user.cancel(session) == "turn"
            elif how == "interrupt":
                now = user.later(user.prompt, session, "say now", ifBusy="interrupt")
                assert "never sent" in (await now.fails()).message
            assert await turn.wait() == "cancelled"
            assert await user.prompt(session, "say next") == "end_turn"
