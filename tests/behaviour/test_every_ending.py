"""Endings: every accepted message has one outcome, no process stays, and the broker stops within its budget."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from trio_broker.agent.lifecycle import SessionSettings
from trio_broker.agent.process import Agent
from trio_broker.config.config import Restart
from trio_broker.errors import AgentGone, BrokerError, Draining, SessionOver, SpawnFailed
from trio_broker.model import Exit
from trio_broker.protocol.jsonrpc import Kind
from trio_broker.testing.clients.user import BackgroundCall, Json, User
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import Rig, open_rig, settings

STUBBORN = Habits(ignores_eof=True, ignores_term=True)
MOMENT = 0.1  # virtual seconds: everything that can happen by itself has happened then
MEGABYTE = 1_000_000


async def outcome(call: BackgroundCall[str]) -> str:
    """The stop reason, or the code of the error."""
    try:
        return await call.wait()
    except BrokerError as error:
        return error.code


def answers(user: User) -> list[bytes]:
    """The ids of all the responses that the user got."""
    return [message.id or b"" for message in user.messages if message.kind is Kind.RESPONSE]


STAGES = {
    "writing": ("x" * MEGABYTE, Habits(stops_reading=True), "agent_gone"),
    "streaming": ("say a; wait 50; say b", Habits(), "agent_gone"),
    "silent": ("hang", Habits(), "agent_gone"),
    "asking": ("ask go", Habits(), "agent_gone"),
    "answered": ("say done", Habits(), "end_turn"),
    "cancelling": ("hang-hard", Habits(), "cancelled"),
}


@pytest.mark.parametrize("stage", STAGES)
async def test_e2_every_accepted_message_has_one_outcome_when_the_agent_dies(
    stage: str, autojump_clock: MockClock
) -> None:
    async def think(message: object) -> object:
        await trio.sleep_forever()

    text, habits, expected = STAGES[stage]
    with trio.fail_after(120):
        async with open_rig(habits=habits) as rig, rig.connect(think) as user:
            session = await user.open("k")
            first = user.later(user.prompt, session, text)
            await trio.sleep(MOMENT)
            queued = [user.later(user.prompt, session, "hang") for _ in range(3)]
            await trio.sleep(MOMENT)
            if stage == "cancelling":
                await user.cancel(session)
            rig.agent("k").kill()
            assert await outcome(first) == expected
            rest = [await outcome(one) for one in queued]
            assert sorted(rest) == sorted(
                ["agent_gone" if stage == "answered" else "session_over", *["session_over"] * 2]
            )
            await trio.sleep(60)
            assert len(answers(user)) == len(set(answers(user)))


@pytest.mark.parametrize("ending", ["close", "kill"])
async def test_e2_a_close_settles_the_running_and_the_queued_at_once(
    ending: str, autojump_clock: MockClock
) -> None:
    with trio.fail_after(120):
        async with open_rig(habits=STUBBORN) as rig, rig.connect() as user:
            session = await user.open("k")
            running = user.later(user.prompt, session, "hang-hard")
            await user.wait_phase("k", "working")
            queued = user.later(user.prompt, session, "say never")
            await trio.sleep(MOMENT)
            closing = user.later(user.call, f"_trio_broker/{ending}", sessionId=session)
            with trio.fail_after(MOMENT):
                assert isinstance(await running.fails(), SessionOver)
                error = await queued.fails()
                assert isinstance(error, SessionOver) and error.details["sent"] is False
            begun = trio.current_time()
            closed = await closing.wait()
            assert closed["closed"] and closed["exit"]["signal"] == "SIGKILL"
            assert trio.current_time() - begun == pytest.approx(0 if ending == "kill" else 10, abs=0.5)
            assert rig.agents.alive() == []


@pytest.mark.parametrize(
    ("habits", "seconds", "signals"),
    [
        (Habits(), 0, []),
        (Habits(ignores_eof=True), 3, [15]),
        (STUBBORN, 5, [9]),
    ],
)
async def test_f8_a_close_climbs_down_the_ladder(
    habits: Habits, seconds: float, signals: list[int], autojump_clock: MockClock
) -> None:
    with trio.fail_after(120):
        config = settings(close_grace=3, term_grace=2)
        async with open_rig(config, habits) as rig, rig.connect() as user:
            await user.open("k")
            begun = trio.current_time()
            await user.call("_trio_broker/close", key="k")
            assert trio.current_time() - begun == pytest.approx(seconds, abs=0.5)
            assert rig.agents.spawned[0].signals == signals


async def test_a_client_that_leaves_a_prompt_leaves_the_turn_to_itself(autojump_clock: MockClock) -> None:
    with trio.fail_after(120):
        async with open_rig() as rig, rig.connect() as stayer:
            session = await stayer.open("k")
            async with rig.connect() as leaver:
                await leaver.open("k")
                for text in ("wait 20; say first", "say second"):
                    leaver.later(leaver.prompt, session, text)
                    await trio.sleep(MOMENT)
            assert (await stayer.view("k"))["queue"] == 1
            await trio.sleep(30)
            assert rig.agent("k").got("session/cancel") == []
            assert stayer.said(session) == "firstsecond"


async def test_session_close_of_one_of_two_clients_detaches_that_one(autojump_clock: MockClock) -> None:
    with trio.fail_after(120):
        async with open_rig() as rig, rig.connect() as one, rig.connect() as two:
            session = await one.open("k")
            await two.open("k")
            await one.call("session/close", sessionId=session)
            await two.prompt(session, "say hello")
            assert (one.said(session), two.said(session)) == ("", "hello")
            assert len(rig.agents.alive()) == 1
            await two.call("session/close", sessionId=session)
            assert rig.agents.alive() == []
            assert (await two.call("session/list"))["sessions"] == []


@pytest.mark.parametrize("how", ["close", "delete"])
async def test_a_session_that_its_client_ends_cancels_its_prompts(
    how: str, autojump_clock: MockClock
) -> None:
    """ACP has close end what runs as a cancel would, and a cancelled turn ends with a stop reason, no error."""
    with trio.fail_after(120):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k")
            await user.call("initialize", protocolVersion=1)
            running = user.later(user.prompt, session, "say on; hang")
            await trio.sleep(MOMENT)
            queued = user.later(user.prompt, session, "say never")
            await trio.sleep(MOMENT)
            await user.call(f"session/{how}", sessionId=session)
            assert (await outcome(running), await outcome(queued)) == ("cancelled", "cancelled")
            assert rig.agents.alive() == []


async def test_one_that_is_not_to_be_restarted_can_be_looked_at_and_opened_anew(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(120):
        async with open_rig(settings(restart=Restart.NEVER)) as rig, rig.connect() as user:
            session = await user.open("k")
            assert await outcome(user.later(user.prompt, session, "die 7")) == "agent_gone"
            assert "exit code 7" in (await user.view("k"))["error"]
            for _ in range(2):
                error = await user.later(user.prompt, session, "say hello").fails()
                assert isinstance(error, SessionOver) and "exit code 7" in error.message
            await trio.sleep(1)
            assert await user.prompt(await user.open("k"), "say hello") == "end_turn"


async def fail_to_spawn(settings: SessionSettings) -> Agent:
    await trio.lowlevel.checkpoint()
    raise SpawnFailed("no such program")


async def test_f13_an_agent_that_fails_again_and_again_is_given_a_rest(autojump_clock: MockClock) -> None:
    attempts = 0

    async def spawn(settings: SessionSettings) -> Agent:
        nonlocal attempts
        attempts += 1
        return await fail_to_spawn(settings)

    with trio.fail_after(6000):
        async with open_rig(spawn=spawn) as rig, rig.connect() as user:
            for number in range(200):
                assert isinstance(await user.later(user.open, f"k{number}").fails(), SpawnFailed)
            assert attempts == 3
            error = await user.later(user.open, "k").fails()
            assert "not tried again" in error.message and error.details["failures"] == 3
            failing = (await user.status())["failing"]
            assert failing["demo"]["failures"] == 3 and 0 < failing["demo"]["retry_in"] <= 1
            for rest in (1, 2, 4, 8, 16, 32, 60, 60):
                before = attempts
                await trio.sleep(rest - 0.5)
                await user.later(user.open, "k").fails()
                assert attempts == before
                await trio.sleep(0.6)
                await user.later(user.open, "k").fails()
                assert attempts == before + 1
            await user.later(user.open, "k", command=["another"]).fails()
            assert attempts == before + 2, "another agent is not given a rest for it"


async def test_f13_a_start_that_works_forgets_the_failures(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        config = settings(start_timeout=1)
        async with open_rig(config, Habits(never_starts=True)) as rig, rig.connect() as user:
            for _ in range(2):
                await user.later(user.open, "k").fails()
            rig.agents.habits = Habits()
            await user.open("k")
            assert (await user.status())["failing"] == {}


async def test_g5_twenty_hung_agents_are_ended_within_the_budget(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        config = settings(close_grace=4, term_grace=3)
        async with open_rig(config, STUBBORN) as rig, rig.connect() as user:
            turns = [
                user.later(user.prompt, await user.open(f"k{number}"), "hang-hard") for number in range(20)
            ]
            await trio.sleep(MOMENT)
            begun = trio.current_time()
            await user.call("_trio_broker/shutdown")
            with trio.fail_after(MOMENT):
                for turn in turns:
                    assert isinstance(await turn.fails(), SessionOver)
            await rig.ended.wait()
            assert trio.current_time() - begun == pytest.approx(7, abs=0.5)
            assert rig.agents.alive() == []


async def test_g5_what_is_still_there_at_the_end_of_the_budget_is_killed(autojump_clock: MockClock) -> None:
    """One starts, one waits for its turn to start, one is just closing: none of them is forgotten."""
    with trio.fail_after(600):
        config = settings(max_starting=1)
        async with open_rig(config, STUBBORN) as rig, rig.connect() as user:
            await user.open("closing")
            user.later(user.call, "_trio_broker/close", key="closing")
            rig.agents.habits = Habits(never_starts=True)
            starts = [user.later(user.open, key) for key in ("one", "two")]
            await trio.sleep(MOMENT)
            rig.broker.stop()
            rig.broker.stop()
            for start in starts:
                assert isinstance(await start.fails(), SessionOver)
            await rig.ended.wait()
            assert rig.agents.alive() == [] and trio.current_time() < 16


@pytest.mark.parametrize("steps", range(8))
async def test_g6_messages_that_race_the_end_are_served_or_told(
    steps: int, autojump_clock: MockClock
) -> None:
    with trio.fail_after(600):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k")
            calls: list[BackgroundCall[str]] = []
            for number in range(10):
                calls.append(user.later(user.open, f"new{number}"))
                calls.append(user.later(user.prompt, session, "say hello"))
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            rig.broker.stop()
            for call in calls:
                if (error := await ended(call)) is not None:
                    assert isinstance(error, Draining | SessionOver), error
            await rig.ended.wait()
            assert isinstance(await user.later(user.open, "late").fails(), Draining)
            assert rig.agents.alive() == []


async def ended(call: BackgroundCall[str]) -> BrokerError | None:
    try:
        await call.wait()
    except BrokerError as error:
        return error
    return None


async def test_g6_a_broker_that_was_cancelled_says_that_it_stops(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig() as rig, rig.connect() as user:
            rig.cancel_scope.cancel()
            await rig.ended.wait()
            assert (await user.later(user.open, "k").fails()).code == "draining"


@pytest.mark.parametrize("stopping", [True, False])
async def test_g7_the_axe_ends_everything_at_once(stopping: bool, autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig(habits=STUBBORN) as rig, rig.connect() as user:
            turns = [
                user.later(user.prompt, await user.open(f"k{number}"), "hang-hard") for number in range(5)
            ]
            await trio.sleep(MOMENT)
            if stopping:
                rig.broker.stop()
                await trio.sleep(1)
            begun = trio.current_time()
            rig.cancel_scope.cancel()
            await rig.ended.wait()
            for turn in turns:
                assert isinstance(await turn.fails(), SessionOver)
            assert trio.current_time() - begun < MOMENT
            assert {agent.exit for agent in rig.agents.spawned} == {Exit(signal=9)}


async def test_d14_a_fault_of_ours_in_one_session_ends_that_one_only(autojump_clock: MockClock) -> None:
    async def faulty(rig: Rig, settings: SessionSettings) -> Agent:
        if settings.key == "bad":
            raise ZeroDivisionError("a fault of ours")
        return await rig.agents.spawn(settings)

    rigs: list[Rig] = []
    with trio.fail_after(60):
        async with open_rig(spawn=lambda settings: faulty(rigs[0], settings)) as rig, rig.connect() as user:
            rigs.append(rig)
            session = await user.open("good")
            assert isinstance(await user.later(user.open, "bad").fails(), SessionOver)
            assert await user.prompt(session, "say alive") == "end_turn"
            told: Json = await user.view("bad")
            assert told["phase"] == "dead" and "failed in it" in told["error"]


async def test_c5_an_agent_that_dies_idle_is_seen_at_once(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k")
            rig.agent("k").kill()
            await trio.sleep(1)
            assert (await user.view("k"))["phase"] == "dead"
            assert [event["phase"] for event in user.events if event.get("event") == "ended"] == ["dead"]
            assert await user.prompt(session, "x") == "end_turn", "it is woken for the next prompt"


async def test_c5_an_agent_that_shuts_its_ear_is_given_up_when_it_is_to_hear_more(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(600):
        async with open_rig(habits=Habits(ignores_eof=True)) as rig, rig.connect() as user:
            session = await user.open("k")
            await rig.agent("k").stdin.aclose()
            await trio.sleep(60)
            assert (await user.view("k"))["phase"] == "idle"
            error = await user.later(user.prompt, session, "say never").fails()
            assert isinstance(error, AgentGone) and "closed its stdin while its process" in error.message
            await user.wait_phase("k", "dead")
            assert await user.prompt(session, "say hello") == "end_turn"
