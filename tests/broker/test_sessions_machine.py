"""Opens, wakes, closes, deaths and a full pool in any order, held against a model (Hypothesis).

The model: a key has one session, until it is closed; at most LIMIT are live. Whoever needs a place takes that of
the session which was idle longest, and is refused when all are at work. A session keeps its id for as long as it lives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import hypothesis
import pytest
import trio
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from trio_broker.broker.sessions import SessionPool
from trio_broker.errors import BrokerError
from trio_broker.session.session import Session
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import settings
from trio_broker.testing.in_process.thread_rig import ThreadRig

LIMIT = 2
KEYS = st.sampled_from("abcd")
CONFIG = settings(max_sessions=LIMIT, liveness=0.5, close_grace=1, term_grace=1, cancel_grace=5)
FULL = "pool_full"
A_WHILE = 2.0  # virtual seconds between two rules: what one began is done with, and no two are equally old


@attrs.define(eq=False)
class Entry:
    """A session as it should be. `used`: when anything last happened in it, counted in rules."""

    id: str
    used: int
    live: bool = True
    busy: bool = False


class PoolMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stage = ThreadRig({"config": CONFIG, "habits": Habits(resume=True)})
        self.there: dict[str, Entry] = {}
        self.ids: set[str] = set()  # all there ever were
        self.now = 0

    # What the model says

    def room_for(self, entry: Entry | None) -> bool:
        """Whether it gets a process: its own, a free place, or that of the longest idle, which the model takes."""
        live = [other for other in self.there.values() if other.live]
        if (entry is not None and entry.live) or len(live) < LIMIT:
            return True
        idle = [other for other in live if not other.busy]
        if idle:
            min(idle, key=lambda other: other.used).live = False
        return bool(idle)

    def expect(self, key: str, answer: str) -> None:
        """`answer`, an id or an error's code, is what comes of somebody who wants this session to be live."""
        entry = self.there.get(key)
        if not self.room_for(entry):
            assert answer == FULL, answer
        elif entry is not None:
            assert answer == entry.id, (answer, entry)
            entry.used = entry.used if entry.live else self.now  # it says something as it begins
            entry.live = True
        else:
            assert answer not in self.ids and answer != FULL, answer
            self.ids.add(answer)
            self.there[key] = Entry(answer, self.now)

    # What is done

    def do(self, method: str, **params: Any) -> Any:
        """The result of a call, or its error; and everything that follows from it."""
        self.now += 1
        result = self.stage.do(self._call, method, params)
        self.stage.wait(A_WHILE, 4)
        return result

    async def _call(self, method: str, params: dict[str, Any]) -> Any:
        try:
            return await self.stage.user.call(f"_trio_broker/{method}", **params)
        except BrokerError as error:
            return error

    @rule(key=KEYS)
    def open(self, key: str) -> None:
        opened = self.do("open", key=key, agent="demo", cwd="/tmp")
        self.expect(key, opened.code if isinstance(opened, BrokerError) else opened["sessionId"])

    @rule(key=KEYS)
    def open_twice_at_once(self, key: str) -> None:
        self.now += 1
        first, second = self.stage.do(self._open_twice, key)
        self.stage.wait(A_WHILE, 4)
        assert first == second
        self.expect(key, first)

    async def _open_twice(self, key: str) -> list[str]:
        calls = [self.stage.user.later(self.stage.user.open, key) for _ in range(2)]
        await trio.testing.wait_all_tasks_blocked()
        assert all(call.done for call in calls)
        return [call.error.code if call.error else str(call.result) for call in calls]

    @rule(key=KEYS)
    def open_afresh(self, key: str) -> None:
        self.there.pop(key, None)
        opened = self.do("open", key=key, agent="demo", cwd="/tmp", fresh=True)
        self.expect(key, opened.code if isinstance(opened, BrokerError) else opened["sessionId"])

    @rule(key=KEYS)
    def begin_work(self, key: str) -> None:
        entry = self.there.get(key)
        if entry is None or entry.busy:
            return
        blocks = [{"type": "text", "text": "hang"}]
        queued = self.do("submit", key=key, prompt=blocks)
        self.expect(key, queued.code if isinstance(queued, BrokerError) else entry.id)
        if entry.live:
            entry.busy, entry.used = True, self.now

    @rule(key=KEYS)
    def end_work(self, key: str) -> None:
        entry = self.there.get(key)
        if entry is not None and entry.busy:
            assert self.do("cancel", key=key)["cancelled"] == "turn"
            entry.busy, entry.used = False, self.now

    @rule(key=KEYS)
    def close(self, key: str) -> None:
        if self.there.pop(key, None) is not None:
            assert self.do("close", key=key)["closed"]

    @rule(key=KEYS)
    def kill(self, key: str) -> None:
        self.now += 1
        self.stage.do(self._kill, key)
        self.stage.wait(A_WHILE, 4)
        if (entry := self.there.get(key)) is not None:
            entry.live = entry.busy = False

    async def _kill(self, key: str) -> None:  # noqa: ASYNC124  # it is run in Trio
        for agent in self.stage.rig.agents.alive():
            if agent.settings.key == key:
                agent.kill()

    # What holds

    @invariant()
    def the_pool_is_as_the_model_has_it(self) -> None:
        pool = self.stage.rig.broker.pool
        has = {session.key: (session.session_id, session.live) for session in pool.snapshot()}
        assert has == {key: (entry.id, entry.live) for key, entry in self.there.items()}
        for key, entry in self.there.items():
            found = self.stage.rig.broker.find(session_id=entry.id)
            assert found is pool.get(key), (key, found)

    @invariant()
    def whoever_is_live_has_the_one_process(self) -> None:
        running = sorted(agent.settings.key for agent in self.stage.rig.agents.alive())
        assert running == sorted(key for key, entry in self.there.items() if entry.live)
        assert self.stage.rig.agents.most <= LIMIT

    def teardown(self) -> None:
        found = self.stage.close()
        assert found == [], found


TestPool = PoolMachine.TestCase
TestPool.__name__ = TestPool.__qualname__ = "TestB1B2B5AnyOrderKeepsOneSessionAKeyAndTheLimit"
TestPool.settings = hypothesis.settings(max_examples=30, stateful_step_count=20, deadline=None)

SEARCH = hypothesis.settings(hypothesis.settings.get_profile("search"), stateful_step_count=20)


def forget_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SessionPool, "claim", lambda self, key, session: session)


def keep_a_dead_one(monkeypatch: pytest.MonkeyPatch) -> None:
    real = SessionPool.get

    def get(self: SessionPool[Session], key: str) -> Session | None:
        there = real(self, key)
        return None if there is None or there.closed else there  # else `open` would wait for its end for ever

    monkeypatch.setattr(SessionPool, "get", get)
    monkeypatch.setattr(SessionPool, "release", lambda self, key, session: True)


def count_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SessionPool, "live", lambda self: 0)


def count_the_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SessionPool, "live", lambda self: len(self.snapshot()))


def suspend_who_was_used_last(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Session.active_at
    monkeypatch.setattr(Session, "active_at", lambda self: -real(self))


def suspend_who_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def suspend(self: Session) -> bool:
        if self.agent_run is None or self.agent_run.ending:
            return False
        self.agent_run.request_end()
        return True

    monkeypatch.setattr(Session, "suspend_if_idle", suspend)


PLANTED = [
    forget_a_key,
    keep_a_dead_one,
    count_nobody,
    count_the_suspended,
    suspend_who_was_used_last,
    suspend_who_is_at_work,
]


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_the_machine_finds_a_planted_fault(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, Flaky)):  # Trio's order of tasks is not the same each time
        run_state_machine_as_test(PoolMachine, settings=SEARCH)
