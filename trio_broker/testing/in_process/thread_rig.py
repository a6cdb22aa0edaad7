"""A rig for tests that are no async functions, such as the rules of Hypothesis' state machines: it has its own thread.

rig = ThreadRig()
session = rig.do(rig.user.open, "k")
rig.wait(5)
assert rig.close() == []
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio
from trio.testing import MockClock

from trio_broker.testing.clients.user import User
from trio_broker.testing.in_process.invariants import broken
from trio_broker.testing.in_process.rig import Rig, open_rig


@attrs.define(eq=False)
class ThreadRig:
    """`options` are those of `open_rig`. Time stands still until `wait` lets it pass."""

    options: dict[str, Any] = attrs.field(factory=dict)
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
        async with open_rig(**self.options) as self.rig, self.rig.connect() as self.user:
            self._ready.set()
            await self._over.wait()

    def do(self, what: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Have it done there, and all that follows from it at this moment."""

        async def settled() -> Any:
            result = await what(*args)
            await trio.testing.wait_all_tasks_blocked()
            return result

        return trio.from_thread.run(settled, trio_token=self._token)

    def wait(self, seconds: float, steps: int = 20) -> None:
        """Have that much time pass, in so many steps; what is due in each has happened."""
        self.do(self._wait, seconds / steps, steps)

    async def _wait(self, seconds: float, steps: int) -> None:
        for _ in range(steps):
            self.clock.jump(seconds)
            await trio.testing.wait_all_tasks_blocked()

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
