"""Values that several folders share: phases, exits, outcomes of a turn, and why a connection ends."""

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


class CloseReason(enum.Enum):
    """Why a connection ends: the WebSocket close code (RFC 6455, section 7.4) and a few words for the other side."""

    LEFT = (1000, "")
    STOPPING = (1001, "the broker is stopping")
    NOT_INITIALIZED = (1002, "initialize did not come in time")
    TOO_SLOW = (1008, "too far behind; come back with the last number you have")
    TOO_LONG = (1009, "the message is too long; raise max_line in [broker]")
    FAILED = (1011, "the broker failed; its log says more")
    EXPIRED = (
        4401,
        "the token has expired or was revoked; `trio-broker token new` beside the broker makes one",
    )

    @property
    def code(self) -> int:
        return self.value[0]

    @property
    def text(self) -> str:
        return self.value[1]
