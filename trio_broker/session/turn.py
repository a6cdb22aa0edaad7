"""One prompt, from queue to outcome, and what is said of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import attrs
import trio

from trio_broker.auth.policy import Policy
from trio_broker.model import Answered, Cancelled, Outcome
from trio_broker.protocol import jsonrpc
from trio_broker.supervision import tell

TEXT_SHOWN = 200  # characters of a queued prompt
TEXT_NAMED = 40  # characters by which a sentence names a prompt
TEXT_READ = 64 * 1024  # a longer prompt is shown by its size: decoding it would cost more than it tells


@attrs.define(eq=False)
class Turn:
    """One prompt from queue to outcome. `answer` is what came of it; `settle` tells so, exactly once, when the log has
    it on disk."""

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
    why: str | None = None  # why it is cancelled, where that was not its author's own wish
    edited_by: str | None = None
    number: int | None = None
    started_at: float | None = None
    settled: trio.Event = attrs.field(factory=trio.Event)
    _heeding: list[Callable[[Outcome], None]] = attrs.field(factory=list)
    changed: trio.Event = attrs.field(factory=trio.Event)

    def settle(self, outcome: Outcome) -> None:
        """Give the turn its outcome; a second one is refused, for a turn has only one (RACES D10)."""
        assert self.outcome is None, f"turn {self.prompt_id} was settled already: {self.outcome}"
        self.answer = self.outcome = outcome
        self.settled.set()
        self.changed.set()
        for heed in self._heeding:
            tell(heed, outcome)

    def on_end(self, heed: Callable[[Outcome], None]) -> None:
        """Have `heed` told of the outcome, too; at once, if there is one."""
        if self.outcome is None:
            self._heeding.append(heed)
        else:
            heed(self.outcome)

    async def wait(self) -> Outcome:
        """Wait for the outcome. Cancelling this ends the waiting only; the turn goes on."""
        await self.settled.wait()
        assert self.outcome is not None
        return self.outcome

    @property
    def heard_of(self) -> bool:
        """Whether the agent, or whoever cancelled it, had to do with it already."""
        return self.number is not None or self.cancelling or self.answer is not None

    @property
    def blocks(self) -> bytes:
        """The raw content blocks of the prompt."""
        return jsonrpc.members(self.params).get("prompt", b"[]")


def told(outcome: Outcome) -> dict[str, Any]:
    """An outcome as members of an `ended` event."""
    if isinstance(outcome, Answered):
        return {"outcome": "completed", "stopReason": stop_reason(outcome.result)}
    if isinstance(outcome, Cancelled):
        return {"outcome": "cancelled", "stopReason": "cancelled", "note": outcome.note}
    return {"outcome": "failed", "error": outcome.error.message, "code": outcome.error.code}


def text_of(blocks: bytes) -> str:
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


def named(turn: Turn) -> str:
    """A prompt in a sentence: the beginning of its text, or its id."""
    more = "…" if len(turn.text) > TEXT_NAMED else ""
    return repr(turn.text[:TEXT_NAMED] + more) if turn.text else turn.prompt_id
