"""Prompts, cancels, deaths, closes and the passing of time in any order, held against a model (Hypothesis).

The model: a key has one process at most, a process one turn at most, and each prompt that was handed in exactly one
end, which is none that its own text and what was done to its session do not allow.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import hypothesis
import trio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from trio.testing import MockClock

from trio_broker.testing.invariants import broken
from trio_broker.testing.memory import Habits
from trio_broker.testing.rig import Later, Rig, User, open_rig, settings

KEYS = st.sampled_from(["a", "b"])
TEXTS = st.sampled_from(["say x", "wait 5; say y", "hang", "hang-hard", "die 3", "say z; late 3"])
CONFIG = settings(cancel_grace=3, close_grace=1, term_grace=1, queue=3, idle_ttl=60)
REFUSED = {"queue_full", "session_over", "agent_gone", "spawn_failed"}  # and the agent rests after failures


@attrs.define(eq=False)
class Stage:
    """A rig in a thread of its own: rules are no async functions. Time stands still until a rule lets it pass."""

    clock: MockClock = attrs.field(factory=MockClock)
    rig: Rig = attrs.field(init=False)
    user: User = attrs.field(init=False)
    _token: trio.lowlevel.TrioToken = attrs.field(init=False)
    _over: trio.Event = attrs.field(init=False)
    _ready: threading.Event = attrs.field(factory=threading.Event)
    _thread: threading.Thread = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._thread = threading.Thread(target=lambda: trio.run(self._main, clock=self.clock))
        self._thread.start()
        self._ready.wait()

    async def _main(self) -> None:
        self._token, self._over = trio.lowlevel.current_trio_token(), trio.Event()
        async with open_rig(CONFIG, Habits(resume=True)) as self.rig, self.rig.connect() as self.user:
            self._ready.set()
            await self._over.wait()

    def do(self, what: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Have it done there, and all that follows from it at this moment."""

        async def settled() -> Any:
            result = await what(*args)
            await trio.testing.wait_all_tasks_blocked()
            return result

        return trio.from_thread.run(settled, trio_token=self._token)

    def close(self) -> list[str]:
        """Every broken promise; from here time passes by itself."""

        async def end() -> list[str]:
            self.clock.autojump_threshold = 0
            with trio.fail_after(100_000):
                return await broken(self.rig)

        try:
            return trio.from_thread.run(end, trio_token=self._token)
        finally:
            trio.from_thread.run_sync(self._over.set, trio_token=self._token)
            self._thread.join()


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage()
        self.prompts: list[tuple[str, str, Later[str]]] = []  # key, text, and what came of it
        self.ended: dict[Later[str], object] = {}
        self.hurt: set[str] = set()
        self.cancelled: set[str] = set()

    @rule(key=KEYS, text=TEXTS)
    def prompt(self, key: str, text: str) -> None:
        self.prompts.append((key, text, self.stage.do(self._prompt, key, text)))

    async def _prompt(self, key: str, text: str) -> Later[str]:  # noqa: ASYNC124  # it is run in Trio
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
        self.stage.do(self._wait, seconds)

    async def _wait(self, seconds: float) -> None:
        for _ in range(20):
            self.stage.clock.jump(seconds / 20)
            await trio.testing.wait_all_tasks_blocked()

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

    def teardown(self) -> None:
        found = self.stage.close()
        assert found == [], found
        for key, text, call in self.prompts:
            assert call.done, (key, text)
            if call.error is not None:
                assert call.error.code in REFUSED, call.error
            elif call.result == "cancelled":
                assert key in self.cancelled, (key, text)
            else:
                assert call.result == "end_turn" and not text.startswith(("hang", "die")), (key, text)


TestG9 = Machine.TestCase
TestG9.__name__ = TestG9.__qualname__ = "TestG9AnyOrderKeepsOneProcessOneTurnOneEnd"
TestG9.settings = hypothesis.settings(max_examples=25, stateful_step_count=25, deadline=None)
