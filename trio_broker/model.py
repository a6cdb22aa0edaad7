"""The values the rooms hand each other: phases, endings, outcomes and pictures."""

from __future__ import annotations

import enum
import signal
from typing import Any

import attrs

from trio_broker.errors import BrokerError


class Phase(enum.Enum):
    """What a session is doing; `quiet_for` is shown beside it and changes nothing."""

    STARTING = "starting"
    IDLE = "idle"
    WORKING = "working"
    WAITING = "waiting"
    CANCELLING = "cancelling"
    SUSPENDED = "suspended"
    DEAD = "dead"
    CLOSED = "closed"


@attrs.frozen
class Exit:
    """How a process ended: an exit code, or the signal that ended it."""

    code: int | None = None
    signal: int | None = None

    @classmethod
    def from_returncode(cls, returncode: int) -> Exit:
        return cls(code=returncode) if returncode >= 0 else cls(signal=-returncode)

    def __str__(self) -> str:
        if self.signal is None:
            return f"exit code {self.code}"
        return f"signal {self.signal} ({_signal_name(self.signal)})"

    def details(self) -> dict[str, Any]:
        return {"exitCode": self.code, "signal": None if self.signal is None else _signal_name(self.signal)}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


@attrs.frozen
class Answered:
    """The agent answered the prompt: `result` is its raw JSON result object."""

    result: bytes


@attrs.frozen
class Cancelled:
    """The turn ended by a cancel; `result` is the agent's own answer when it gave one, `note` says why when not."""

    result: bytes | None = None
    note: str | None = None


@attrs.frozen
class Failed:
    """The turn has no answer: the agent refused it (a `RemoteError`), or its session is over."""

    error: BrokerError


Outcome = Answered | Cancelled | Failed
