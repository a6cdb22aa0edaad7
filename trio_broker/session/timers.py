"""The clocks of one life's turns that the configuration may set: off by default, and neither of them liveness (D10).

`quiet_after` says so, and cancels only if that is wanted; a person who has not answered is not the agent's silence.
`max_turn` is absolute: it ends the turn of a chatty agent, too (RACES C9).
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from trio_broker.agent.connection import AgentConnection
from trio_broker.agent.lifecycle import SessionSettings
from trio_broker.config.config import Quiet
from trio_broker.journal.log import Log
from trio_broker.session.permissions import AgentRequests
from trio_broker.session.turn_queue import Turn, TurnQueue


@attrs.define(eq=False)
class TurnTimers:
    """`cancel` ends a turn, and tells its author why."""

    settings: SessionSettings
    turns: TurnQueue
    connection: AgentConnection
    requests: AgentRequests
    log: Log
    cancel: Callable[[Turn, str], object]

    async def run(self) -> None:
        """Heed the clocks of one turn after the other, for ever."""
        while True:
            turn = self.turns.running
            if turn is None or turn.settled.is_set():
                await self.turns.turn_started.wait()
            else:
                await self._watch(turn)

    async def _watch(self, turn: Turn) -> None:
        async with trio.open_nursery() as nursery:
            if self.settings.max_turn:
                nursery.start_soon(self._watch_max_turn, turn)
            if self.settings.quiet_after:
                nursery.start_soon(self._watch_quiet, turn)
            await turn.settled.wait()
            nursery.cancel_scope.cancel()

    async def _watch_max_turn(self, turn: Turn) -> None:
        limit = self.settings.max_turn
        await trio.sleep_until((turn.started_at or 0.0) + limit)
        self.cancel(turn, f"it ran for {limit:g} s, the limit (max_turn in [broker])")

    async def _watch_quiet(self, turn: Turn) -> None:
        after, reported_since = self.settings.quiet_after, -1.0
        while not turn.cancelling:
            since = max(self.connection.received_at, turn.started_at or 0.0, self.requests.settled_at)
            if since == reported_since or self.requests.is_waiting():
                await trio.sleep(after)
            elif trio.current_time() < since + after:
                await trio.sleep_until(since + after)
            else:
                reported_since = since
                self._report_quiet(turn, after)

    def _report_quiet(self, turn: Turn, after: float) -> None:
        text = f"the agent has said nothing for {after:g} s (quiet_after in [broker])"
        if self.settings.on_quiet is Quiet.CANCEL:
            self.cancel(turn, f"{text}, and on_quiet is {Quiet.CANCEL.value!r}")
        else:
            self.log.append("note", text=f"{text}; its process lives")
