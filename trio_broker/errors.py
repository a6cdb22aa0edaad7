"""Every error the broker raises, in one tree, told apart by who did it.

```
BrokerError(code)          stable `code` for machines, message for people
├─ BadMessage              the other side sent nonsense
├─ Misuse                  you called it wrongly
│   ├─ ConfigError         the configuration file or the environment is wrong
│   ├─ UnknownAgent
│   └─ NoDefaultAgent      no agent was named, and the configuration names none
├─ Forbidden               your token does not go so far
├─ NoSession, NoAsk, NoPrompt, PoolFull, QueueFull, Busy, Draining
├─ JournalError            the file of the logs: unreadable, full, newer than we are
├─ TokensError             the file of the tokens: damaged, not safe, can't be written
├─ BrokerRuns              a second daemon is one too many
├─ NoBroker, BrokerGone    the client's side: nobody listens; it went away in mid-call
├─ SpawnFailed             the agent did not get as far as a session
├─ CallCancelled           the client took its request back
├─ SessionOver             the session ended before it could answer
│   └─ AgentGone           ... because its process ended, or shut its mouth
└─ RemoteError             a JSON-RPC error of the peer, kept whole: code, message, data
```
"""

from __future__ import annotations

from typing import Any, ClassVar


class BrokerError(Exception):
    """Base of all; `code` is stable, `details` are JSON values that help a program."""

    code: ClassVar[str] = "broker_error"
    rpc_code: int = -32603

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def data(self) -> dict[str, Any]:
        """What goes into the `data` member of a JSON-RPC error."""
        return {"kind": self.code, **self.details}


class BadMessage(BrokerError):
    """The peer sent bytes that are no JSON-RPC message, or parameters that do not fit."""

    code = "bad_message"

    def __init__(
        self, message: str, *, rpc_code: int = -32600, id: bytes | None = None, **details: Any
    ) -> None:
        super().__init__(message, **details)
        self.rpc_code = rpc_code
        self.id = id


class Misuse(BrokerError):
    code = "misuse"
    rpc_code = -32602


class ConfigError(Misuse):
    code = "config"


class UnknownAgent(Misuse):
    code = "unknown_agent"


class NoDefaultAgent(Misuse):
    """No agent was named, and `default_agent` is not set; `agents` lists those that are installed."""

    code = "no_default_agent"


class Forbidden(BrokerError):
    """The client's token does not allow it; the message names the scope, or the limit, and how to get another."""

    code = "forbidden"
    rpc_code = -32003


class NoSession(BrokerError):
    code = "no_session"
    rpc_code = -32002


class NoAsk(BrokerError):
    """There is no such open question; `settled` says how it ended, if that is known."""

    code = "no_ask"
    rpc_code = -32602


class NoPrompt(BrokerError):
    """No such prompt waits in the queue; the message says what became of it, if that is known."""

    code = "no_prompt"
    rpc_code = -32602


class PoolFull(BrokerError):
    code = "pool_full"


class QueueFull(BrokerError):
    code = "queue_full"


class Busy(BrokerError):
    """A prompt that was to run at once or not at all finds another one there."""

    code = "busy"


class Draining(BrokerError):
    code = "draining"


class BrokerRuns(BrokerError):
    """Another broker already serves this runtime directory."""

    code = "broker_runs"


class JournalError(BrokerError):
    """The journal's file can't be read or written, or is not one of ours."""

    code = "journal"


class TokensError(BrokerError):
    """The file of the tokens can't be read or written, or is not one of ours."""

    code = "tokens"


class NoBroker(BrokerError):
    code = "no_broker"


class BrokerGone(BrokerError):
    code = "broker_gone"


class SpawnFailed(BrokerError):
    code = "spawn_failed"


class CallCancelled(BrokerError):
    """Who asked wants no answer any more (`$/cancel_request`); one is due all the same, and it is this."""

    code = "cancelled"
    rpc_code = -32800


class SessionOver(BrokerError):
    code = "session_over"


class AgentGone(SessionOver):
    """The agent's process ended or closed its stdout; details: exitCode, signal, stderrTail."""

    code = "agent_gone"


AUTH_REQUIRED = -32000  # ACP: the agent wants a login first


class RemoteError(BrokerError):
    """The peer's own JSON-RPC error."""

    code = "remote_error"

    def __init__(self, rpc_code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.rpc_code = rpc_code
        self.remote_data = data

    def data(self) -> Any:
        return self.remote_data


def from_rpc(error: dict[str, Any]) -> BrokerError:
    """The exception for a JSON-RPC error object: one of ours if `data.kind` names it, else `RemoteError`."""
    code, message, data = error.get("code"), error.get("message"), error.get("data")
    rpc_code = code if isinstance(code, int) else -32603
    text = message if isinstance(message, str) else "error without a message"
    if isinstance(data, dict) and (kind := _KINDS.get(str(data.get("kind")))):
        found = kind(text, **{key: value for key, value in data.items() if key not in ("kind", "message")})
        found.rpc_code = rpc_code
        return found
    return RemoteError(rpc_code, text, data)


_KINDS: dict[str, type[BrokerError]] = {
    kind.code: kind
    for kind in (
        Misuse,
        ConfigError,
        UnknownAgent,
        NoDefaultAgent,
        Forbidden,
        NoSession,
        NoAsk,
        NoPrompt,
        PoolFull,
        QueueFull,
    )
    + (Busy, Draining, SpawnFailed, SessionOver, AgentGone, JournalError, TokensError)
}
