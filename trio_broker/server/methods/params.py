"""The parameters of the broker's own methods, as attrs classes, and how a method finds the session that they name."""

from __future__ import annotations

import attrs

from trio_broker.errors import Misuse
from trio_broker.protocol.acp import Object
from trio_broker.server.connection import Connection
from trio_broker.session.session import Session


@attrs.frozen
class SessionRef:
    """A session by its id or its key, and where it matters one of its prompts."""

    session_id: str | None = None
    key: str | None = None
    prompt_id: str | None = None
    policy: str | None = None
    if_busy: str | None = None


@attrs.frozen
class BindParams:
    agent: str | None = None
    command: list[str] | None = None
    key: str | None = None
    cwd: str | None = None
    env: dict[str, str] = attrs.field(factory=dict)
    policy: str | None = None


@attrs.frozen
class OpenParams:
    """The session of a key; `client_capabilities` as in `initialize`, for a client that does without it."""

    key: str
    cwd: str
    agent: str | None = None
    command: list[str] | None = None
    env: dict[str, str] = attrs.field(factory=dict)
    policy: str | None = None
    mcp_servers: list[Object] = attrs.field(factory=list)
    create: bool = True
    fresh: bool = False
    client_capabilities: Object | None = None


@attrs.frozen
class ListParams:
    cwd: str | None = None
    agent: str | None = None


@attrs.frozen
class WatchParams:
    after: int | None = None


@attrs.frozen
class ReadParams:
    """A session, and a number in its log to read from: 1 is the beginning, None what comes from now on.

    `role`: controller or observer; None: a controller where the client may act on the session.
    """

    session_id: str | None = None
    key: str | None = None
    since: int | None = None
    limit: int = 1000
    role: str | None = None


@attrs.frozen
class WaitParams:
    """A session and what to wait for: `idle`, `ask`, `closed`, or that the prompt of this id has ended."""

    session_id: str | None = None
    key: str | None = None
    until: str = "idle"
    prompt_id: str | None = None


@attrs.frozen
class ImportParams:
    """Of an export: the next ones of the import that has this `number`, or the first of another."""

    lines: list[str]
    number: int | None = None
    more: bool = False


@attrs.frozen
class PruneParams:
    older_than: float


@attrs.frozen
class ResumePosition:
    """Where a client was in a log, if it knows."""

    since: int | None = None
    began: int | None = None


@attrs.frozen
class QueueEditParams:
    """One change to a prompt that waits: another `prompt`, another `position` (1 is next), or `remove`."""

    prompt_id: str
    session_id: str | None = None
    key: str | None = None
    position: int | None = None
    remove: bool = False


@attrs.frozen
class AsksParams:
    """The open requests of one session, or of all, or the one of this id."""

    session_id: str | None = None
    key: str | None = None
    ask_id: str | None = None


@attrs.frozen
class AnswerParams:
    """An answer: an option by its id, or `allow`, `deny` or `cancel`, this once or `always`; `content` fills in a form.

    `cancel` closes the question without a decision.
    """

    ask_id: str
    option_id: str | None = None
    answer: str | None = None
    always: bool = False
    content: Object | None = None


@attrs.frozen
class RestartParams:
    session_id: str | None = None
    key: str | None = None
    kill: bool = False


@attrs.frozen
class LaunchParams:
    """An agent by its name or its `command`. `cwd`: where it is started if its configuration names no directory."""

    cwd: str
    agent: str | None = None
    command: list[str] | None = None


@attrs.frozen
class ShutdownParams:
    drain: bool = False


@attrs.frozen
class NewTokenParams:
    """`expires_in`: seconds from now; None: it does not expire. `roots`: directories on the broker's host."""

    name: str
    scopes: list[str]
    sessions: list[str] = attrs.field(factory=list)
    roots: list[str] = attrs.field(factory=list)
    expires_in: float | None = None


@attrs.frozen
class RevokeTokenParams:
    name: str


def enable_extensions(connection: Connection) -> None:
    """Who uses our own verbs knows our events, and what comes of a prompt without an `initialize`."""
    connection.subscriptions.events = connection.initialized = True


def find_session(connection: Connection, asked: SessionRef) -> Session:
    if asked.session_id is None and asked.key is None:
        raise Misuse("say which session: params.sessionId or params.key")
    enable_extensions(connection)
    return connection.find(session_id=asked.session_id, key=asked.key)
