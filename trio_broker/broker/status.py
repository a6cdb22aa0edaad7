"""The whole broker as one coalesced picture, for who watches: `_trio_broker/watch`.

A watcher asks for the next picture after the one it has, and asks again when it has shown that. So a client that lags
finds the newest picture and no backlog, the broker keeps nothing of it, and nothing is done while nobody asks. All
watchers share one picture, which is looked after at most once an INTERVAL however chatty the agents are. (Sending
pictures unasked was rejected: it needs a place in every outbox, and what stands in the socket is old by then.)

Times in it are seconds on the broker's clock, `at` is its present: a picture in which nothing happens stays the same,
and the watcher counts the seconds by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs
import trio

from trio_broker.auth.grant import Grant
from trio_broker.broker.usage import Meter
from trio_broker.broker.view import session_facts
from trio_broker.protocol import jsonrpc
from trio_broker.session.agent_request import Ask
from trio_broker.session.session import Session

INTERVAL = 0.2  # seconds from one look to the next


@attrs.frozen
class Picture:
    """`number` counts the pictures that differ; `sessions` are encoded, each with its key and directory."""

    number: int
    facts: bytes
    sessions: tuple[tuple[str, str, bytes], ...]

    def seen_by(self, grant: Grant, at: float, facts: bytes | None = None) -> bytes:
        """The picture as JSON, with the sessions that are this client's business, and the `facts` for it if given."""
        views = b",".join(view for key, cwd, view in self.sessions if grant.sees(key, cwd))
        return b'{"number":%d,"at":%.3f,"broker":%b,"sessions":[%b]}' % (
            self.number,
            at,
            facts or self.facts,
            views,
        )


@attrs.define(eq=False)
class Watching:
    """`snapshot` gives the sessions, `facts` what else there is to be seen; both answer from memory."""

    snapshot: Callable[[], Iterable[Session]]
    facts: Callable[[], dict[str, Any]]
    begun_at: float
    meter: Meter = attrs.field(factory=Meter)
    looks: int = 0
    _picture: Picture | None = None
    _looked_at: float = 0.0

    async def next(self, after: int | None) -> Picture:
        """The newest picture, as soon as it is another one than number `after`; at once if it is already."""
        while (picture := self.look()).number == after:  # an event for each update is what it spares
            await trio.sleep_until(self._looked_at + INTERVAL)
            await self.measure()  # of quiet agents too: they may be busy all the same
        return picture

    def look(self) -> Picture:
        """The picture of now, or of less than an INTERVAL ago."""
        now = trio.current_time()
        if self._picture is None or now >= self._looked_at + INTERVAL:
            self._looked_at, self.looks = now, self.looks + 1
            facts = jsonrpc.encode(self.facts())
            sessions = tuple(
                (one.key, one.settings.real_cwd, jsonrpc.encode(self._view(one))) for one in self.snapshot()
            )
            last = self._picture
            if last is None or (last.facts, last.sessions) != (facts, sessions):
                self._picture = Picture(last.number + 1 if last else 1, facts, sessions)
        assert self._picture is not None
        return self._picture

    def clock(self) -> float:
        """Seconds since the broker began."""
        return trio.current_time() - self.begun_at

    async def measure(self) -> None:
        """Have CPU and memory in the next picture; does nothing most of the times."""
        if not self.meter.due:
            return
        lives = (session.life for session in self.snapshot() if session.live)
        await self.meter.measure(
            [life.agent.pid for life in lives if life is not None and life.agent is not None]
        )

    def _view(self, session: Session) -> dict[str, Any]:
        running, relay = session.turns.running, session.relay
        line = session.life.line if session.life is not None else None
        view = session_facts(session)
        use = self.meter.uses.get(view["pid"])
        return view | {
            "phase_since": self._when(session.phase_since),
            "heard_at": self._when(line.heard_at if line is not None else None),
            "turn_id": running.prompt_id if running is not None else None,
            "turn_since": self._when(running.started_at if running is not None else None),
            "attached": [
                {"name": one.name, "role": "observer" if one in relay.observers else "controller"}
                for one in relay.listeners
            ],
            "asks": [self._ask(ask) for ask in relay.asks.known] if relay.asks is not None else [],
            "use": None if use is None else attrs.asdict(use),
        }

    def _ask(self, ask: Ask) -> dict[str, Any]:
        facts = {
            "askId": ask.id,
            "method": ask.method,
            "title": ask.title,
            "kind": ask.kind,
            "mode": ask.mode,
        }
        return facts | {"options": ask.options, "since": self._when(ask.opened_at)}

    def _when(self, at: float | None) -> float | None:
        return None if at is None else round(at - self.begun_at, 3)
