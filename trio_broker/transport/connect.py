"""A client's way to a broker elsewhere: a Link at a ws:// or wss:// URL.

Whatever is in the way is a NoBroker that says what to do next; a sentence with which a door refuses is told as it is,
and the HTTP status in its details.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus
from urllib.parse import SplitResult, urlsplit

import h11
import trio
from trio_websocket import ConnectionRejected, WebSocketConnection, wrap_client_stream
from wsproto.utilities import ProtocolError

from trio_broker.errors import Misuse, NoBroker
from trio_broker.model import CloseReason
from trio_broker.protocol.jsonrpc import MAX_LINE
from trio_broker.transport.base import CLOSE_TIMEOUT, READ
from trio_broker.transport.websocket import MESSAGE_QUEUE, WebSocketStream, WebSocketTransport, keep_pinging

CONNECT_TIMEOUT = 20.0  # seconds for a client to get through
MAX_REASON = 500  # characters of what a door says


@asynccontextmanager
async def connect_websocket(url: str, token: str | None = None) -> AsyncGenerator[WebSocketTransport, None]:
    """Connect to a broker at a ws:// or wss:// URL; `/acp` is its path unless it says another.

    Raises Misuse for what is no such URL or token, and NoBroker, which says what is in the way.
    """
    parts = _parts(url)
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise Misuse("the token has characters that no token has; look at --token and TRIO_BROKER_TOKEN")
    stream = WebSocketStream(await _open_stream(parts), MAX_LINE)
    stream.upgraded.set()
    failure: NoBroker | None = None
    try:
        async with trio.open_nursery() as nursery:
            if (socket := await _upgrade(nursery, stream, parts, token)) is None:
                failure = NoBroker(
                    f"{redact_url(url)} does not answer as a broker's WebSocket does; {ADVICE}"
                )
            else:
                nursery.start_soon(keep_pinging, socket, stream)
                transport = WebSocketTransport(socket, stream)
                yield transport
                with trio.move_on_after(CLOSE_TIMEOUT):
                    await transport.close(CloseReason.LEFT)
            nursery.cancel_scope.cancel()
    except* ConnectionRejected as group:  # the reader tells it, not the one who waits for the answer
        failure = _rejection(url, group)
    except* (ProtocolError, h11.ProtocolError):
        failure = NoBroker(f"what answers at {redact_url(url)} is no WebSocket; {ADVICE}")
    finally:
        await stream.close()  # noqa: ASYNC102  # bounded by FAREWELL there
    if failure is not None:
        raise failure


ADVICE = "look at host and port, and whether it is ws or wss"


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
        (parts.hostname or "").encode("idna")  # as it is looked up
    except ValueError:
        fits = False
    if not fits or not (url.isascii() and url.isprintable() and " " not in url):
        raise Misuse(f"{redact_url(url)!r} is no URL of a broker; write one such as ws://127.0.0.1:8765")
    if parts.username is not None:
        raise Misuse(
            "the URL of a broker has no user in it; give the token with --token or TRIO_BROKER_TOKEN"
        )
    return parts


async def _open_stream(parts: SplitResult) -> trio.abc.Stream:
    host, url = parts.hostname or "", redact_url(parts.geturl())
    secure = parts.scheme == "wss"
    try:
        with trio.fail_after(CONNECT_TIMEOUT):
            stream = await trio.open_tcp_stream(host, parts.port or (443 if secure else 80))
            return await _wrap_tls(stream, host, url) if secure else stream
    except trio.TooSlowError:
        raise NoBroker(f"{url} gave no answer within {CONNECT_TIMEOUT:g} s; {ADVICE}") from None
    except OSError as error:
        why = f"no broker listens at {url}: {error}"
        raise NoBroker(f"{why}; `trio-broker serve --websocket …` there starts one") from error


async def _wrap_tls(stream: trio.SocketStream, host: str, url: str) -> trio.SSLStream[trio.SocketStream]:
    tls = ssl.create_default_context()
    secured = trio.SSLStream(stream, tls, server_hostname=host, https_compatible=True)
    try:
        await secured.do_handshake()
    except trio.BrokenResourceError as error:
        await trio.aclose_forcefully(stream)
        raise NoBroker(f"{url}: TLS failed: {error.__cause__ or 'it hung up'}; {_trust()}") from error
    return secured


def _trust() -> str:
    """What to do about a certificate that is not trusted. ssl passes over a file that it can't read."""
    named = os.environ.get("SSL_CERT_FILE")
    if named and not os.access(named, os.R_OK):
        return f"SSL_CERT_FILE names {named}, which can't be read: name a copy of the broker's tls_cert"
    return (
        "ws:// is without TLS; an authority of your own, or a certificate that signed itself, is trusted when "
        "SSL_CERT_FILE names a copy of it"
    )


async def _upgrade(
    nursery: trio.Nursery, stream: WebSocketStream, parts: SplitResult, token: str | None
) -> WebSocketConnection | None:
    """None if it hangs up, or says nothing. A refusal is raised in the nursery."""
    with trio.move_on_after(CONNECT_TIMEOUT) as waiting:
        stream.on_end = waiting.cancel  # trio-websocket would wait on
        return await wrap_client_stream(
            nursery,
            stream,  # type: ignore[arg-type]  # any stream will do
            parts.netloc,
            (parts.path or "/acp") + (f"?{parts.query}" if parts.query else ""),
            extra_headers=[(b"Authorization", b"Bearer " + token.encode())] if token else [],
            message_queue_size=MESSAGE_QUEUE,
            max_message_size=MAX_LINE,
            receive_buffer_size=READ,
        )
    return None


def _rejection(url: str, group: BaseExceptionGroup[ConnectionRejected]) -> NoBroker:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, ConnectionRejected)
    body = " ".join((error.body or b"").decode("utf-8", "replace").split())[:MAX_REASON]
    step = (
        "; give it with --token or TRIO_BROKER_TOKEN" if error.status_code == HTTPStatus.UNAUTHORIZED else ""
    )
    words = f"{redact_url(url)} refused with HTTP {error.status_code}: {body or 'no reason given'}{step}"
    return NoBroker(words, status=error.status_code)


def redact_url(url: str) -> str:
    """A URL as it may be shown: without what may be secret in it."""
    scheme, mark, rest = url.partition("?")[0].partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"
