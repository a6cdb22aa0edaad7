"""Prompts, cancels, deaths, closes and the passing of time in any order, held against a model (Hypothesis).

The model: a key has one process at most, a process one turn at most, and each prompt that was handed in exactly one
end, which is none that its own text and what was done to its session do not allow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from trio_broker.journal.record import Record
from trio_broker.model import Answered, Failed, Outcome
from trio_broker.protocol import jsonrpc
from trio_broker.session.session import Session
from trio_broker.session.turn_queue import Turn, TurnQueue
from trio_broker.testing.clients.user import BackgroundCall
from trio_broker.testing.in_process.invariants import log_records
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import settings
from trio_broker.testing.in_process.thread_rig import ThreadRig

KEYS = st.sampled_from(["a", "b"])
TEXTS = st.sampled_from(["say x", "wait 5; say y", "hang", "hang-hard", "die 3", "say z; late 3"])
CONFIG = settings(cancel_grace=3, close_grace=1, term_grace=1, queue=3, idle_ttl=60)
REFUSED = {"queue_full", "session_over", "agent_gone", "spawn_failed"}  # and the agent rests after failures
SEARCH = hypothesis.settings(hypothesis.settings.get_profile("search"), stateful_step_count=25)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stage = ThreadRig({"config": CONFIG, "habits": Habits(resume=True)})
        self.prompts: list[tuple[str, str, BackgroundCall[str]]] = []  # key, text, and what came of it
        self.ended: dict[BackgroundCall[str], object] = {}
        self.hurt: set[str] = set()
        self.cancelled: set[str] = set()
        self.sessions: set[Session] = set()  # closed ones, too

    @rule(key=KEYS, texts=st.lists(TEXTS, min_size=1, max_size=3))
    def prompt(self, key: str, texts: list[str]) -> None:
        for text in texts:
            self.prompts.append((key, text, self.stage.do(self._prompt, key, text)))

    async def _prompt(self, key: str, text: str) -> BackgroundCall[str]:  # noqa: ASYNC124  # it is run in Trio
        return self.stage.user.later(self._open_and_prompt, key, text)

    async def _open_and_prompt(self, key: str, text: str) -> str:
        return await self.stage.user.prompt(await self.stage.user.open(key), text)

    @rule(key=KEYS)
    def cancel(self, key: str) -> None:
        self.cancelled.add(key)
        self.stage.do(self._notify, key)

    async def _notify(self, key: str) -> None:  # noqa: ASYNC124  # it is run in Trio
        session = self.stage.rig.broker.pool.get(key)
        if session is not None and session.session_id is not None:
            self.stage.user.client.notify("session/cancel", {"sessionId": session.session_id})

    @rule(key=KEYS)
    def kill(self, key: str) -> None:
        self.hurt.add(key)
        self.stage.do(self._kill, key)

    async def _kill(self, key: str) -> None:  # noqa: ASYNC124  # it is run in Trio
        for agent in self.stage.rig.agents.alive():
            if agent.settings.key == key:
                agent.kill()

    @rule(key=KEYS)
    def close(self, key: str) -> None:
        self.hurt.add(key)
        self.stage.do(self._close, key)

    async def _close(self, key: str) -> None:  # noqa: ASYNC124  # it is run in Trio
        if self.stage.rig.broker.pool.get(key) is not None:
            self.stage.user.later(self.stage.user.call, "_trio_broker/close", key=key)

    @rule(seconds=st.sampled_from([0.5, 1, 2, 5, 100]))
    def wait(self, seconds: float) -> None:
        self.stage.wait(seconds)

    @invariant()
    def one_process_a_key_and_one_turn_a_process(self) -> None:
        alive = self.stage.rig.agents.alive()
        keys = [agent.settings.key for agent in alive]
        assert len(keys) == len(set(keys)), alive
        assert all(len(agent.turns) <= 1 for agent in alive), [agent.turns for agent in alive]

    @invariant()
    def an_end_is_never_another_one(self) -> None:
        for _, _, call in self.prompts:
            if call.done:
                end = call.result or call.error
                assert self.ended.setdefault(call, end) is end

    @invariant()
    def what_was_queued_runs_in_that_order(self) -> None:
        self.sessions |= set(self.stage.rig.broker.pool.snapshot())
        for session in self.sessions:
            queued, started = (prompts_in(log_records(session), kind) for kind in ("queued", "started"))
            waited = [prompt for prompt in started if prompt in queued]
            assert waited == [prompt for prompt in queued if prompt in waited], session

    def teardown(self) -> None:
        found = self.stage.close()
        assert found == [], found
        self.what_was_queued_runs_in_that_order()
        for key, text, call in self.prompts:
            assert call.done, (key, text)
            if call.error is not None:
                assert call.error.code in REFUSED, call.error
            elif call.result == "cancelled":
                assert key in self.cancelled, (key, text)
            else:
                assert call.result == "end_turn" and not text.startswith(("hang", "die")), (key, text)


def prompts_in(records: Iterable[Record], kind: str) -> list[str]:
    """The ids of the prompts that a log has as `queued`, or `started`, in order."""
    return [jsonrpc.decode(record.data)["promptId"] for record in records if record.kind == kind]


TestG9 = Machine.TestCase
TestG9.__name__ = TestG9.__qualname__ = "TestG9AnyOrderKeepsOneProcessOneTurnOneEnd"
TestG9.settings = hypothesis.settings(max_examples=25, stateful_step_count=25, deadline=None)


def swap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes last goes before the one who came before him."""
    real = TurnQueue.submit

    def submit(self: TurnQueue, turn: Turn, *, first: bool = False) -> int:
        position = real(self, turn, first=first)
        if len(self._queue) > 1:
            self._queue[-1], self._queue[-2] = self._queue[-2], self._queue[-1]
        return position

    monkeypatch.setattr(TurnQueue, "submit", submit)


def forget_to_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = Turn.settle, [0]

    def settle(self: Turn, outcome: Outcome) -> None:
        seen[0] += 1
        if seen[0] % 3:
            real(self, outcome)
        else:
            self.answer = self.outcome = outcome

    monkeypatch.setattr(Turn, "settle", settle)


def tell_a_wrong_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn whose agent died is told as one that went well."""
    real = Turn.settle

    def settle(self: Turn, outcome: Outcome) -> None:
        real(self, Answered(b'{"stopReason":"end_turn"}') if isinstance(outcome, Failed) else outcome)

    monkeypatch.setattr(Turn, "settle", settle)


@pytest.mark.parametrize(
    "plant", [swap, forget_to_settle, tell_a_wrong_end], ids=lambda plant: plant.__name__
)
def test_the_machine_finds_a_planted_fault(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, Flaky)):  # Trio's order of tasks is not the same each time
        run_state_machine_as_test(Machine, settings=SEARCH)
