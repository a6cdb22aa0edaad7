"""What `acp` knows of the talk of an editor with its broker: so that it outlives the broker, or the way there.

Who the editor is, which sessions it has, and what is not answered yet. Lines in, lines out: reading and writing are for
others. Another broker, or the same one again, is told with `greeting` what the one before knew.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import attrs
import msgspec

from trio_broker.errors import BadMessage, BrokerError, BrokerGone, from_rpc
from trio_broker.wire import META, jsonrpc
from trio_broker.wire.jsonrpc import Kind, Message

PATIENCE = 5.0  # seconds that a request of the editor waits for a broker, where none can be started
RETRY = 0.5  # seconds between two looks for one
GONE = "the broker closed the connection"
AGAIN = "connected to a broker again"
OPENING = ("session/new", "session/load", "session/resume")
ENDING = ("session/close", "session/delete")
WITHDRAWN = "$/cancel_request"
POSITION = b'{"jsonrpc":"2.0","method":"_trio_broker/position",'


@attrs.define
class _Place:
    """Where a session is in its log: `lines` of the editor's are `count` events, from `seq` on; `seen` have passed.

    `began`: the first number of the broker whose numbers these are.
    """

    began: int
    seq: int
    count: int
    lines: int
    seen: int = 0

    @property
    def next(self) -> int:
        """The number of the first event that the editor has not, as far as that can be told."""
        if self.lines == self.count:
            return self.seq + self.seen
        return self.seq + (self.count if self.seen == self.lines else 0)


@attrs.define(eq=False)
class Bridge:
    """`asked`: what `_trio_broker/bind` is told, None for nothing. `brokers` counts those that are gone."""

    asked: dict[str, Any] | None
    brokers: int = 0
    _hello: bytes | None = None
    _sessions: dict[str, bytes] = attrs.field(factory=dict)  # with what to resume each
    _owing: dict[bytes, Message] = attrs.field(factory=dict)  # what the editor waits for, by id
    _places: dict[str, _Place] = attrs.field(factory=dict)
    _now: _Place = attrs.field(factory=lambda: _Place(1, 0, 0, 0))  # that of the lines which come now
    _asking: set[bytes] = attrs.field(
        factory=set
    )  # what the broker waits for, by the ids that the editor sees
    _own: dict[bytes, str] = attrs.field(factory=dict)  # requests of ours, and the session of each
    _troubles: list[str] = attrs.field(factory=list)

    @property
    def owing(self) -> int:
        """How many requests of the editor are not answered."""
        return len(self._owing)

    # From the editor

    def forth(self, line: bytes) -> bytes:
        """A line of the editor as the broker is to have it; b"" if it is meant for a broker that is gone."""
        try:
            message = jsonrpc.peek(line)
        except BadMessage:
            return line + b"\n"  # the broker says what is wrong with it
        if message.kind is Kind.RESPONSE:
            return self._reply(message)
        if message.kind is Kind.REQUEST:
            message = _marked(message, promptId=secrets.token_hex(16))  # sent again, it still runs once
            self._owing[message.id or b"null"] = message
        return message.raw + b"\n"

    def _reply(self, message: Message) -> bytes:
        id = message.id or b"null"
        self._asking.discard(id)
        if not self.brokers:
            return message.raw + b"\n"
        number, _, brokers = str(jsonrpc.decode(id)).partition(" of ")
        return _with_id(message, number.encode()) if brokers == str(self.brokers) else b""

    def refusal(self, line: bytes, error: BrokerError) -> bytes:
        """What the editor is told of a line for which there is no broker: a request has an answer."""
        try:
            message = jsonrpc.peek(line)
        except BadMessage:
            return b""
        return jsonrpc.refusal(message.id, error) if message.kind is Kind.REQUEST else b""

    # From the broker

    def back(self, block: bytes) -> bytes:
        """Whole lines of the broker as the editor is to have them."""
        told = []
        while block:
            if (due := self._now.lines - self._now.seen) > 0:  # of a session, and for the editor as they are
                *lines, rest = block.split(b"\n", due)
                self._now.seen += len(lines)
                told.append(block.removesuffix(rest))
                block = rest
                continue
            others, mark, rest = block.partition(POSITION)
            told += map(self._back, jsonrpc.lines_of(others))
            if mark:
                place, _, rest = rest.partition(b"\n")
                self._note(jsonrpc.peek(mark + place).params)
            block = rest
        return b"".join(told)

    def _note(self, place: bytes) -> None:
        at = jsonrpc.decode(place)
        self._now = self._places[at["sessionId"]] = _Place(at["began"], at["seq"], at["count"], at["lines"])

    def _back(self, line: bytes) -> bytes:
        message = jsonrpc.peek(line)
        id = message.id or b"null"
        if message.kind is Kind.RESPONSE:
            if id in self._own:
                self._own_answered(self._own.pop(id), message)
                return b""
            self._answered(self._owing.pop(id, None), message)
        elif message.kind is Kind.REQUEST:
            self._asking.add(self._seen(id))
            return _with_id(message, self._seen(id))
        elif message.method == WITHDRAWN:
            id = self._seen(jsonrpc.members(message.params).get("requestId", b"null"))
            self._asking.discard(id)
            return _withdrawal(id)
        return line + b"\n"

    def _seen(self, id: bytes) -> bytes:
        """Every broker counts its requests from 1: the editor has to tell them apart."""
        return id if not self.brokers else b'"%b of %d"' % (id, self.brokers)

    def _answered(self, request: Message | None, answer: Message) -> None:
        if request is None or answer.error is not None:
            return
        if request.method == "initialize":
            self._hello = request.params
        elif request.method in OPENING:
            id = request.session_id or jsonrpc.decode(answer.result or b"{}")["sessionId"]
            self._sessions[id] = jsonrpc.with_fields(request.params, sessionId=id)
        elif request.method in ENDING and request.session_id is not None:
            self._sessions.pop(request.session_id, None)
            self._places.pop(request.session_id, None)

    # A broker is gone, and another is there

    def lost(self, why: str) -> bytes:
        """The broker is gone: what the editor is told of what waited. Prompts and `initialize` wait for the next."""
        told = [_withdrawal(id) for id in self._asking]
        for id, request in tuple(self._owing.items()):
            if request.method not in ("initialize", "session/prompt"):
                told.append(jsonrpc.refusal(id, BrokerGone(f"{why} before it had answered; ask again")))
                del self._owing[id]
        self.brokers += 1
        self._asking.clear()
        self._own.clear()
        self._now = _Place(1, 0, 0, 0)
        return b"".join(told)

    @property
    def greeted(self) -> bool:
        """The broker has answered all that it was told of `greeting`."""
        return not self._own

    def greeting(self) -> Iterator[bytes]:
        """What a broker is told first, piece by piece: each waits until it has `greeted`.

        `back` raises what it refuses.
        """
        yield self._request("_trio_broker/positions", b"{}")
        if self.asked is not None:
            yield self._request("_trio_broker/bind", jsonrpc.encode(self.asked))
        if self._hello is not None:
            yield self._request("initialize", self._hello)
        yield b"".join(map(self._resumption, self._sessions))
        yield b"".join(_marked(owed, again=True).raw + b"\n" for owed in self._owing.values())

    def troubles(self) -> list[str]:
        """What could not be taken up again, and why, for who reads stderr; each once."""
        troubles, self._troubles = self._troubles, []
        return troubles

    def _resumption(self, id: str) -> bytes:
        params = self._sessions[id]
        if id in self._places:
            place = self._places[id]
            params = _with_options(params, since=place.next, began=place.began)
        return self._request("session/resume", params, id)

    def _request(self, method: str, params: bytes, session: str = "") -> bytes:
        id = b'"trio-broker:%d"' % len(self._own)
        self._own[id] = session
        return jsonrpc.request(id, method, params)

    def _own_answered(self, session: str, answer: Message) -> None:
        if answer.error is None:
            return
        error = from_rpc(jsonrpc.decode(answer.error))
        if not session:
            raise error
        del self._sessions[session]
        self._troubles.append(f"session {session} could not be taken up again: {error.message}")


def _marked(request: Message, **options: object) -> Message:
    """A prompt with these options for the broker; all else as it is."""
    if request.method != "session/prompt":
        return request
    try:
        params = _with_options(request.params, **options)
    except BadMessage:
        return request  # the broker says what is wrong with it
    return jsonrpc.peek(jsonrpc.request(request.id or b"null", "session/prompt", params).strip())


def _with_options(params: bytes, **options: object) -> bytes:
    """Parameters with these options for the broker, of which those that the editor gave count."""
    meta = _object(jsonrpc.decode(jsonrpc.members(params).get("_meta", b"{}")))
    return jsonrpc.with_fields(params, _meta=meta | {META: options | _object(meta.get(META))})


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _with_id(message: Message, id: bytes) -> bytes:
    return jsonrpc.with_fields(message.raw, id=msgspec.Raw(id)) + b"\n"


def _withdrawal(id: bytes) -> bytes:
    return jsonrpc.notification(WITHDRAWN, b'{"requestId":%b}' % id)
