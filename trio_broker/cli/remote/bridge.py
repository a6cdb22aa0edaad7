"""The state of an editor's connection to a broker, so that `acp` survives the loss of the broker or of the network.

It holds the editor's `initialize`, its sessions with their log positions, and the requests without an answer. Lines go
in and lines come out; the pumps do the I/O. After a reconnect, `handshake` gives the lines that restore this state in
the broker.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import attrs
import msgspec

from trio_broker.errors import BadMessage, BrokerError, BrokerGone, from_rpc
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.extensions import META_KEY
from trio_broker.protocol.jsonrpc import Kind, Message

BROKER_TIMEOUT = 5.0  # seconds that a request of the editor waits for a broker, where none can be started
RETRY_INTERVAL = 0.5  # seconds between two looks for one
BROKER_GONE = "the broker closed the connection"
RECONNECTED = "connected to a broker again"
OPEN_METHODS = ("session/new", "session/load", "session/resume")
CLOSE_METHODS = ("session/close", "session/delete")
CANCEL_REQUEST = "$/cancel_request"
POSITION_PREFIX = b'{"jsonrpc":"2.0","method":"_trio_broker/position",'


@attrs.define
class _LogPosition:
    """The position of a session in its log: the next `lines` lines of the editor are `count` events, from `seq` on.

    `passed`: how many of these lines were sent to the editor. `began`: the first number of the broker that counts here.
    """

    began: int
    seq: int
    count: int
    lines: int
    passed: int = 0

    @property
    def next(self) -> int:
        """The number of the first event that the editor has not, as far as that can be told."""
        if self.lines == self.count:
            return self.seq + self.passed
        return self.seq + (self.count if self.passed == self.lines else 0)


@attrs.define(eq=False)
class Bridge:
    """`bind_params`: those of `_trio_broker/bind`, None to send none. `lost_brokers` counts the lost connections."""

    bind_params: dict[str, Any] | None
    lost_brokers: int = 0
    _initialize_params: bytes | None = None
    _sessions: dict[str, bytes] = attrs.field(factory=dict)  # with what to resume each
    _unanswered: dict[bytes, Message] = attrs.field(factory=dict)  # what the editor waits for, by id
    _positions: dict[str, _LogPosition] = attrs.field(factory=dict)
    # that of the lines which come now
    _current: _LogPosition = attrs.field(factory=lambda: _LogPosition(1, 0, 0, 0))
    # what the broker waits for, by the ids that the editor sees
    _broker_requests: set[bytes] = attrs.field(factory=set)
    _own_requests: dict[bytes, str] = attrs.field(factory=dict)  # requests of ours, and the session of each
    _resume_errors: list[str] = attrs.field(factory=list)

    @property
    def unanswered(self) -> int:
        """How many requests of the editor are not answered."""
        return len(self._unanswered)

    # From the editor

    def to_broker(self, line: bytes) -> bytes:
        """A line of the editor as the broker is to have it; b"" if it is meant for a broker that is gone."""
        try:
            message = jsonrpc.parse_envelope(line)
        except BadMessage:
            return line + b"\n"  # the broker says what is wrong with it
        if message.kind is Kind.RESPONSE:
            return self._response_to_broker(message)
        if message.kind is Kind.REQUEST:
            # sent again, it still runs once
            message = _with_prompt_options(message, promptId=secrets.token_hex(16))
            self._unanswered[message.id or b"null"] = message
        return message.raw + b"\n"

    def _response_to_broker(self, message: Message) -> bytes:
        id = message.id or b"null"
        self._broker_requests.discard(id)
        if not self.lost_brokers:
            return message.raw + b"\n"
        number, _, broker = str(jsonrpc.decode(id)).partition(" of ")
        return _with_id(message, number.encode()) if broker == str(self.lost_brokers) else b""

    def error_reply(self, line: bytes, error: BrokerError) -> bytes:
        """What the editor is told of a line for which there is no broker: a request has an answer."""
        try:
            message = jsonrpc.parse_envelope(line)
        except BadMessage:
            return b""
        return jsonrpc.exception_response(message.id, error) if message.kind is Kind.REQUEST else b""

    # From the broker

    def to_editor(self, block: bytes) -> bytes:
        """Whole lines of the broker as the editor is to have them."""
        output = []
        while block:
            due = self._current.lines - self._current.passed
            if due > 0:  # of a session, and for the editor as they are
                *lines, rest = block.split(b"\n", due)
                self._current.passed += len(lines)
                output.append(block.removesuffix(rest))
                block = rest
                continue
            rest_before, prefix, rest = block.partition(POSITION_PREFIX)
            output += map(self._line_to_editor, jsonrpc.lines_of(rest_before))
            if prefix:
                position, _, rest = rest.partition(b"\n")
                self._set_position(jsonrpc.parse_envelope(prefix + position).params)
            block = rest
        return b"".join(output)

    def _set_position(self, position: bytes) -> None:
        at = jsonrpc.decode(position)
        self._current = self._positions[at["sessionId"]] = _LogPosition(
            at["began"], at["seq"], at["count"], at["lines"]
        )

    def _line_to_editor(self, line: bytes) -> bytes:
        message = jsonrpc.parse_envelope(line)
        id = message.id or b"null"
        if message.kind is Kind.RESPONSE:
            if id in self._own_requests:
                self._check_own_answer(self._own_requests.pop(id), message)
                return b""
            self._record_answer(self._unanswered.pop(id, None), message)
        elif message.kind is Kind.REQUEST:
            self._broker_requests.add(self._editor_id(id))
            return _with_id(message, self._editor_id(id))
        elif message.method == CANCEL_REQUEST:
            id = self._editor_id(jsonrpc.members(message.params).get("requestId", b"null"))
            self._broker_requests.discard(id)
            return _cancel_notification(id)
        return line + b"\n"

    def _editor_id(self, id: bytes) -> bytes:
        """Every broker counts its requests from 1: the editor has to tell them apart."""
        return id if not self.lost_brokers else b'"%b of %d"' % (id, self.lost_brokers)

    def _record_answer(self, request: Message | None, answer: Message) -> None:
        if request is None or answer.error is not None:
            return
        if request.method == "initialize":
            self._initialize_params = request.params
        elif request.method in OPEN_METHODS:
            id = request.session_id or jsonrpc.decode(answer.result or b"{}")["sessionId"]
            self._sessions[id] = jsonrpc.replace_members(request.params, sessionId=id)
        elif request.method in CLOSE_METHODS and request.session_id is not None:
            self._sessions.pop(request.session_id, None)
            self._positions.pop(request.session_id, None)

    # A broker is gone, and another is there

    def broker_lost(self, why: str) -> bytes:
        """The broker is gone: what the editor is told of what waited. Prompts and `initialize` wait for the next."""
        output = [_cancel_notification(id) for id in self._broker_requests]
        for id, request in tuple(self._unanswered.items()):
            if request.method not in ("initialize", "session/prompt"):
                output.append(
                    jsonrpc.exception_response(id, BrokerGone(f"{why} before it had answered; ask again"))
                )
                del self._unanswered[id]
        self.lost_brokers += 1
        self._broker_requests.clear()
        self._own_requests.clear()
        self._current = _LogPosition(1, 0, 0, 0)
        return b"".join(output)

    @property
    def handshake_done(self) -> bool:
        """Whether the broker has answered every request of `handshake` that was sent."""
        return not self._own_requests

    def handshake(self) -> Iterator[bytes]:
        """Yield the first lines for a new connection, block by block; send the next one when `handshake_done` is true.

        `to_editor` raises the error of a request that the broker refuses.
        """
        yield self._request("_trio_broker/positions", b"{}")
        if self.bind_params is not None:
            yield self._request("_trio_broker/bind", jsonrpc.encode(self.bind_params))
        if self._initialize_params is not None:
            yield self._request("initialize", self._initialize_params)
        yield b"".join(map(self._resume_request, self._sessions))
        yield b"".join(
            _with_prompt_options(request, again=True).raw + b"\n" for request in self._unanswered.values()
        )

    def take_resume_errors(self) -> list[str]:
        """What could not be taken up again, and why, for who reads stderr; each once."""
        errors, self._resume_errors = self._resume_errors, []
        return errors

    def _resume_request(self, id: str) -> bytes:
        params = self._sessions[id]
        if id in self._positions:
            position = self._positions[id]
            params = _with_options(params, since=position.next, began=position.began)
        return self._request("session/resume", params, id)

    def _request(self, method: str, params: bytes, session: str = "") -> bytes:
        id = b'"trio-broker:%d"' % len(self._own_requests)
        self._own_requests[id] = session
        return jsonrpc.request(id, method, params)

    def _check_own_answer(self, session: str, answer: Message) -> None:
        if answer.error is None:
            return
        error = from_rpc(jsonrpc.decode(answer.error))
        if not session:
            raise error
        del self._sessions[session]
        self._resume_errors.append(f"session {session} could not be taken up again: {error.message}")


def _with_prompt_options(request: Message, **options: object) -> Message:
    """A prompt with these options for the broker; all else as it is."""
    if request.method != "session/prompt":
        return request
    try:
        params = _with_options(request.params, **options)
    except BadMessage:
        return request  # the broker says what is wrong with it
    return jsonrpc.parse_envelope(jsonrpc.request(request.id or b"null", "session/prompt", params).strip())


def _with_options(params: bytes, **options: object) -> bytes:
    """Parameters with these options for the broker, of which those that the editor gave count."""
    meta = _object(jsonrpc.decode(jsonrpc.members(params).get("_meta", b"{}")))
    return jsonrpc.replace_members(params, _meta=meta | {META_KEY: options | _object(meta.get(META_KEY))})


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _with_id(message: Message, id: bytes) -> bytes:
    return jsonrpc.replace_members(message.raw, id=msgspec.Raw(id)) + b"\n"


def _cancel_notification(id: bytes) -> bytes:
    return jsonrpc.notification(CANCEL_REQUEST, b'{"requestId":%b}' % id)
