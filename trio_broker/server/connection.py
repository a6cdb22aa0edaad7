"""One client's connection: its ids, what it is attached to, and the way of a message to its handler and back.

Everything here is synchronous, so requests take effect in the order in which they came: a cancel that follows a prompt
finds it. What has to wait runs in a task of the connection; leaving ends those tasks and nothing else (DESIGN D8).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Protocol

import attrs
import trio
from trio_util import AsyncValue

from trio_broker.auth.grant import OWNER, Grant, require_scope
from trio_broker.broker.broker import Broker
from trio_broker.broker.open_request import SessionDefaults
from trio_broker.errors import BadMessage, BrokerError, CallCancelled
from trio_broker.journal.log import Cursor, Log
from trio_broker.model import Answered, Cancelled, CloseReason, Outcome
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.auth_methods import error_for_client
from trio_broker.protocol.capabilities import ClientCapabilities
from trio_broker.protocol.extensions import EVENT, META_KEY, METHOD_PREFIX
from trio_broker.protocol.jsonrpc import Kind, Message, id_key
from trio_broker.protocol.pending import IncomingIds, OnReply, PendingRequests, Reply
from trio_broker.server.methods import scopes
from trio_broker.server.subscription import Subscriptions
from trio_broker.session.session import Session
from trio_broker.session.turn_queue import Turn
from trio_broker.transport.outbox import Outbox

log = logging.getLogger(__name__)

LAST_WRITE = 5.0  # seconds
IdKey = tuple[type, object]


class SessionlessAgent(Protocol):
    """An agent without a conversation, to which a client's request was forwarded."""

    def notify(self, method: str, params: bytes) -> None: ...
    def forget(self, number: int) -> None: ...


SyncMethod = Callable[["Connection", Message], bytes | None]
AsyncMethod = Callable[["Connection", Message], Awaitable[bytes | None]]


@attrs.frozen
class Handlers:
    """How methods are answered: a raw result, or None when the handler has replied or will. They raise BrokerError."""

    sync_methods: Mapping[str, SyncMethod]
    async_methods: Mapping[str, AsyncMethod]
    notifications: Mapping[str, Callable[[Connection, Message], None]]
    fallback: SyncMethod

    def owns(self, method: str) -> bool:
        """Whether it is never passed on: a request of this name would go past queue and log without its id."""
        return method.startswith("$/") or method in self.sync_methods or method in self.async_methods


@attrs.define(eq=False)
class Connection:
    """`nursery` is the connection's own, for what has to wait. It is a Listener of the sessions it is attached to.

    `full_read_lock` is held while a whole log is gone through, which takes memory as long as that.
    """

    broker: Broker
    handlers: Handlers
    nursery: trio.Nursery
    name: str = "client"
    grant: Grant = OWNER
    outbox: Outbox = attrs.field(factory=Outbox)
    subscriptions: Subscriptions = attrs.field(init=False)
    defaults: SessionDefaults | None = None
    initialized: bool = False
    active: bool = False  # it has asked for something: an initialize, or a verb of ours
    close_reason: CloseReason | None = None
    aborted: bool = False
    client_capabilities: Mapping[str, Any] = attrs.field(factory=dict)
    program: str = ""  # as it calls itself at `initialize`
    unanswered: AsyncValue[int] = attrs.field(factory=lambda: AsyncValue(0))
    full_read_lock: trio.Lock = attrs.field(factory=trio.Lock)
    prompts: dict[IdKey, tuple[Session, Turn]] = attrs.field(factory=dict)
    forwarded: dict[IdKey, tuple[Session | SessionlessAgent, int]] = attrs.field(factory=dict)
    waiting_calls: dict[IdKey, trio.CancelScope] = attrs.field(
        factory=dict
    )  # verbs of ours that have no answer yet
    _calls: PendingRequests[OnReply] = attrs.field(factory=PendingRequests)
    _ids: IncomingIds = attrs.field(factory=IncomingIds)

    def __attrs_post_init__(self) -> None:
        self.subscriptions = Subscriptions(self, self.outbox, self.grant)

    # From the client

    def receive_line(self, line: bytes) -> None:
        """Act on one line of the client. Nonsense is answered, and the connection lives (DESIGN D13)."""
        try:
            message = jsonrpc.parse_envelope(line)
            if message.kind is Kind.REQUEST:
                self._claim(message.id or b"null")
        except BadMessage as error:
            self.send(jsonrpc.exception_response(error.id, error))
            return
        self._dispatch(message)

    def _claim(self, id: bytes) -> None:
        limit = self.broker.config.listen.max_in_flight
        if len(self._ids) >= limit:
            raise BadMessage(
                f"{limit} requests of this connection wait for their answers, the limit; wait for some, or raise "
                "max_in_flight in [listen]",
                id=id,
            )
        self._ids.claim(id)
        self.unanswered.value = len(self._ids)

    def _dispatch(self, message: Message) -> None:
        if message.kind is Kind.REQUEST:
            self._handle_request(message)
        elif message.kind is Kind.NOTIFICATION:
            self._handle_notification(message)
        elif on_reply := self._calls.close(message.id):
            on_reply(message)

    def _handle_request(self, message: Message) -> None:
        method = message.method or ""
        self.active = self.active or method == "initialize" or method.startswith(METHOD_PREFIX)
        try:
            require_scope(self.grant, scopes.of_request(method), method)
            if waiting := self.handlers.async_methods.get(method):
                self.nursery.start_soon(self._handle_async, waiting, message)
                return
            result = self.handlers.sync_methods.get(method, self.handlers.fallback)(self, message)
        except BrokerError as error:
            self.fail(message, error)
        else:
            self._reply_if(message, result)

    async def _handle_async(self, handler: AsyncMethod, message: Message) -> None:
        with trio.CancelScope() as scope:
            if (message.method or "").startswith(METHOD_PREFIX):  # an agent's session is made to the end
                self.waiting_calls[id_key(message.id or b"null")] = scope
            try:
                result = await handler(self, message)
            except BrokerError as error:
                self.fail(message, error)
            else:
                self._reply_if(message, result)
        if scope.cancelled_caught:
            self.fail(message, CallCancelled("Request cancelled"))

    def _handle_notification(self, message: Message) -> None:
        method = message.method or ""
        try:
            require_scope(self.grant, scopes.of_notification(method), method)
            if handler := self.handlers.notifications.get(method):
                handler(self, message)
            elif message.session_id is not None and not self.handlers.owns(method):
                self.session(message).notify(method, message.params)
        except BrokerError as error:  # it has no answer to carry it
            log.info("notification_dropped client=%s method=%r why=%s", self.name, method[:100], error)

    # To the client

    def send(self, frame: bytes) -> None:
        self.outbox.put(frame)

    def send_after_log(self, log: Log, frame: bytes) -> None:
        """Send a frame after all that stands in this log now."""
        self.outbox.put(frame, self.subscriptions.cursor_of(log))

    def send_event(self, kind: str, **fields: Any) -> None:
        """A `_trio_broker/event`, to clients that speak our own methods; plain ACP clients are spared them."""
        if self.subscriptions.events:
            self.send(jsonrpc.notification(EVENT, jsonrpc.encode({"kind": kind, **fields})))

    def _reply_if(self, message: Message, result: bytes | None) -> None:
        if result is not None:
            self.reply(message, result)

    def reply(self, message: Message, result: bytes, after: Cursor | None = None) -> None:
        """Answer a request with a raw result, under the id it came with, behind what `after` has now."""
        self._release(message)
        self.outbox.put(jsonrpc.response(message.id or b"null", result), after)

    def fail(self, message: Message, error: BrokerError, after: Cursor | None = None) -> None:
        """Answer a request with an error; an agent's own error keeps its code, message and data (RACES C18)."""
        self._release(message)
        self._send_error(message, jsonrpc.error_object(error.rpc_code, error.message, error.data()), after)

    def _send_error(self, message: Message, error: bytes, after: Cursor | None) -> None:
        error = error_for_client(error, self.client_capabilities)
        self.outbox.put(jsonrpc.error_response(message.id or b"null", error), after)

    def _release(self, message: Message) -> None:
        id = message.id or b"null"
        self.prompts.pop(id_key(id), None)
        self.forwarded.pop(id_key(id), None)
        self.waiting_calls.pop(id_key(id), None)
        self._ids.release(id)
        self.unanswered.value = len(self._ids)

    def forward_reply(self, message: Message, log: Log | None, reply: Reply) -> None:
        """Give an agent's answer to the client that asked, untouched, after what the agent said before."""
        after = self.subscriptions.cursor_of(log) if log is not None else None
        if isinstance(reply, BrokerError):
            self.fail(message, reply, after)
        elif reply.error is None:
            self.reply(message, reply.result or b"null", after)
        else:
            self._release(message)
            self._send_error(message, reply.error, after)

    # As a listener: what the broker asks this client

    @property
    def identity(self) -> str:
        """For the record: whose client it is, and which of theirs."""
        return f"{self.grant.name} ({self.name})"

    @property
    def label(self) -> str:
        """For people and agents: which program, and which connection of it."""
        return f"{self.program!r} ({self.name})" if self.program else repr(self.name)

    def request(self, log: Log, method: str, params: bytes, on_reply: OnReply) -> int:
        """Ask the client something; `on_reply` hears its answer unless it is withdrawn or the client leaves."""
        number = self._calls.open(on_reply)
        self.send_after_log(log, jsonrpc.request(number, method, params))
        return number

    def withdraw(self, number: int) -> None:
        """The answer is not needed any more: the client may close its dialog."""
        if self._calls.forget(number) is not None:
            self.send(jsonrpc.notification("$/cancel_request", jsonrpc.encode({"requestId": number})))

    def can_elicit(self, mode: object) -> bool:
        modes = self.client_capabilities.get("elicitation")
        return isinstance(modes, dict) and isinstance(mode, str) and isinstance(modes.get(mode), dict)

    def client_request_id(self, log: Log, number: int) -> object | None:
        """The id under which this client has asked what went to the agent of that log under `number`."""
        for key, (session, turn) in self.prompts.items():
            if session.log is log and turn.number == number:
                return key[1]
        for key, (agent, passed) in self.forwarded.items():
            if isinstance(agent, Session) and agent.log is log and passed == number:
                return key[1]
        return None

    # Sessions

    def set_capabilities(self, capabilities: Mapping[str, Any]) -> None:
        """What the client can show from now on."""
        self.client_capabilities = capabilities
        self.subscriptions.capabilities = ClientCapabilities.of(capabilities)

    def check_initialized(self) -> None:
        """Raises BadMessage before the client has said who it is."""
        if not self.initialized:
            raise BadMessage("the first ACP request must be initialize")

    def session(self, message: Message) -> Session:
        """The session that a message names. Raises NoSession, or BadMessage if it names none."""
        if message.session_id is None:
            raise BadMessage("params.sessionId: expected a string", rpc_code=jsonrpc.INVALID_PARAMS)
        return self.find(session_id=message.session_id)

    def find(self, *, session_id: str | None = None, key: str | None = None) -> Session:
        """A session by id or key, if it is any business of this client. Raises NoSession."""
        return self.broker.find(session_id=session_id, key=key, grant=self.grant)

    @contextlib.contextmanager
    def opening(self, session: Session) -> Iterator[None]:
        """Around the answer to a request that opens a session: a client that is not attached in the end has left it."""
        try:
            yield
        finally:
            if session not in self.subscriptions.attached:
                session.router.client_left(self)

    def sessions(self) -> list[Session]:
        """The sessions that are any business of this client."""
        return self.broker.sessions(self.grant)

    def submit(self, session: Session, turn: Turn, *, first: bool = False) -> int:
        """Queue a turn, or put it `first`; its place: 0 runs at once. Raises QueueFull, SessionOver."""
        self.subscriptions.check_controls(session)
        self.broker.check_accepting()
        turn.author_name = self.name
        self.subscriptions.attach(session)
        return session.submit(turn, first=first)

    def reply_outcome(self, message: Message, session: Session, outcome: Outcome) -> None:
        """Answer a `session/prompt` with its turn's outcome, after all of its updates."""
        after = self.subscriptions.attached.get(session)
        if isinstance(outcome, Answered):
            self.reply(message, outcome.result, after)
        elif isinstance(outcome, Cancelled):
            self.reply(message, _cancelled(outcome), after)
        else:
            self.fail(message, outcome.error, after)

    def finish(self, reason: CloseReason) -> None:
        """Nothing more will be sent: when what is due has been, the connection ends. Its first reason counts."""
        self.close_reason = self.close_reason or reason
        self.outbox.finish()

    def abort(self, reason: CloseReason) -> None:
        """End the connection, whatever is still due. A write under way has LAST_WRITE seconds, for half a message can't
        be followed by the reason of the end.
        """
        self.close_reason = self.close_reason or reason
        self.aborted = True
        self.outbox.close()
        self.nursery.cancel_scope.deadline = trio.current_time() + LAST_WRITE

    def detach_all(self) -> None:
        """The client is gone: it hears nothing more and is asked nothing more. Its turns go on."""
        self.subscriptions.detach_all()
        for agent, number in self.forwarded.values():
            if not isinstance(agent, Session):  # it lives for as long as somebody waits for an answer
                agent.forget(number)
        self.outbox.close()


def _cancelled(outcome: Cancelled) -> bytes:
    """The agent's own answer, if it gave one, and the note."""
    result = outcome.result or b'{"stopReason":"cancelled"}'
    if outcome.note is None:
        return result
    meta = jsonrpc.decode(jsonrpc.members(result).get("_meta", b"null"))
    broker_meta = {META_KEY: {"note": outcome.note}}
    return jsonrpc.replace_members(result, _meta=(meta if isinstance(meta, dict) else {}) | broker_meta)
