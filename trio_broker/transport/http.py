"""The head of an HTTP request at the WebSocket's door: what it asks for, and why it is refused.

Pure: bytes in, values out.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import parse_qs, unquote, urlsplit

import attrs
import h11

from trio_broker.errors import BrokerError

MAX_HEAD = 16 * 1024  # bytes of a head
QUERY_FIELDS = 64
PROTOCOL = "acp.v1"
BEARER = "bearer."  # a sub-protocol that carries a token, since browsers can't set headers
DEFLATE = re.compile(
    r"permessage-deflate(?:\s*;\s*(?:(?:client|server)_no_context_takeover"
    r"|client_max_window_bits(?:=(?:9|1[0-5]))?|server_max_window_bits=(?:9|1[0-5])))*"
)


class HttpError(BrokerError):
    """A request that is answered with this status and a sentence, and no WebSocket."""

    code = "refused"

    def __init__(self, status: HTTPStatus, message: str, *headers: tuple[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


@attrs.frozen
class HttpRequest:
    """A request's head. `query`: the first value of each key. Header names are lower case.

    `trailing_data`: the bytes that followed the head.
    """

    method: str
    path: str
    query: dict[str, str] = attrs.field(repr=False)
    headers: Sequence[tuple[str, str]] = attrs.field(repr=False)
    trailing_data: bytes = attrs.field(default=b"", repr=False)

    def get(self, name: str) -> str | None:
        """A header's value, several of them joined by commas; None if there is none."""
        values = [value for header, value in self.headers if header == name]
        return ", ".join(values) if values else None

    def list_header(self, name: str) -> list[str]:
        """The members of a header that is a list."""
        return [word.strip() for word in (self.get(name) or "").split(",") if word.strip()]


@attrs.frozen
class OriginPolicy:
    """`origins` and `hosts` that are let in, in lower case; the path's agent is looked up elsewhere."""

    origins: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()
    compression: bool = False


@attrs.frozen
class UpgradeRequest:
    """What an upgrade asks for: an agent, a session's key, or neither; its token if it brings one.

    `websocket_key`, `protocol` and `deflate`, an offer of compression, are for the handshake.
    """

    websocket_key: str
    agent: str | None = None
    key: str | None = None
    token: str | None = attrs.field(default=None, repr=False)
    protocol: str | None = None
    deflate: str | None = None

    def minimal_request(self) -> bytes:
        """The request as wsproto is to see it: what the handshake needs, and nothing else of the client's.

        It is picky (one Connection header, well-formed extensions), and whoever waits for its answer waits for ever.
        """
        lines = [
            "GET /acp HTTP/1.1",
            "Host: broker",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {self.websocket_key}",
        ]
        if self.protocol is not None:
            lines.append(f"Sec-WebSocket-Protocol: {self.protocol}")
        if self.deflate is not None:
            lines.append(f"Sec-WebSocket-Extensions: {self.deflate}")
        return "\r\n".join([*lines, "", ""]).encode("ascii")


class RequestReader:
    """Bytes in any chunking become one head."""

    def __init__(self) -> None:
        self._size = 0
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)

    def feed(self, data: bytes) -> HttpRequest | None:
        """The head, None if it is not whole yet; b"" is the end of the stream. Raises Refusal."""
        self._size += len(data)
        try:
            self._parser.receive_data(data)
            event = self._parser.next_event()
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
                raise _too_large() from None
            why = str(error).partition(":")[0]  # behind it is what came, which may be a secret
            raise HttpError(
                HTTPStatus(error.error_status_hint),
                f"this is no HTTP request that a broker understands: {why}",
            ) from None
        if not isinstance(event, h11.Request):
            return None
        trailing_data, _ = self._parser.trailing_data
        if self._size - len(trailing_data) > MAX_HEAD:
            raise _too_large()
        return _head(event, trailing_data)


def _too_large() -> HttpError:
    return HttpError(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        f"the head of the request has more than {MAX_HEAD} bytes, the limit; send fewer headers",
    )


def _head(event: h11.Request, trailing_data: bytes) -> HttpRequest:
    path, _, query = event.target.decode("latin-1").partition("?")
    try:
        if not path.startswith("/"):  # as for a proxy, with scheme and host
            path = urlsplit(path).path
        found = parse_qs(query, max_num_fields=QUERY_FIELDS)
    except ValueError:
        raise HttpError(HTTPStatus.BAD_REQUEST, "the request's target can't be read") from None
    headers = [(name.decode("ascii"), value.decode("latin-1")) for name, value in event.headers]
    if event.http_version < b"1.1":  # nobody on the way would know of it (RFC 9110, 7.8)
        headers = [pair for pair in headers if pair[0] != "upgrade"]
    first = {name: values[0] for name, values in found.items()}
    return HttpRequest(event.method.decode("ascii"), unquote(path), first, headers, trailing_data)


def parse_upgrade(request: HttpRequest, rules: OriginPolicy) -> UpgradeRequest:
    """What this head asks for, if it asks for a WebSocket and comes from where it may. Raises Refusal."""
    _check_host(request, rules)
    _check_origin(request, rules)
    _check_upgrade(request)
    return UpgradeRequest(
        websocket_key=request.get("sec-websocket-key") or "",
        agent=_agent(request) or request.query.get("agent"),
        key=request.query.get("session"),
        token=token_of(request),
        protocol=PROTOCOL if PROTOCOL in request.list_header("sec-websocket-protocol") else None,
        deflate=_deflate(request) if rules.compression else None,
    )


def _agent(request: HttpRequest) -> str | None:
    """The agent of /acp/AGENT."""
    match request.path.removeprefix("/").removesuffix("/").split("/"):
        case [""] | ["acp"]:
            return None
        case ["acp", agent] if agent:
            return agent
    raise HttpError(HTTPStatus.NOT_FOUND, "there is nothing here; a broker's sessions are at /acp")


def _deflate(request: HttpRequest) -> str | None:
    """The first offer of compression that is well-formed."""
    return next(
        (offer for offer in request.list_header("sec-websocket-extensions") if DEFLATE.fullmatch(offer)), None
    )


def _check_host(request: HttpRequest, rules: OriginPolicy) -> None:
    # A page of a foreign name that resolves to this machine must not get in (DNS rebinding). An address is no name.
    name = _host_name(request.get("host") or "")
    if name == "localhost" or name in rules.hosts or _is_address(name):
        return
    raise HttpError(
        HTTPStatus.FORBIDDEN,
        f"this broker does not go by the name {name[:100]!r}; add it to hosts in [listen], or use its address",
    )


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _check_origin(request: HttpRequest, rules: OriginPolicy) -> None:
    # Only browsers send one, and any page may have a browser connect to this machine.
    origin = request.get("origin")
    if origin is not None and origin.lower().rstrip("/") not in rules.origins:
        raise HttpError(
            HTTPStatus.FORBIDDEN,
            f"pages of {origin[:100]!r} may not use this broker; add that origin to origins in [listen]",
        )


def _check_upgrade(request: HttpRequest) -> None:
    wanted = "websocket" in [word.lower() for word in request.list_header("upgrade")]
    if request.method != "GET" or not wanted:
        raise HttpError(
            HTTPStatus.UPGRADE_REQUIRED,
            "this is a WebSocket that speaks ACP; connect to it with an ACP client, as ws://…/acp",
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
        )
    if request.get("sec-websocket-version") != "13":
        raise HttpError(
            HTTPStatus.UPGRADE_REQUIRED,
            "only version 13 of the WebSocket protocol is spoken here",
            ("Sec-WebSocket-Version", "13"),
        )
    if "upgrade" not in [word.lower() for word in request.list_header("connection")] or not _is_key(request):
        raise HttpError(HTTPStatus.BAD_REQUEST, "this is no WebSocket handshake (RFC 6455, section 4.2.1)")
    if request.get("content-length") not in (None, "0") or request.get("transfer-encoding") is not None:
        raise HttpError(HTTPStatus.BAD_REQUEST, "a request for a WebSocket has no body")


def _is_key(request: HttpRequest) -> bool:
    try:
        return len(base64.b64decode(request.get("sec-websocket-key") or "", validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def token_of(request: HttpRequest) -> str | None:
    """The token that a head brings: by header, else in the query, else as a sub-protocol."""
    scheme, _, token = (request.get("authorization") or "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if token := request.query.get("token", ""):
        return token
    offered = request.list_header("sec-websocket-protocol")
    return next((word.removeprefix(BEARER) for word in offered if word.startswith(BEARER)), None)


def encode_response(status: HTTPStatus, text: str, *headers: tuple[str, str], body: bool = True) -> bytes:
    """A whole HTTP response that ends the connection, with one line of text; to a HEAD without that `body`."""
    content = f"{text}\n".encode()
    own = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(content)))]
    names = {name for name, _ in headers}
    close = [] if "Connection" in names else [("Connection", "close")]
    writer = h11.Connection(h11.SERVER)
    lines = [*own, *close, *headers]
    response = h11.Response(status_code=status, headers=lines, reason=status.phrase.encode())
    return (writer.send(response) or b"") + (content if body else b"")
