"""A turn ends by the answer to its own request or by the end of the process, and by nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_broker.errors import AgentGone, BrokerError, Misuse, RemoteError, SpawnFailed
from trio_broker.model import Cancelled, Exit
from trio_broker.session.turn_queue import Turn
from trio_broker.supervision import LAST_WORDS
from trio_broker.testing.clients.user import BackgroundCall, User
from trio_broker.testing.in_process.memory_agent import Habits, MemoryAgent
from trio_broker.testing.in_process.rig import Rig, open_rig, settings

BY_HAND = Habits(mute=frozenset({"session/prompt"}))
MOMENT = 0.1  # virtual seconds: everything that can happen by itself has happened then


async def begin(rig: Rig, user: User, **more: Any) -> tuple[str, MemoryAgent, BackgroundCall[str], int]:
    """A session whose first turn the test is to answer: its id, its agent, the prompt, and the agent's id for that."""
    session = await user.open("k", **more)
    turn = user.later(user.prompt, session, "one")
    await user.wait_phase("k", "working")
    await trio.sleep(MOMENT)
    agent = rig.agent("k")
    return session, agent, turn, agent.got("session/prompt")[0]["id"]


@pytest.mark.parametrize("id", [999, -1, 0, "1", "ask-1", 3.0, True, None, [3]])
async def test_c1_no_other_answer_ends_a_turn(id: object, autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=BY_HAND) as rig, rig.connect() as user:
            _, agent, turn, own = await begin(rig, user)
            assert own == 3, "some of the ids look like it"
            await agent.answer(id, stopReason="end_turn")
            await agent.refuse(id, {"code": 1, "message": "no"})
            await trio.sleep(MOMENT)
            assert not turn.done and (await user.view("k"))["rejected_lines"] == 2
            await agent.answer(own, stopReason="end_turn")
            assert await turn.wait() == "end_turn"


async def test_c2_a_second_answer_to_the_last_turn_does_not_end_the_next(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=BY_HAND) as rig, rig.connect() as user:
            session, agent, first, own = await begin(rig, user)
            second = user.later(user.prompt, session, "two")
            await agent.answer(own, stopReason="end_turn")
            await agent.answer(own, stopReason="refusal")
            await agent.refuse(own, {"code": 1, "message": "no"})
            assert await first.wait() == "end_turn"
            await trio.sleep(MOMENT)
            assert not second.done and agent.prompts() == ["one", "two"]
            await agent.answer(agent.got("session/prompt")[1]["id"], stopReason="max_tokens")
            assert await second.wait() == "max_tokens"


async def test_c3_a_cancelled_turn_has_all_its_words_before_the_next_begins(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=BY_HAND) as rig, rig.connect() as user:
            session, agent, first, own = await begin(rig, user)
            second = user.later(user.prompt, session, "two")
            await user.cancel(session)
            for number in range(50):
                await agent.say(f"{number} ")
                await trio.sleep(0.2)
                assert agent.prompts() == ["one"], "the next prompt waits for the answer to this one"
            assert not first.done
            await agent.answer(own, stopReason="cancelled")
            assert await first.wait() == "cancelled"
            assert user.said(session).split() == [str(number) for number in range(50)]
            await trio.sleep(MOMENT)
            assert agent.prompts() == ["one", "two"] and not second.done


@pytest.mark.parametrize("delay", [0, 0.1, 5])
async def test_c4_words_after_the_answer_arrive_after_it(delay: float, autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=BY_HAND) as rig, rig.connect() as user:
            session, agent, turn, own = await begin(rig, user)
            await agent.say("before ")
            await agent.answer(own, stopReason="end_turn")
            await trio.sleep(delay)
            await agent.say("after")
            assert await turn.wait() == "end_turn"
            await trio.sleep(MOMENT)
            assert user.said(session) == "before after"
            updates, answer = "session/update", b"stopReason"
            order = [
                one.method for one in user.messages if one.method == updates or answer in (one.result or b"")
            ]
            assert order == [updates, None, updates]


async def test_c26_words_of_an_agent_that_has_no_turn_are_delivered(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            async with rig.connect() as first:
                session = await first.open("k")
            await rig.agent("k").say("nobody hears; ")
            assert await user.open("k") == session
            await rig.agent("k").say("somebody does")
            await trio.sleep(MOMENT)
            assert user.said(session) == "nobody hears; somebody does"


ENDS: dict[str, tuple[str, dict[str, Any]]] = {
    "die 3": ("exit code 3", {"exitCode": 3, "signal": None}),
    "die 0": ("exit code 0", {"exitCode": 0, "signal": None}),
    "close-stdout; hang": ("closed its stdout", {}),
}


@pytest.mark.parametrize("act", ENDS)
async def test_c5_c6_the_end_of_the_agent_is_told_at_once_and_is_no_answer(
    act: str, autojump_clock: MockClock
) -> None:
    words, details = ENDS[act]
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k")
            begun = trio.current_time()
            error = await user.later(user.prompt, session, f"say half an answer; {act}").fails()
            assert isinstance(error, AgentGone) and words in error.message
            assert details.items() <= error.details.items()
            assert trio.current_time() - begun < 2
            assert user.said(session) == "half an answer"


async def test_c6_a_signal_and_the_last_words_are_told(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            turn = user.later(user.prompt, await user.open("k"), "hang")
            await user.wait_phase("k", "working")
            await rig.agent("k").write_stderr("out of memory")
            rig.agent("k").kill(9)
            error = await turn.fails()
            assert isinstance(error, AgentGone) and error.details["signal"] == "SIGKILL"
            assert "out of memory" in error.message and "out of memory" in error.details["stderrTail"]
            assert (await user.view("k"))["phase"] == "dead"


async def test_c6_an_answer_in_the_same_moment_as_the_exit_counts(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=BY_HAND) as rig, rig.connect() as user:
            _, agent, turn, own = await begin(rig, user)
            await agent.answer(own, stopReason="end_turn")
            agent.kill()
            assert await turn.wait() == "end_turn"


async def test_c8_two_hours_in_a_tool_call_are_no_reason_to_end_it(autojump_clock: MockClock) -> None:
    with trio.fail_after(10_000):
        async with open_rig(settings(liveness=5)) as rig, rig.connect() as user:
            assert await user.prompt(await user.open("k"), "wait 7200; say done") == "end_turn"
            assert rig.agent("k").got("session/cancel") == []


async def test_c10_a_late_answer_to_who_has_left_ends_no_turn(autojump_clock: MockClock) -> None:
    habits = Habits(mute=frozenset({"session/prompt", "session/set_mode"}))
    with trio.fail_after(60):
        async with open_rig(habits=habits) as rig, rig.connect() as user:
            session, agent, turn, own = await begin(rig, user)
            async with rig.connect() as leaver:
                await leaver.open("k")
                leaver.later(leaver.call, "session/set_mode", sessionId=session, modeId="fast")
                await trio.sleep(MOMENT)
            late = agent.got("session/set_mode")[0]["id"]
            await agent.answer(late)
            await agent.answer(late)
            await trio.sleep(MOMENT)
            assert not turn.done
            await agent.answer(own, stopReason="end_turn")
            assert await turn.wait() == "end_turn"


async def test_c12_a_request_of_the_agent_under_our_own_id_is_no_answer(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=BY_HAND) as rig, rig.connect() as user:
            _, agent, turn, own = await begin(rig, user, policy="approve-all")
            response = await agent.ask("collide", id=own)
            assert response["id"] == own and response["result"]["outcome"]["optionId"] == "allow"
            assert not turn.done
            await agent.answer(own, stopReason="end_turn")
            assert await turn.wait() == "end_turn"


@pytest.mark.parametrize("id", ["a string", "", "1", -7, 0, 10**15, 1.5])
async def test_c14_an_agent_gets_its_answers_under_its_own_id(id: object, autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            await user.open("k", policy="deny-all")
            response = await rig.agent("k").ask("same id", id=id)
            assert response["id"] == id and type(response["id"]) is type(id)


async def test_c14_c15_lines_that_mean_nothing_are_counted_and_kept_and_end_nothing(
    autojump_clock: MockClock,
) -> None:
    lines = [b"Welcome to the agent!", b"\xff\xfe bad bytes", b"[]", b'{"jsonrpc":"2.0"}', b"null", b"{"]
    with trio.fail_after(60):
        async with open_rig(habits=BY_HAND) as rig, rig.connect() as user:
            session, agent, turn, own = await begin(rig, user)
            for line in lines:
                await agent.write(line + b"\n")
            await agent.say("alive")
            await agent.answer(own, stopReason="end_turn")
            assert await turn.wait() == "end_turn" and user.said(session) == "alive"
            assert (await user.view("k"))["rejected_lines"] == len(lines)
            kept = (await user.call("_trio_broker/logs", sessionId=session))["rejected"]
            assert kept[0] == "Welcome to the agent!" and len(kept) == len(lines)


async def test_c15_a_line_above_the_limit_ends_its_session_with_a_reason(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(settings(max_line=2000), BY_HAND) as rig, rig.connect() as user:
            session, agent, turn, _ = await begin(rig, user)
            await agent.say("x" * 1800)
            await agent.say("y" * 2000)
            error = await turn.fails()
            assert isinstance(error, AgentGone) and "max_line in [broker]" in error.message
            assert user.said(session) == "x" * 1800


async def test_c16_messages_of_another_session_are_counted_and_not_mixed_in(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=BY_HAND) as rig, rig.connect() as user:
            session, agent, turn, own = await begin(rig, user)
            other, closed = await user.open("other"), await user.open("closed")
            await user.call("_trio_broker/close", key="closed")
            for foreign in (closed, other):
                await agent.send({"method": "session/update", "params": {"sessionId": foreign, "update": {}}})
            refused = await agent.request("session/request_permission", {"sessionId": other})
            assert refused["error"]["code"] == -32602
            await agent.answer(own, stopReason="end_turn")
            await turn.wait()
            assert (await user.view("k"))["foreign"] == 3
            assert user.updates(closed) == user.updates(other) == user.updates(session) == []


@pytest.mark.parametrize(
    "reason", ["end_turn", "refusal", "max_tokens", "max_turn_requests", "cancelled", "new one"]
)
async def test_c17_every_stop_reason_reaches_the_caller(reason: str, autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=BY_HAND) as rig, rig.connect() as user:
            _, agent, turn, own = await begin(rig, user)
            await agent.answer(own, stopReason=reason)
            assert await turn.wait() == reason


ERRORS: dict[str, tuple[object, tuple[int, str, object]]] = {
    "whole": (
        {"code": -32000, "message": "log in", "data": {"why": [1, None]}},
        (-32000, "log in", {"why": [1, None]}),
    ),
    "no message": ({"code": 7}, (7, "the agent gave an error without a message", None)),
    "no object": ("boom", (-32603, "the agent answered with a malformed error: 'boom'", None)),
}


@pytest.mark.parametrize("name", ERRORS)
async def test_c18_an_error_of_the_agent_reaches_the_caller_whole(
    name: str, autojump_clock: MockClock
) -> None:
    given, expected = ERRORS[name]
    with trio.fail_after(60):
        async with open_rig(habits=BY_HAND) as rig, rig.connect() as user:
            _, agent, turn, own = await begin(rig, user)
            await agent.refuse(own, given)
            error = await turn.fails()
            assert isinstance(error, RemoteError)
            assert (error.rpc_code, error.message, error.remote_data) == expected
            assert (await user.view("k"))["phase"] == "idle", "an error is an answer; the session lives"


async def test_c23_a_caller_that_gives_up_ends_only_its_own_waiting(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k")
            with trio.move_on_after(5):
                await user.prompt(session, "say first; wait 20; say still first")
            assert (await user.view("k"))["phase"] == "working"
            assert await user.prompt(session, "say second") == "end_turn"
            assert user.said(session) == "firststill firstsecond"
            assert rig.agent("k").got("session/cancel") == []


@pytest.mark.parametrize("version", [0, 2, "1", None])
async def test_c24_an_agent_of_another_version_is_refused_with_a_reason(
    version: Any, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=Habits(version=version)) as rig, rig.connect() as user:
            error: BrokerError = await user.later(user.open, "k").fails()
            assert isinstance(error, SpawnFailed) and "ersion" in error.message
            await rig.agent("k").exited.wait()


async def test_c7_an_end_that_no_event_tells_of_is_found_by_a_look(autojump_clock: MockClock) -> None:
    """Its pipes are open still, as a child of it holds them, and the system's word of its end got lost."""
    with trio.fail_after(60):
        async with open_rig(settings(liveness=5), habits=BY_HAND) as rig, rig.connect() as user:
            _, agent, turn, _ = await begin(rig, user)
            agent.exit = Exit(signal=9)
            await trio.sleep(5 + LAST_WORDS + MOMENT)
            agent.exited.set()
            assert isinstance(await turn.fails(), AgentGone)


async def test_c6_the_last_words_of_a_process_that_was_found_gone_count(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(settings(liveness=5), habits=BY_HAND) as rig, rig.connect() as user:
            _, agent, turn, own = await begin(rig, user)
            agent.exit = Exit(code=0)
            await trio.sleep(5 + LAST_WORDS / 2)
            assert not turn.done
            await agent.answer(own, stopReason="end_turn")
            assert await turn.wait() == "end_turn"
            agent.exited.set()


async def test_d2_a_prompt_cancelled_in_the_moment_it_came_is_never_sent(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k")
            turns, turn = rig.session("k").turns, Turn(b'{"prompt":[]}')
            turns.submit(turn)
            assert turns.cancel(turn) == "queued" and isinstance(turn.outcome, Cancelled)
            await trio.sleep(MOMENT)
            assert await user.prompt(session, "say next") == "end_turn"
            assert rig.agent("k").prompts() == ["say next"]


async def test_a_prompt_for_an_agent_that_shut_its_ear_fails_at_once(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=Habits(stops_reading=True)) as rig, rig.connect() as user:
            session = await user.open("k")
            rig.agent("k")._in[1].close()
            user.later(user.call, "session/set_mode", sessionId=session, modeId="fast")
            await trio.sleep(MOMENT)  # that was lost on the way
            error = await user.later(user.prompt, session, "say hello").fails()
            assert isinstance(error, AgentGone) and "stdin is closed" in error.message


async def test_only_the_last_prompts_are_remembered(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_broker.session.turn_queue.REMEMBERED_OUTCOMES", 2)
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k")
            for id in "abc":
                await user.prompt(session, f"say {id}", promptId=id)
            assert [*rig.session("k").turns.outcomes] == ["b", "c"]
            with pytest.raises(Misuse, match="has run already"):
                await user.prompt(session, "say c", promptId="c")
            await user.prompt(session, "say a", promptId="a")
            assert rig.agent("k").prompts() == ["say a", "say b", "say c", "say a"]
