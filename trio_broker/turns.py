"""The turns of one session: the lock, the queue, and the one turn that runs.

The session's own task holds the lock for the length of a turn; a client only waits, and its leaving ends only its own
waiting. Two rules decide the rest. A turn ends by the agent's response to *its* request or by the end of the process,
nothing else, so late updates and late replies can't fall into the next one (RACES C1-C3). And a cancel takes no lock:
it is one frame in the outbox, aimed at one turn, never at whatever runs when it arrives (D1, D2).
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from trio_broker.errors import AgentGone, BrokerError, QueueFull, SessionOver
from trio_broker.line import Line, Reply, remote_error
from trio_broker.model import Answered, Cancelled, Failed, Outcome
from trio_broker.policy import Policy
from trio_broker.wire import jsonrpc

LAST_WORDS = 1.0  # seconds: an agent may answer and exit in the same moment; its answer is still in the pipe


async def while_alive(wait: Callable[[], Awaitable[Any]], alive: Callable[[], bool], every: float) -> bool:
    """Await `wait()` for as long as the agent's process lives, however quiet it is; says whether it came.

    `wait` is a cancel-atomic wait: it is abandoned and begun again every `every` seconds, when the process is looked
    at. There is no deadline: hours of silence from a living process end nothing. False: the process is gone, and its
    last words did not bring it either.
    """
    while alive():
        with trio.move_on_after(every):
            await wait()
            return True
    with trio.move_on_after(LAST_WORDS):
        await wait()
        return True
    return False


@attrs.define(eq=False)
class Turn:
    """One prompt from queue to outcome; `settle` is called exactly once and tells `on_end`."""

    params: bytes
    author: object = None
    prompt_id: str = attrs.field(factory=lambda: uuid.uuid4().hex)
    text: str = ""
    policy: Policy | None = None
    on_start: Callable[[], None] = lambda: None
    on_end: Callable[[Outcome], None] = lambda _: None
    outcome: Outcome | None = None
    cancelling: bool = False
    number: int | None = None
    started_at: float | None = None
    settled: trio.Event = attrs.field(factory=trio.Event)
    changed: trio.Event = attrs.field(factory=trio.Event)

    def settle(self, outcome: Outcome) -> None:
        """Give the turn its outcome; a second one is refused, for a turn has only one (RACES D10)."""
        assert self.outcome is None, f"turn {self.prompt_id} was settled already: {self.outcome}"
        self.outcome = outcome
        self.settled.set()
        self.changed.set()
        self.on_end(outcome)

    async def wait(self) -> Outcome:
        """Wait for the outcome. Cancelling this ends the waiting only; the turn goes on."""
        await self.settled.wait()
        assert self.outcome is not None
        return self.outcome


@attrs.define(eq=False)
class Turns:
    """First come, first served. `on_change` hears of starts and ends; `on_lost`: agent gone, or a cancel ignored."""

    line: Line
    limit: int = 16
    every: float = 5.0
    cancel_grace: float = 30.0
    cancel_params: bytes = b"{}"
    on_change: Callable[[], None] = lambda: None
    on_lost: Callable[[BrokerError], None] = lambda _: None
    lock: trio.Lock = attrs.field(factory=trio.Lock)
    running: Turn | None = None
    done: int = 0
    ended_at: float = attrs.field(factory=trio.current_time)
    _queue: deque[Turn] = attrs.field(factory=deque)
    _arrived: trio.Event = attrs.field(factory=trio.Event)
    _over: BrokerError | None = None

    def submit(self, turn: Turn) -> int:
        """Queue a prompt and say its position: 0 runs next or at once, n waits for n others.

        Raises QueueFull, and SessionOver when the session takes no more prompts; then nothing was queued.
        """
        if self._over is not None:
            raise self._over
        if len(self._queue) >= self.limit + (self.running is None):
            raise QueueFull(
                f"{len(self._queue)} prompts wait for this session, the limit; "
                "wait, cancel one, or raise queue in [broker]",
                limit=self.limit,
            )
        self._queue.append(turn)
        self._arrived.set()
        return len(self._queue) - (self.running is None)

    def queued(self) -> tuple[Turn, ...]:
        return tuple(self._queue)

    def find(self, match: Callable[[Turn], bool]) -> Turn | None:
        """The running or first queued turn that matches."""
        running = (self.running,) if self.running is not None else ()
        return next((turn for turn in (*running, *self._queue) if match(turn)), None)

    def cancel(self, turn: Turn) -> str:
        """Cancel this very turn and say what it was: `queued` (gone at once), `turn` (told the agent), `nothing`."""
        if turn in self._queue:
            self._queue.remove(turn)
            turn.settle(Cancelled(note="cancelled before it was sent to the agent"))
            return "queued"
        if turn is not self.running or turn.outcome is not None:
            return "nothing"
        if not turn.cancelling:
            turn.cancelling = True
            turn.changed.set()
            self.line.send(jsonrpc.notification("session/cancel", self.cancel_params))
        return "turn"

    def close(self, error: BrokerError) -> None:
        """Take no more prompts and settle all there are: the running one with `error`, the queued as never sent."""
        self._over = SessionOver(f"the session is over: {error.message}", **error.details)
        if (running := self.running) is not None and running.outcome is None:
            running.settle(Cancelled(note=error.message) if running.cancelling else Failed(error))
        while self._queue:
            self._queue.popleft().settle(Failed(_never_sent(error)))

    async def run(self) -> None:
        """Run the queue for ever; the only task that holds `lock` for a turn. Cancelled, the rest is for `close`."""
        while True:
            await self._arrived.wait()
            async with self.lock:
                if self._queue:
                    await self._play(self._queue.popleft())
            self._rearm()

    def _rearm(self) -> None:
        if not self._queue:
            self._arrived = trio.Event()

    async def _play(self, turn: Turn) -> None:
        self._send(turn)
        try:
            if not await while_alive(turn.changed.wait, self.line.agent.alive, self.every):
                self.on_lost(AgentGone("the agent's process is gone"))
            elif turn.outcome is None:
                await self._await_cancel(turn)
        finally:
            self.running = None
            self.done += 1
            self.ended_at = trio.current_time()
            self.on_change()

    def _send(self, turn: Turn) -> None:
        # No await between leaving the queue and standing in the outbox: a cancel finds it in one or the other.
        self.running = turn
        turn.started_at = trio.current_time()
        try:
            turn.number = self.line.request(
                "session/prompt", turn.params, lambda reply: self._reply(turn, reply)
            )
        except AgentGone as error:
            turn.settle(Failed(error))
            return
        turn.on_start()
        self.on_change()

    def _reply(self, turn: Turn, reply: Reply) -> None:
        if turn.outcome is not None:
            return
        if isinstance(reply, BrokerError):
            turn.settle(Cancelled(note=reply.message) if turn.cancelling else Failed(reply))
        elif reply.error is None:
            result = reply.result or b"null"
            turn.settle(
                Cancelled(result) if turn.cancelling and _says_cancelled(result) else Answered(result)
            )
        elif turn.cancelling:  # agents that predate the rule answer a cancelled prompt with an error
            turn.settle(Cancelled(note=f"the agent answered the cancel with an error: {_text(reply.error)}"))
        else:
            turn.settle(Failed(remote_error(reply.error)))

    async def _await_cancel(self, turn: Turn) -> None:
        with trio.move_on_after(self.cancel_grace):
            await while_alive(turn.settled.wait, self.line.agent.alive, self.every)
        if turn.outcome is None:
            why = f"the agent ignored the cancel for {self.cancel_grace:g} s and was ended (cancel_grace in [broker])"
            turn.settle(Cancelled(note=why))
            self.on_lost(SessionOver(why))


def _says_cancelled(result: bytes) -> bool:
    value = jsonrpc.decode(result)
    return isinstance(value, dict) and value.get("stopReason") == "cancelled"


def _text(error: bytes) -> str:
    return remote_error(error).message


def _never_sent(error: BrokerError) -> BrokerError:
    details = {key: value for key, value in error.details.items() if key != "sent"}
    return SessionOver(f"this prompt was never sent to the agent: {error.message}", sent=False, **details)
