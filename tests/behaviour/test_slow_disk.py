"""A disk that takes its time: what is promised to be on it waits, and nothing else does."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from trio_broker.agent.lifecycle import SessionSettings
from trio_broker.agent.process import Ladder
from trio_broker.errors import AgentGone, BrokerError, SessionOver
from trio_broker.journal.keeper import Keeper, Owner
from trio_broker.journal.log import Log
from trio_broker.journal.store import Change, Journal
from trio_broker.model import Failed
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import Kind
from trio_broker.session.session import Session
from trio_broker.session.turn_queue import Turn, TurnQueue
from trio_broker.testing.clients.user import BackgroundCall, User
from trio_broker.testing.in_process.memory_agent import Habits, MemoryAgent
from trio_broker.testing.in_process.rig import Rig, open_rig

MOMENT = 0.1  # virtual seconds: everything that can happen by itself has happened then
LADDER = 10.0  # seconds that a stubborn agent takes to end
STUBBORN = Habits(ignores_eof=True, ignores_term=True)


@attrs.define(eq=False)
class SlowKeeper(Keeper):
    """Nothing is on disk until it is let `go`; then it is as the `real` one has it."""

    real: Keeper = attrs.field(factory=Keeper)
    _free: trio.Event = attrs.field(factory=trio.Event)
    _later: list[tuple[Change, Owner | None]] = attrs.field(factory=list)

    def put(self, change: Change, owner: Owner | None = None) -> None:
        if self._free.is_set():
            self.real.put(change, owner)
        else:
            self._later.append((change, owner))

    def hasten(self, session: int) -> bool:
        return not self._free.is_set() or self.real.hasten(session)

    async def flush(self, session: int | None = None) -> None:
        await self._free.wait()
        await self.real.flush(session)

    def go(self) -> None:
        self._free.set()
        for change, owner in self._later:
            self.real.put(change, owner)


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


async def begin_held(user: User, session: str, words: str) -> BackgroundCall[str]:
    """Prompt, and have what comes a moment later stand behind an end that is not on disk: that of a queued prompt."""
    turn = user.later(user.prompt, session, words, promptId="first")
    await trio.sleep(MOMENT)
    user.later(user.prompt, session, "say never", promptId="second")
    await trio.sleep(MOMENT)
    user.later(user.cancel, session, promptId="second")
    return turn


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
        slow.go()
        assert await turn.wait() == "end_turn"


async def test_the_end_of_a_turn_is_shown_to_nobody_before_it_is_on_disk(autojump_clock: MockClock) -> None:
    async with open_slow() as (rig, user, session, slow):
        first = user.later(user.prompt, session, "say hello", promptId="first")
        await trio.sleep(MOMENT)
        second = user.later(user.prompt, session, "say never", promptId="second")
        await trio.sleep(MOMENT)
        cancel = user.later(user.cancel, session, promptId="second")
        await trio.sleep(60)
        assert ends(user) == [] and not (first.done or second.done or cancel.done)
        assert rig.agent("k").prompts() == ["say hello"]
        slow.go()
        assert await first.wait() == "end_turn"
        assert (await second.wait(), await cancel.wait()) == ("cancelled", "queued")
        await trio.sleep(MOMENT)
        assert ends(user) == ["first", "second"]


async def test_what_is_asked_of_a_prompt_whose_end_is_not_on_disk_yet(autojump_clock: MockClock) -> None:
    async with open_slow() as (rig, user, session, slow):
        user.later(user.prompt, session, "hang", promptId="first")
        await trio.sleep(MOMENT)
        second = user.later(user.prompt, session, "say never", promptId="second")
        await trio.sleep(MOMENT)
        user.later(user.cancel, session, promptId="second")
        await trio.sleep(MOMENT)
        again = user.later(user.prompt, session, "say never", promptId="second")
        queued = user.later(user.submit, session, "say never", promptId="second")
        waiting = user.later(user.call, "_trio_broker/wait", key="k", promptId="second")
        await trio.sleep(MOMENT)
        assert (await user.view("k"))["queue"] == 0
        assert await user.cancel(session, promptId="second") == "nothing"
        with pytest.raises(BrokerError, match="has just ended"):
            await user.call("_trio_broker/queue", key="k", promptId="second")
        await trio.sleep(60)
        assert not (second.done or again.done or queued.done or waiting.done)
        slow.go()
        assert (await second.wait(), await again.wait()) == ("cancelled", "cancelled")
        assert (await queued.wait())["ended"]["outcome"] == "cancelled"
        assert (await waiting.wait())["ended"]["outcome"] == "cancelled"
        assert rig.agent("k").prompts() == ["hang"] and len(logged(rig.session("k"), "ended")) == 1


async def test_a_journal_that_begins_to_fail_holds_no_end_back(autojump_clock: MockClock) -> None:
    async with open_slow() as (rig, user, session, _):
        turn = user.later(user.prompt, session, "say hello", promptId="p")
        await trio.sleep(60)
        assert not turn.done
        rig.session("k").log.keeper = Keeper(failing="the disk is full")
        rig.session("k").log.on_failing()
        assert await turn.wait() == "end_turn"
        await trio.sleep(MOMENT)
        assert ends(user) == ["p"]


async def test_d14_who_can_not_be_told_how_a_turn_ended_keeps_nobody_else_from_it(
    autojump_clock: MockClock,
) -> None:
    def fail(_: object) -> None:
        raise ValueError("a fault of ours")

    async with open_slow() as (rig, user, session, slow):
        first = user.later(user.prompt, session, "say hello", promptId="p")
        await trio.sleep(MOMENT)
        running = rig.session("k").turns.running
        assert running is not None
        running.on_end(fail)
        again = user.later(user.prompt, session, "say hello", promptId="p")
        await trio.sleep(MOMENT)
        slow.go()
        assert (await first.wait(), await again.wait()) == ("end_turn", "end_turn")
        assert await user.prompt(session, "say again") == "end_turn"


async def test_d2_a_prompt_that_is_cancelled_before_it_is_on_disk_never_reaches_the_agent(
    autojump_clock: MockClock,
) -> None:
    async with open_slow() as (rig, user, session, slow):
        user.later(user.submit, session, "say never", promptId="p")
        await user.wait_phase("k", "working")
        assert await user.cancel(session) == "turn"
        slow.go()
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
        slow.go()
        await closing.wait()
        await trio.sleep(MOMENT)
        (ended,) = logged(closed, "ended")
        assert "never sent" in ended["error"]
        assert rig.agents.spawned[0].prompts() == []
        assert ends(user) == [ended["promptId"]]


@pytest.mark.parametrize("text", ["say hello", "hang"])
async def test_e2_a_turn_whose_session_ends_before_its_end_is_on_disk_has_one_outcome(
    text: str, autojump_clock: MockClock
) -> None:
    async with open_slow() as (rig, user, session, slow):
        turn = user.later(user.prompt, session, text)
        await trio.sleep(MOMENT)
        rig.agent("k").kill()
        await trio.sleep(MOMENT)
        assert (await user.view("k"))["phase"] == "dead" and not turn.done
        slow.go()
        if text == "hang":
            with pytest.raises(BrokerError, match="ended with signal 9"):
                await turn.wait()
        else:
            assert await turn.wait() == "end_turn"


async def test_a_turn_whose_agent_died_is_not_the_next_ones_though_its_end_is_not_on_disk_yet(
    autojump_clock: MockClock,
) -> None:
    async with open_slow() as (rig, user, session, slow):
        turn = user.later(user.prompt, session, "hang")
        await trio.sleep(MOMENT)
        rig.agent("k").kill()
        await user.wait_phase("k", "dead")
        await user.open("k")
        assert (await user.view("k"))["phase"] == "idle" and not turn.done
        slow.go()
        assert isinstance(await turn.fails(), AgentGone)


async def test_that_a_prompt_is_kept_for_the_next_start_is_said_when_all_of_it_is_on_disk(
    tmp_path: Path,
) -> None:
    keeper = Keeper(Journal.open(tmp_path / "journal.sqlite"))
    turns = TurnQueue(Log(keeper, 1))
    turn = Turn(b'{"prompt":[]}', durable=True)
    turns.submit(turn)
    turns.close(SessionOver("the broker stops"), keep=True)
    assert turns.kept_for_restart == 1 and turn.outcome is None
    with trio.fail_after(60):
        async with keeper.at_work():
            assert isinstance(await turn.wait(), Failed)


async def test_a_close_is_answered_after_the_turns_that_it_ended(autojump_clock: MockClock) -> None:
    async with open_slow() as (_, user, session, slow):
        turn = user.later(user.prompt, session, "hang")
        await user.wait_phase("k", "working")
        closing = user.later(user.call, "_trio_broker/close", key="k")
        await trio.sleep(60)
        assert not closing.done and not turn.done
        slow.go()
        await closing.wait()
        assert turn.done


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
        slow.go()
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


@attrs.define(eq=False)
class LingeringAgent(MemoryAgent):
    """It takes a moment to be gone, as a real process does."""

    async def end(self, ladder: Ladder, hang_up: Callable[[], None]) -> None:
        await super().end(ladder, hang_up)
        await trio.sleep(0.02)


async def test_g7_at_the_axe_each_is_told_how_the_turn_ended_and_the_journal_has_it(tmp_path: Path) -> None:
    async def spawn(settings: SessionSettings) -> MemoryAgent:
        await trio.lowlevel.checkpoint()
        agent = LingeringAgent(1, settings)
        rigs[0].nursery.start_soon(agent.run)
        return agent

    rigs: list[Rig] = []
    path = tmp_path / "journal.sqlite"
    with trio.fail_after(60):
        async with open_rig(journal=path, spawn=spawn) as rig, rig.connect() as user:
            rigs.append(rig)
            turn = user.later(user.prompt, await user.open("k"), "hang", promptId="p")
            await user.wait_phase("k", "working")
            await user.submit(rig.session("k").session_id or "", "say later", promptId="later")
            rig.cancel_scope.cancel()
            with pytest.raises(SessionOver):
                await turn.wait()
    journal = Journal.open(path)
    (last,) = [jsonrpc.decode(record.data) for record in journal.turns(1) if record.kind == "ended"]
    journal.close()
    assert (last["promptId"], last["outcome"]) == ("p", "failed")


async def test_how_a_turn_ended_that_the_last_broker_left_is_on_disk_before_anybody_hears_of_it(
    tmp_path: Path,
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    with trio.fail_after(60):
        async with open_rig(journal=old / "journal.sqlite") as rig, rig.connect() as user:
            await user.submit(await user.open("k"), "hang", promptId="p")
            while not rig.agent("k").prompts():  # noqa: ASYNC110  # it is sent when that is on disk
                await trio.sleep(0.001)
            shutil.copytree(old, new)  # as a broker that is killed now leaves it
        async with open_rig(journal=new / "journal.sqlite") as rig:
            log = rig.session("k").log
            assert rig.session("k").turns.outcomes["p"]["outcome"] == "unknown"
            assert log.kept == log.next - 1


async def test_a_prompt_that_is_submitted_again_is_promised_when_it_is_on_disk(
    autojump_clock: MockClock,
) -> None:
    async with open_slow() as (_, user, session, slow):
        first = user.later(user.submit, session, "hang", promptId="p")
        await trio.sleep(MOMENT)
        again = user.later(user.submit, session, "hang", promptId="p")
        await trio.sleep(60)
        assert not (first.done or again.done)
        slow.go()
        assert (await again.wait())["position"] == (await first.wait())["position"] == 0


@pytest.mark.parametrize("comes_late", [False, True])
async def test_a_question_comes_after_what_led_to_it_though_an_end_before_that_is_not_on_disk_yet(
    comes_late: bool, autojump_clock: MockClock
) -> None:
    async with open_slow() as (rig, user, session, slow), rig.connect() as other:
        turn = await begin_held(user, session, "wait 5; say before; ask go")
        await user.wait_phase("k", "waiting")
        if comes_late:
            await other.call("_trio_broker/attach", key="k", since=1)
        await trio.sleep(60)
        assert not user.asked() and not other.asked()
        slow.go()
        await trio.sleep(MOMENT)
        for asked in [user, other] if comes_late else [user]:
            kinds = [message.method for message in asked.messages if message.kind is not Kind.RESPONSE]
            assert kinds[-3:] == ["session/update", "_trio_broker/event", "session/request_permission"]
        await user.call("_trio_broker/answer", askId=user.events[-1]["askId"], answer="allow")
        assert await turn.wait() == "end_turn"


async def test_an_answer_that_is_passed_on_comes_after_what_the_agent_said_before_it(
    autojump_clock: MockClock,
) -> None:
    async with open_slow() as (_, user, session, slow):
        turn = await begin_held(user, session, "wait 5; say before; hang")
        await trio.sleep(60)
        mode = user.later(user.call, "session/set_mode", sessionId=session, modeId="plan")
        await trio.sleep(60)
        assert not mode.done and user.said(session) == ""
        await user.call("_trio_broker/status")
        slow.go()
        await mode.wait()
        assert user.said(session) == "before"
        await user.cancel(session)
        assert await turn.wait() == "cancelled"


async def test_a_promised_prompt_that_the_broker_had_no_time_to_send_runs_after_its_next_start(
    tmp_path: Path,
) -> None:
    """It was told that it was never sent, and did not run: it had begun, and that was not on disk yet."""
    path = tmp_path / "journal.sqlite"
    with trio.fail_after(60):
        async with open_rig(journal=path) as rig, rig.connect() as user:
            session = await user.open("k")
            real = rig.session("k").log.keeper
            slow = rig.session("k").log.keeper = SlowKeeper(real.journal, real=real)
            user.later(user.submit, session, "say it", promptId="p")
            await user.wait_phase("k", "working")
            user.later(user.submit, session, "say more", promptId="q")
            while not (await user.view("k"))["queue"]:  # noqa: ASYNC110  # the disk holds up its answer
                await trio.sleep(0.001)
            assert rig.broker.stop() == 2
            slow.go()
            await rig.session("k").gone.wait()
            assert rig.agent("k").prompts() == []
        async with open_rig(journal=path) as rig, rig.connect() as user:
            await user.call("_trio_broker/wait", key="k", promptId="q")
            assert rig.agent("k").prompts() == ["say it", "say more"]
            assert [how["outcome"] for how in rig.session("k").turns.outcomes.values()] == ["completed"] * 2
