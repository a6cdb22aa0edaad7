"""JSON-RPC 2.0, one message a line: bytes to lines, lines to envelopes, and envelopes back to bytes.

Only the envelope is decoded (DESIGN D1). What is inside passes as the bytes that came, so that methods, fields and
numbers which no model of ours knows arrive as they were sent.
"""

from __future__ import annotations

import enum
import json
from typing import Any, NoReturn

import msgspec

from trio_broker.errors import BadMessage, BrokerError

MAX_LINE = 64 * 1024 * 1024
BOM = b"\xef\xbb\xbf"

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603

_encode = msgspec.json.Encoder().encode


class LineTooLong(BadMessage):
    """A line above the limit; the stream can't be used any more."""

    code = "line_too_long"


class LineSplitter:
    """Bytes in any chunking become whole lines; every byte is looked at once."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self.limit = limit
        self._tail = bytearray()

    @property
    def pending(self) -> int:
        """Bytes of the line that has not ended yet."""
        return len(self._tail)

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` ends, as `lines_of` gives them. Raises LineTooLong, also for one that has not ended."""
        return lines_of(self.feed_block(data))

    def feed_block(self, data: bytes) -> bytes:
        """The same as one block, as it came: whole lines with their newlines, b"" if no line has ended yet."""
        end = data.rfind(b"\n") + 1
        if not end:
            self._tail += data
            self._check(len(self._tail))
            return b""
        block = bytes(self._tail) + data[:end] if self._tail else data[:end]
        self._tail = bytearray(data[end:])
        if len(block) > self.limit:
            self._check(max(map(len, block.split(b"\n"))))
        self._check(len(self._tail))
        return block

    def _check(self, size: int) -> None:
        if size > self.limit:
            raise LineTooLong(f"a line has more than {self.limit} bytes", limit=self.limit)


def lines_of(block: bytes) -> list[bytes]:
    """The lines of a block: without newline, trailing CR and leading BOM, blank ones left out."""
    lines = (line.removesuffix(b"\r").removeprefix(BOM) for line in block.split(b"\n"))
    return [line for line in lines if line.strip()]


class Kind(enum.Enum):
    REQUEST = enum.auto()
    NOTIFICATION = enum.auto()
    RESPONSE = enum.auto()


class Message(msgspec.Struct, frozen=True, eq=False, gc=False):
    """An envelope. `id`, `params`, `result` and `error` are raw JSON, byte for byte as they came."""

    raw: bytes
    kind: Kind
    id: bytes | None = None
    method: str | None = None
    params: bytes = b"{}"
    session_id: str | None = None
    result: bytes | None = None
    error: bytes | None = None


class _Envelope(msgspec.Struct, gc=False):
    id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    method: str | msgspec.UnsetType = msgspec.UNSET
    params: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Params(msgspec.Struct, gc=False, rename="camel"):
    session_id: str | None = None


_envelope = msgspec.json.Decoder(_Envelope).decode
_params = msgspec.json.Decoder(_Params).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def parse_envelope(line: bytes) -> Message:
    """The envelope of one line: a request or a notification if it has a method, whatever its id (RACES C12).

    Raises BadMessage with the `rpc_code` to answer: -32700 for what is no JSON, -32600 for JSON that is no message.
    """
    try:
        str(line, "utf-8")  # msgspec does not look into what it skips
        return _message(line, _envelope(line))
    except msgspec.ValidationError as error:
        raise _no_message(line, str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if isinstance(error, msgspec.DecodeError) and b"\\ud" in line.lower():
            return _message(line, _parse_with_stdlib(line))
        raise BadMessage(f"this is no JSON: {error}", rpc_code=PARSE_ERROR) from error


def _parse_with_stdlib(line: bytes) -> _Envelope:
    """JavaScript escapes half a surrogate pair, which msgspec refuses: equal in value, not byte for byte."""
    value = decode(line)
    method = value.get("method", msgspec.UNSET) if isinstance(value, dict) else None
    if not isinstance(method, str | msgspec.UnsetType):
        raise BadMessage("this is no JSON-RPC message: its method is no string")
    members = ("id", "params", "result", "error")
    raws = {name: msgspec.Raw(encode(value[name])) for name in members if name in value}
    return _Envelope(method=method, **raws)


def _message(line: bytes, envelope: _Envelope) -> Message:
    id = None if envelope.id is msgspec.UNSET else bytes(envelope.id)
    if envelope.method is not msgspec.UNSET:
        kind = Kind.NOTIFICATION if id is None else Kind.REQUEST
        raw = b"{}" if envelope.params is msgspec.UNSET else bytes(envelope.params)
        params = b"{}" if raw == b"null" else raw
        return Message(line, kind, id, envelope.method, params, session_id_of(params))
    result = None if envelope.result is msgspec.UNSET else bytes(envelope.result)
    error = None if envelope.error is msgspec.UNSET else bytes(envelope.error)
    if id is None or (result is None and error is None):
        raise BadMessage("a message has a method, or an id and a result or an error", id=id)
    return Message(
        line, Kind.RESPONSE, id, result=result, error=None if error == b"null" and result else error
    )


def session_id_of(params: bytes) -> str | None:
    try:
        return _params(params).session_id
    except msgspec.ValidationError:
        return None
    except msgspec.DecodeError:  # see _slowly
        value = decode(params)
    found = value.get("sessionId") if isinstance(value, dict) else None
    return found if isinstance(found, str) else None


def _no_message(line: bytes, why: str) -> BadMessage:
    try:
        id = bytes(_members(line)["id"])
    except (msgspec.DecodeError, RecursionError, KeyError):
        id = None
    text = "JSON-RPC batches are not supported; send one message a line" if line.lstrip()[:1] == b"[" else why
    return BadMessage(f"this is no JSON-RPC message: {text}", id=id)


def id_key(token: bytes) -> tuple[type, object]:
    """A key for an id's raw token: 1, 1.0, true and "1" differ, two spellings of one string do not (DESIGN D2)."""
    try:
        value = decode(token)
    except BadMessage:
        value = token
    if isinstance(value, dict | list):
        value = token
    return type(value), value


def request(id: int | bytes, method: str, params: bytes) -> bytes:
    """One line, its newline included, like those of the four below. `params` is raw JSON; so is an `id` in bytes."""
    id = id if isinstance(id, bytes) else b"%d" % id
    return b'{"jsonrpc":"2.0","id":%b,"method":%b,"params":%b}\n' % (id, encode(method), params)


def notification(method: str, params: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","method":%b,"params":%b}\n' % (encode(method), params)


def response(id: bytes, result: bytes) -> bytes:
    """`id` is the raw token of the request, given back as it came."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}\n' % (id, result)


def error_response(id: bytes, error: bytes) -> bytes:
    """`error` is the raw error object."""
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}\n' % (id, error)


def exception_response(id: bytes | None, error: BrokerError) -> bytes:
    """The same of one of our errors, with what it has for programs."""
    body = error_object(error.rpc_code, error.message, error.data())
    return error_response(b"null" if id is None else id, body)


def error_object(code: int, message: str, data: object = None) -> bytes:
    """A raw error object, without `data` when that is None."""
    return encode({"code": code, "message": message} | ({} if data is None else {"data": data}))


def encode(value: object) -> bytes:
    """Compact JSON in UTF-8. NaN and infinities, which JSON has not, become null (ValueError, on the slow way)."""
    try:
        return _encode(value)
    except (UnicodeEncodeError, OverflowError, TypeError):
        # Half a surrogate pair, which only an escape can carry, or a name that is no text: it is slow, and seldom.
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def encode_with(fields: dict[str, object], **raws: bytes) -> bytes:
    """An object of these members, and of more whose values are raw JSON already."""
    parts = [b"%b:%b" % (encode(name), encode(value)) for name, value in fields.items()]
    parts += [b"%b:%b" % (encode(name), raw) for name, raw in raws.items()]
    return b"{%b}" % b",".join(parts)


def decode(raw: bytes) -> Any:
    """Any JSON as Python values. Raises BadMessage (-32700): it is none, or has a number Python can't hold."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return json.loads(str(raw, "utf-8"), parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"this is no JSON: {error}", rpc_code=PARSE_ERROR) from error


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if abs(value) != float("inf") else _refuse(text)


def members(raw: bytes) -> dict[str, bytes]:
    """The members of a raw JSON object, each byte for byte.

    Raises BadMessage if it is no object (-32602), or no JSON that Python can hold (-32700).
    """
    try:
        return {key: bytes(value) for key, value in _members(raw).items()}
    except msgspec.ValidationError as error:
        raise BadMessage(f"expected an object: {error}", rpc_code=INVALID_PARAMS) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # see _slowly
        value = decode(raw)
        if not isinstance(value, dict):
            raise BadMessage("expected an object", rpc_code=INVALID_PARAMS) from None
        return {key: encode(item) for key, item in value.items()}


def replace_members(raw: bytes, **fields: object) -> bytes:
    """The raw JSON object with these members replaced or added, all others byte for byte. Raises as `members`."""
    new = members(raw) | {key: encode(value) for key, value in fields.items()}
    return b"{" + b",".join(encode(key) + b":" + value for key, value in new.items()) + b"}"
