"""The turns of one session: the lock, the queue, the one turn that runs, and what a turn is.

The session's own task holds the lock for the length of a turn; a client only waits, and its leaving ends only its own
waiting. Two rules decide the rest. A turn ends by the agent's response to *its* request or by the end of the process,
nothing else, so late updates and late replies can't fall into the next one (RACES C1-C3). And a cancel takes no lock:
it is one frame in the outbox, aimed at one turn, never at whatever runs when it arrives (D1, D2).
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import attrs
import trio

from trio_broker.agent.connection import AgentConnection, remote_error
from trio_broker.auth.policy import Policy
from trio_broker.errors import AgentGone, BrokerError, QueueFull, SessionOver
from trio_broker.journal.log import Log
from trio_broker.model import Answered, Cancelled, Failed, Outcome
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.pending import Reply
from trio_broker.supervision import call_contained, while_alive

REMEMBERED_OUTCOMES = 1000  # ended prompts whose ids are remembered
TEXT_SHOWN = 200  # characters of a queued prompt
TEXT_NAMED = 40  # characters by which a sentence names a prompt
TEXT_READ = 64 * 1024  # a longer prompt is shown by its size: decoding it would cost more than it tells


@attrs.define(eq=False)
class Turn:
    """One prompt from queue to outcome. `answer` is the outcome; `settle` reports it once, when it is on disk."""

    params: bytes
    author: object = None
    author_name: str | None = None
    prompt_id: str = attrs.field(factory=lambda: secrets.token_hex(16))
    text: str = ""
    policy: Policy | None = None
    durable: bool = False  # runs after a restart of the broker, too; queued without anybody who waits for it
    answer: Outcome | None = None
    outcome: Outcome | None = None
    cancelling: bool = False
    cancel_reason: str | None = None  # why it is cancelled, where that was not its author's own wish
    edited_by: str | None = None
    number: int | None = None
    started_at: float | None = None
    settled: trio.Event = attrs.field(factory=trio.Event)
    _callbacks: list[Callable[[Outcome], None]] = attrs.field(factory=list)
    changed: trio.Event = attrs.field(factory=trio.Event)

    def settle(self, outcome: Outcome) -> None:
        """Give the turn its outcome; a second one is refused, for a turn has only one (RACES D10)."""
        assert self.outcome is None, f"turn {self.prompt_id} was settled already: {self.outcome}"
        self.answer = self.outcome = outcome
        self.settled.set()
        self.changed.set()
        for callback in self._callbacks:
            call_contained(callback, outcome)

    def on_end(self, callback: Callable[[Outcome], None]) -> None:
        """Call `callback` with the outcome; at once, if there is one."""
        if self.outcome is None:
            self._callbacks.append(callback)
        else:
            callback(self.outcome)

    async def wait(self) -> Outcome:
        """Wait for the outcome. Cancelling this ends the waiting only; the turn goes on."""
        await self.settled.wait()
        assert self.outcome is not None
        return self.outcome

    @property
    def has_begun(self) -> bool:
        """Whether the agent, or whoever cancelled it, had to do with it already."""
        return self.number is not None or self.cancelling or self.answer is not None

    @property
    def blocks(self) -> bytes:
        """The raw content blocks of the prompt."""
        return jsonrpc.members(self.params).get("prompt", b"[]")


@attrs.define(eq=False)
class TurnQueue:
    """First come, first served, over all the lives of a session's agent.

    `on_change` hears of starts and ends; `on_lost`: the agent is gone, or ignored a cancel. `before_end` is
    called for each turn that was sent, before its end stands in the log.
    """

    log: Log
    limit: int = 16
    liveness_interval: float = 5.0
    cancel_grace: float = 30.0
    on_change: Callable[[], None] = lambda: None
    on_lost: Callable[[BrokerError], None] = lambda _: None
    before_end: Callable[[Turn], None] = lambda _: None
    lock: trio.Lock = attrs.field(factory=trio.Lock)
    running: Turn | None = None
    turns_ended: int = 0
    kept_for_restart: int = 0  # durable prompts that are left to a later broker
    ended_at: float = attrs.field(factory=trio.current_time)
    outcomes: dict[str, dict[str, Any]] = attrs.field(factory=dict)  # the last KNOWN outcomes, by prompt id
    turn_started: trio.Event = attrs.field(factory=trio.Event)  # set when the next turn begins
    _queue: deque[Turn] = attrs.field(factory=deque)
    _ending: list[Turn] = attrs.field(factory=list)  # those whose end is not on disk yet
    _arrived: trio.Event = attrs.field(factory=trio.Event)
    _connection: AgentConnection | None = None
    _agent_session_id: str = ""

    def submit(self, turn: Turn, *, first: bool = False) -> int:
        """Queue a prompt, or put it `first`; its position: 0 runs next, n waits for n others. Raises QueueFull."""
        self.check_room()
        ahead = 0 if first else len(self._queue)
        position = ahead + (self.running is not None)
        self._queue.insert(ahead, turn)
        if position or turn.durable:
            order = self._order() if first else None
            self._append_event("queued", turn, position=position, durable=turn.durable or None, order=order)
        self._arrived.set()
        return position

    def edit(self, turn: Turn, params: bytes, text: str, by: str) -> None:
        """Have a queued prompt say something else; it keeps its place, and its author is told."""
        turn.params, turn.text, turn.edited_by = params, text, by
        position = self._queue.index(turn) + 1
        self._append_event(
            "queued", turn, position=position, durable=turn.durable or None, event="edited", by=by
        )

    def make_durable(self, prompt_id: str | None) -> None:
        """Have the prompt of that id, if it waits, run after a restart of the broker, too."""
        for position, turn in enumerate(self._queue, 1):
            if turn.prompt_id == prompt_id and not turn.durable:
                turn.durable = True
                self._append_event("queued", turn, position=position, durable=True, order=self._order())

    def move(self, turn: Turn, position: int, by: str) -> int:
        """Have a queued prompt run as number `position` of those that wait; says where it stands now."""
        self._queue.remove(turn)
        self._queue.insert(max(position, 1) - 1, turn)
        place = self._queue.index(turn) + 1
        fields: dict[str, Any] = {"promptId": turn.prompt_id, "author": turn.author_name}
        self.log.append("queued", event="moved", position=place, by=by, order=self._order(), **fields)
        return place

    def _order(self) -> list[str]:
        return [turn.prompt_id for turn in self._queue]

    @contextmanager
    def keep_queued(self) -> Iterator[None]:
        """What is queued outlives a `close` within the block: it waits for the next `run`."""
        waiting, self._queue = self._queue, deque()
        try:
            yield
        finally:
            self._queue.extendleft(reversed(waiting))
            if waiting:
                self._arrived.set()

    def check_room(self) -> None:
        """Raises QueueFull when one more prompt would be one too many."""
        if len(self._queue) >= self.limit + (self.running is None):
            raise QueueFull(
                f"{len(self._queue)} prompts wait for this session, the limit; "
                "wait, cancel one, or raise queue in [broker]",
                limit=self.limit,
            )

    def restore(self, turn: Turn) -> None:
        """Queue a prompt that the log has as queued already: one from before a restart."""
        self._queue.append(turn)
        self._arrived.set()

    @property
    def busy(self) -> bool:
        """Something runs, or waits for it."""
        return self.running is not None or bool(self._queue)

    def queued(self) -> tuple[Turn, ...]:
        return tuple(self._queue)

    def unsettled(self) -> tuple[Turn, ...]:
        """Those that have no outcome: the one that runs, those that wait, those that end."""
        running = (self.running,) if self.running is not None else ()
        return (*running, *self._queue, *self._ending)

    def find(self, prompt_id: str) -> Turn | None:
        """The one of them that has this prompt id."""
        return next((turn for turn in self.unsettled() if turn.prompt_id == prompt_id), None)

    def cancel(self, turn: Turn, why: str | None = None) -> str:
        """Cancel this very turn and say what it was: `queued` (gone at once), `turn` (told the agent), `nothing`.

        `why` is told to its author, if it is not the author's own wish.
        """
        if turn in self._queue:
            self._queue.remove(turn)
            self._end(turn, Cancelled(note=why or "cancelled before it was sent to the agent"))
            return "queued"
        if turn is not self.running or turn.answer is not None:
            return "nothing"
        if not turn.cancelling:
            turn.cancelling, turn.cancel_reason = True, why
            turn.changed.set()
            if turn.number is not None and self._connection is not None:
                params = jsonrpc.encode({"sessionId": self._agent_session_id})
                self._connection.send_quietly(jsonrpc.notification("session/cancel", params))
        return "turn"

    def close(self, error: BrokerError, *, keep: bool = False) -> None:
        """The agent is gone: end all there are, the running one with `error`, the queued as never sent.

        `keep`, when the broker ends: durable ones are left to the next one, so for the log they go on waiting.
        What is submitted from now on waits for the next `run`.
        """
        self._connection = None
        if (running := self.running) is not None:
            if keep and running.durable and not running.has_begun:
                self._requeue(running)
            elif running.answer is None:
                failed = Failed(error if running.number is not None else _never_sent(error, running))
                self._end(running, Cancelled(note=error.message) if running.cancelling else failed)
            self._clear_running(running)
        while self._queue:
            turn = self._queue.popleft()
            if keep and turn.durable and self.log.is_durable:
                self.kept_for_restart += 1
                self.log.hold(self.log.next - 1, partial(turn.settle, Failed(_kept_error(turn))))
            else:
                self._end(turn, Failed(_never_sent(error, turn)))

    def _requeue(self, turn: Turn) -> None:
        """It waits again, first: its agent has not heard of it."""
        self._queue.appendleft(turn)
        self._append_event("queued", turn, position=1, durable=True, order=self._order())

    async def run(self, connection: AgentConnection, agent_session_id: str) -> None:
        """Run the queue over this line, for ever; the only task that holds `lock` for a turn."""
        self._connection, self._agent_session_id = connection, agent_session_id
        while True:
            await self._arrived.wait()
            async with self.lock:
                if self._connection is not connection:  # closed: the queue is for the next run
                    break
                if self._queue:
                    await self._run_turn(self._queue.popleft(), connection)
            self._rearm()
        await trio.sleep_forever()

    def _rearm(self) -> None:
        if not self._queue:
            self._arrived = trio.Event()

    async def _run_turn(self, turn: Turn, connection: AgentConnection) -> None:
        # No await between leaving the queue and standing here: a cancel finds it in one or the other.
        self.running = turn
        turn.started_at = trio.current_time()
        self._append_event("started", turn, editedBy=turn.edited_by)
        self.turn_started.set()
        self.turn_started = trio.Event()
        self.on_change()
        if turn.durable:
            await self.log.wait_kept()  # else a crash in this moment would send it a second time
            if self.running is not turn:  # its session has ended meanwhile: it waits again
                return
        if turn.answer is None:  # else it has ended meanwhile
            self._send(turn, connection)
        if not await while_alive(turn.changed.wait, connection.agent.alive, self.liveness_interval):
            self.on_lost(AgentGone("the agent's process is gone"))
        elif turn.answer is None:
            await self._await_cancel(turn, connection)
        await turn.wait()

    def _clear_running(self, turn: Turn) -> None:
        if self.running is turn:
            self.running = None
            self.turns_ended += 1
            self.ended_at = trio.current_time()
            self.on_change()

    def _send(self, turn: Turn, connection: AgentConnection) -> None:
        if turn.cancelling:  # before it was sent: nothing to tell the agent (RACES D2)
            self._end(turn, Cancelled(note=turn.cancel_reason or "cancelled before it was sent to the agent"))
            return
        try:
            params = turn.params
            if jsonrpc.session_id_of(params) != self._agent_session_id:
                params = jsonrpc.replace_members(params, sessionId=self._agent_session_id)
            turn.number = connection.request("session/prompt", params, lambda reply: self._reply(turn, reply))
        except AgentGone as error:
            self._end(turn, Failed(error))

    def _reply(self, turn: Turn, reply: Reply) -> None:
        if turn.answer is not None:
            return
        if isinstance(reply, BrokerError):
            self._end(turn, Cancelled(note=reply.message) if turn.cancelling else Failed(reply))
        elif reply.error is None:
            result = reply.result or b"null"
            cancelled = turn.cancelling and stop_reason(result) == "cancelled"
            self._end(turn, Cancelled(result, turn.cancel_reason) if cancelled else Answered(result))
        elif turn.cancelling:  # agents that predate the rule answer a cancelled prompt with an error
            text = remote_error(reply.error).message
            self._end(turn, Cancelled(note=f"the agent answered the cancel with an error: {text}"))
        else:
            self._end(turn, Failed(remote_error(reply.error)))

    async def _await_cancel(self, turn: Turn, connection: AgentConnection) -> None:
        turn.changed = trio.Event()
        with trio.move_on_after(self.cancel_grace):
            await while_alive(turn.changed.wait, connection.agent.alive, self.liveness_interval)
        if turn.answer is None:
            why = f"the agent ignored the cancel for {self.cancel_grace:g} s and was ended (cancel_grace in [broker])"
            self._end(turn, Cancelled(note=why))
            self.on_lost(SessionOver(why))

    def _end(self, turn: Turn, answer: Outcome) -> None:
        """Its end stands in the log now, right behind its last update; it is told when that is on disk."""
        if turn.number is not None:
            self.before_end(turn)
        turn.answer = answer
        turn.changed.set()
        self._ending.append(turn)
        number = self.log.append("ended", promptId=turn.prompt_id, **outcome_fields(answer)).first
        self.log.hold(number, partial(self._settle, turn, answer))

    def _settle(self, turn: Turn, outcome: Outcome) -> None:
        self._ending.remove(turn)
        self.remember_outcome(turn.prompt_id, outcome_fields(outcome))
        turn.settle(outcome)
        self._clear_running(turn)

    def _append_event(self, kind: str, turn: Turn, **fields: Any) -> None:
        raws = {"prompt": turn.blocks}
        policy = None if turn.policy is None else turn.policy.value
        self.log.append(kind, raws, promptId=turn.prompt_id, author=turn.author_name, policy=policy, **fields)

    def remember_outcome(self, prompt_id: str, how: dict[str, Any]) -> None:
        """Remember what became of a prompt, so that sending it again does no harm."""
        self.outcomes[prompt_id] = {"promptId": prompt_id, **how}
        if len(self.outcomes) > REMEMBERED_OUTCOMES:
            del self.outcomes[next(iter(self.outcomes))]

    @property
    def last_outcome(self) -> dict[str, Any] | None:
        """The outcome of the turn that ended last."""
        return self.outcomes[next(reversed(self.outcomes))] if self.outcomes else None


def _never_sent(error: BrokerError, turn: Turn) -> BrokerError:
    details = error.details | {"sent": False, "promptId": turn.prompt_id}
    return SessionOver(f"the prompt {describe(turn)} was never sent to the agent: {error.message}", **details)


def _kept_error(turn: Turn) -> BrokerError:
    text = f"the broker stops; the prompt {describe(turn)} is kept and runs after the next start"
    return SessionOver(text, sent=False, promptId=turn.prompt_id)


def outcome_fields(outcome: Outcome) -> dict[str, Any]:
    """An outcome as members of an `ended` event."""
    if isinstance(outcome, Answered):
        return {"outcome": "completed", "stopReason": stop_reason(outcome.result)}
    if isinstance(outcome, Cancelled):
        return {"outcome": "cancelled", "stopReason": "cancelled", "note": outcome.note}
    return {"outcome": "failed", "error": outcome.error.message, "code": outcome.error.code}


def preview_text(blocks: bytes) -> str:
    """The beginning of a prompt's text, for people; of a very long one its size."""
    if len(blocks) > TEXT_READ:
        return f"({len(blocks)} bytes)"
    texts = [block.get("text") for block in jsonrpc.decode(blocks) if isinstance(block, dict)]
    return " ".join(text for text in texts if isinstance(text, str))[:TEXT_SHOWN]


def stop_reason(result: bytes) -> str | None:
    """That of an agent's answer to a prompt, if it gave one."""
    value = jsonrpc.decode(result)
    reason = value.get("stopReason") if isinstance(value, dict) else None
    return reason if isinstance(reason, str) else None


def describe(turn: Turn) -> str:
    """A prompt in a sentence: the beginning of its text, or its id."""
    more = "…" if len(turn.text) > TEXT_NAMED else ""
    return repr(turn.text[:TEXT_NAMED] + more) if turn.text else turn.prompt_id
