"""The WebSocket's door: who comes in over TCP, by which token, and what everybody else is told (ACP.md, section 3.5).

Whoever is refused is refused before the upgrade, with a status and a sentence, and never learns more.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus

import attrs
import trio

from trio_broker.auth.grant import Grant
from trio_broker.broker.broker import Broker
from trio_broker.broker.open_request import SessionDefaults
from trio_broker.config.config import ListenConfig
from trio_broker.errors import NoDefaultAgent, UnknownAgent
from trio_broker.model import CloseReason
from trio_broker.server.connection import Connection
from trio_broker.server.serve import serve
from trio_broker.supervision import run_contained
from trio_broker.transport.http import (
    HttpError,
    HttpRequest,
    OriginPolicy,
    RequestReader,
    UpgradeRequest,
    encode_response,
    parse_upgrade,
)
from trio_broker.transport.listeners import Listener, parse_address
from trio_broker.transport.websocket import WebSocketStream, accept_websocket, close_after_eof

log = logging.getLogger(__name__)

HEAD_TIMEOUT = 10.0  # seconds for a whole head, TLS included
RESPONSE_TIMEOUT = 2.0  # seconds to take a refusal
FIRST_DELAY, LONGEST_DELAY = (
    0.1,
    5.0,
)  # seconds that a wrong token waits for its answer: each time twice as long
READ = 4096
FORGET_AFTER = 60.0  # seconds after which an address is clean again
MAX_ADDRESSES = 1000


UNAUTHORIZED = (
    HTTPStatus.UNAUTHORIZED,
    "a token of this broker's is needed, one that is neither revoked nor expired; `trio-broker token new` makes one",
    ("WWW-Authenticate", 'Bearer realm="trio-broker"'),
)


class WrongToken(HttpError):
    """The same words as for none at all, but not as quickly."""

    def __init__(self) -> None:
        super().__init__(*UNAUTHORIZED)


@attrs.define
class FailedAuthThrottle:
    """Addresses that came with a wrong token; the count grows the delay of their next refusal, of no one's welcome."""

    _failures: OrderedDict[str, tuple[int, float]] = attrs.field(factory=OrderedDict)
    total: int = 0

    def note(self, address: str) -> float:
        """One more failure: how many seconds its answer is to wait."""
        now = trio.current_time()
        count, at = self._failures.pop(address, (0, now))
        count = 1 if now - at > FORGET_AFTER else count + 1
        self._failures[address] = count, now
        self.total += 1
        while len(self._failures) > MAX_ADDRESSES:
            self._failures.popitem(last=False)
        return min(FIRST_DELAY * 2.0 ** min(count - 1, 10), LONGEST_DELAY)


@attrs.define(eq=False)
class WebSocketServer:
    """One broker's; `run` lets clients in.

    `handshaking` and `delayed` are the strangers at the door, `by_token` counts the connections of each token.
    """

    broker: Broker
    throttle: FailedAuthThrottle = attrs.field(factory=FailedAuthThrottle)
    handshaking: int = 0
    delayed: int = 0
    by_token: Counter[str | None] = attrs.field(factory=Counter)

    async def run(self, listeners: list[Listener], clients: trio.Nursery) -> None:
        """Let clients in until cancelled; each is served in `clients`."""
        await trio.serve_listeners(self._serve_contained, listeners, handler_nursery=clients)

    async def _serve_contained(self, stream: trio.abc.Stream) -> None:
        await run_contained("client", partial(self._handle, stream), lambda: None)

    async def _handle(self, stream: trio.abc.Stream) -> None:
        try:
            came = await self._accept(stream)
            if came is not None:
                await self._serve(stream, *came)
        except HttpError as refusal:
            await self._refuse(stream, refusal)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it left, or its TLS is not ours
        finally:
            await close_after_eof(stream)  # noqa: ASYNC102  # bounded by FAREWELL there

    async def _accept(
        self, stream: trio.abc.Stream
    ) -> tuple[UpgradeRequest, bytes, Grant, SessionDefaults | None] | None:
        """Read the head; what it asks for, None if that was answered already. Raises Refusal."""
        with self._handshake():
            if (request := await _read_head(stream)) is None:
                return None
            if request.path in ("/healthz", "/readyz") and request.method in ("GET", "HEAD"):
                await _answer(stream, *self._health(request), body=request.method == "GET")
                return None
            upgrade = parse_upgrade(request, self._rules)
            grant = self._authorized(upgrade.token)
            defaults = self._defaults(upgrade, grant)
            self._check_room(grant)
            return upgrade, request.trailing_data, grant, defaults

    @property
    def _listen(self) -> ListenConfig:
        return self.broker.config.listen

    @property
    def _rules(self) -> OriginPolicy:
        origins = frozenset(origin.lower().rstrip("/") for origin in self._listen.origins)
        hosts = {host.lower() for host in self._listen.hosts}
        if self._listen.websocket is not None:
            hosts.add(parse_address(self._listen.websocket)[0].lower())
        return OriginPolicy(origins, frozenset(hosts), self._listen.compression)

    @contextmanager
    def _handshake(self) -> Iterator[None]:
        limit = self._listen.max_handshakes
        if self.handshaking >= limit:
            raise HttpError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{limit} handshakes are under way, the limit; try again, or raise max_handshakes in [listen]",
            )
        self.handshaking += 1
        try:
            yield
        finally:
            self.handshaking -= 1

    def _health(self, request: HttpRequest) -> tuple[HTTPStatus, str]:
        if request.path == "/readyz" and self.broker.stopping.is_set():
            return HTTPStatus.SERVICE_UNAVAILABLE, "the broker is stopping"
        return HTTPStatus.OK, "ok"

    def _authorized(self, token: str | None) -> Grant:
        if token is None:
            raise HttpError(*UNAUTHORIZED)
        if (grant := self.broker.tokens.check(token)) is None:
            raise WrongToken
        return grant

    def _check_room(self, grant: Grant) -> None:
        most, per_token = self.broker.config.broker.max_clients, self._listen.max_per_token
        full = None
        if self.broker.stopping.is_set():
            full = "the broker is stopping; try again when it is back"
        elif len(self.broker.clients) >= most:
            full = f"{most} clients are connected, the limit; raise max_clients in [broker]"
        elif self.by_token[grant.token] >= per_token:
            full = f"{per_token} clients are connected with this token, the limit; raise max_per_token in [listen]"
        if full is not None:
            raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE, full)

    def _defaults(self, upgrade: UpgradeRequest, grant: Grant) -> SessionDefaults | None:
        if upgrade.key is not None and not grant.may_name(upgrade.key):
            raise HttpError(HTTPStatus.FORBIDDEN, f"this token is not for the session {upgrade.key[:100]!r}")
        if upgrade.agent is None and upgrade.key is None:
            return None
        try:
            return SessionDefaults(self.broker.registry.resolve(upgrade.agent), upgrade.key)
        except (UnknownAgent, NoDefaultAgent) as error:
            raise HttpError(HTTPStatus.NOT_FOUND, " ".join(error.message.split())) from error

    async def _refuse(self, stream: trio.abc.Stream, error: HttpError) -> None:
        address = _address(stream)
        log.warning("refused status=%s address=%s why=%s", error.status.value, address, error.message)
        if isinstance(error, WrongToken):
            await self._delay(self.throttle.note(address))
        await _answer(stream, error.status, error.message, *error.headers)

    async def _delay(self, seconds: float) -> None:
        if (
            self.delayed < self._listen.max_handshakes
        ):  # else there are so many that a delay would only cost us
            self.delayed += 1
            try:
                await trio.sleep(seconds)
            finally:
                self.delayed -= 1

    async def _serve(
        self,
        stream: trio.abc.Stream,
        upgrade: UpgradeRequest,
        trailing_data: bytes,
        grant: Grant,
        defaults: SessionDefaults | None,
    ) -> None:
        self.by_token[grant.token] += 1
        config = self.broker.config
        try:
            websocket_stream = WebSocketStream(
                stream, config.broker.max_line, upgrade.minimal_request(), trailing_data
            )
            async with accept_websocket(websocket_stream, compress=upgrade.deflate is not None) as transport:
                await serve(self.broker, transport, grant, partial(self._watch, defaults))
        finally:
            self.by_token[grant.token] -= 1
            if not self.by_token[grant.token]:
                del self.by_token[grant.token]

    def _watch(self, defaults: SessionDefaults | None, connection: Connection) -> None:
        connection.defaults = defaults
        connection.nursery.start_soon(self._abort_when_revoked, connection)
        connection.nursery.start_soon(self._abort_unless_initialized, connection)

    async def _abort_when_revoked(self, connection: Connection) -> None:
        why = await self.broker.tokens.wait_revoked(connection.grant)
        log.info("client_cut name=%s why=%s", connection.name, why)
        connection.abort(CloseReason.EXPIRED)

    async def _abort_unless_initialized(self, connection: Connection) -> None:
        await trio.sleep(self._listen.initialize_timeout)
        if not connection.active:
            connection.abort(CloseReason.NOT_INITIALIZED)


async def _read_head(stream: trio.abc.Stream) -> HttpRequest | None:
    """None if there was nobody: a look whether the port is open. Raises Refusal."""
    reader, received = RequestReader(), False
    with trio.move_on_after(HEAD_TIMEOUT):
        while (data := bytes(await stream.receive_some(READ))) or received:
            received = True
            if (request := reader.feed(data)) is not None:
                return request
        return None
    raise HttpError(
        HTTPStatus.REQUEST_TIMEOUT, f"the head of the request was not here within {HEAD_TIMEOUT:g} s"
    )


async def _answer(
    stream: trio.abc.Stream, status: HTTPStatus, text: str, *headers: tuple[str, str], body: bool = True
) -> None:
    with trio.move_on_after(RESPONSE_TIMEOUT):
        try:
            await stream.send_all(encode_response(status, text, *headers, body=body))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it did not wait for the answer


def _address(stream: trio.abc.Stream) -> str:
    plain = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    if not isinstance(plain, trio.SocketStream):
        return "?"
    try:
        return str(plain.socket.getpeername()[0])
    except OSError:
        return "gone"
