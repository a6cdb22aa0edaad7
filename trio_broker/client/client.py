"""The client's side of a connection to a broker: calls, notifications, and the requests that the broker makes.

What the command line and the dashboard can do, they do through this.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import trio

from trio_broker.client import blocking
from trio_broker.errors import BadMessage, BrokerError, BrokerGone, RemoteError, from_rpc
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.extensions import METHOD_PREFIX
from trio_broker.protocol.jsonrpc import Kind, Message
from trio_broker.protocol.pending import PendingRequests
from trio_broker.transport.base import CLOSE_TIMEOUT, NdjsonTransport, Transport
from trio_broker.transport.outbox import Outbox

OnMessage = Callable[[Message], None]
OnRequest = Callable[[Message], Awaitable[object]]


async def refuse_all(message: Message) -> object:  # noqa: ASYNC124  # an OnRequest
    """Answers every request of the broker with "method not found": whoever is asked then abstains."""
    raise RemoteError(jsonrpc.METHOD_NOT_FOUND, f"Method not found: {message.method}")


@attrs.define(eq=False)
class _Call:
    reply: Message | BrokerError | None = None
    arrived: trio.Event = attrs.field(factory=trio.Event)

    def settle(self, reply: Message | BrokerError) -> None:
        self.reply = reply
        self.arrived.set()


@attrs.define(eq=False)
class Client:
    """A connection; make one with `open_client`. `disconnected` is set when the broker has closed it."""

    _nursery: trio.Nursery
    _on_message: OnMessage
    _on_request: OnRequest
    disconnected: trio.Event = attrs.field(factory=trio.Event)
    outbox: Outbox = attrs.field(factory=Outbox)
    _calls: PendingRequests[_Call] = attrs.field(factory=PendingRequests)
    _asked: dict[bytes, trio.CancelScope] = attrs.field(factory=dict)
    _close_reason: str = ""
    _last_error: str = ""  # to nobody's request: why it is about to close the connection

    async def call(self, method: str, params: object = None) -> Any:
        """Call a method; its decoded result. `params` is any JSON value, an object as a rule.

        Raises BrokerGone, one of the broker's own errors (NoSession, QueueFull, …), or a RemoteError with the agent's
        code and data. Cancelling it ends the waiting, the broker's too where the verb is one of its own; a late reply
        is ignored, and what was begun goes on.
        """
        self.check_connected()
        call = _Call()
        number = self._calls.open(call)
        self.outbox.put(jsonrpc.request(number, method, _params(params)))
        try:
            await call.arrived.wait()
        finally:
            if self._calls.forget(number) is not None and method.startswith(METHOD_PREFIX):
                self.notify("$/cancel_request", {"requestId": number})
        return _result(call.reply)

    def check_connected(self) -> None:
        """Raises BrokerGone when the broker has closed the connection."""
        if self.disconnected.is_set():
            raise self._gone_error()

    def notify(self, method: str, params: object = None) -> None:
        """Send a notification; whether it arrives is not known."""
        self.outbox.put(jsonrpc.notification(method, _params(params)))

    def receive_line(self, line: bytes) -> None:
        """Act on one line of the broker; one that is no message is ignored."""
        try:
            message = jsonrpc.parse_envelope(line)
        except BadMessage:
            return
        self._on_message(message)
        if message.kind is Kind.RESPONSE:
            if call := self._calls.close(message.id):
                call.settle(message)
            elif message.id == b"null" and message.error is not None:
                self._last_error = blocking.close_text(_error(message.error))
        elif message.kind is Kind.REQUEST:
            self._nursery.start_soon(self._answer, message)
        elif message.method == "$/cancel_request":
            self._withdraw(message)

    async def _answer(self, message: Message) -> None:
        id = message.id or b"null"
        with trio.CancelScope() as scope:
            self._asked[id] = scope
            try:
                self.outbox.put(jsonrpc.response(id, jsonrpc.encode(await self._on_request(message))))
            except BrokerError as error:
                self.outbox.put(jsonrpc.exception_response(id, error))
            finally:
                self._asked.pop(id, None)  # a broker that is none of ours may have asked twice under one id

    def _withdraw(self, message: Message) -> None:
        """The broker needs no answer any more: somebody else gave it, or the turn was cancelled."""
        id = jsonrpc.members(message.params).get("requestId")
        if id is not None and (scope := self._asked.get(id)):
            scope.cancel()

    def on_disconnect(self, why: str = "") -> None:
        """The broker is gone: everyone who waits for it is told. `why`: what it said at its leaving."""
        self._close_reason = self._close_reason or why or self._last_error
        self.disconnected.set()
        for call in self._calls.drain():
            call.settle(self._gone_error())

    def _gone_error(self) -> BrokerGone:
        return blocking.broker_gone(self._close_reason)


@asynccontextmanager
async def open_client(
    where: str | os.PathLike[str],
    *,
    token: str | None = None,
    on_message: OnMessage = lambda _: None,
    on_request: OnRequest = refuse_all,
) -> AsyncGenerator[Client, None]:
    """Connect to the broker at a Unix socket, or at a ws:// or wss:// URL with a token.

    `on_message` sees every message of it, in order, and must not wait; `on_request` answers one request with a JSON
    value, in a task of its own that is cancelled when it is withdrawn.

    Raises NoBroker, and Misuse for a bad URL. Leaving the block sends what is still due, and closes the connection;
    sessions and turns go on. An error that leaves the block does so within an ExceptionGroup.
    """
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(_open_transport(os.fspath(where), token))
        yield await stack.enter_async_context(
            client_over(transport, on_message=on_message, on_request=on_request)
        )


def _open_transport(where: str, token: str | None) -> AbstractAsyncContextManager[Transport]:
    if "://" not in where:
        return _open_socket(where)
    from trio_broker.transport import connect  # late: most commands do without

    return connect.connect_websocket(where, token)


@asynccontextmanager
async def _open_socket(path: str) -> AsyncGenerator[Transport, None]:
    try:
        stream = await trio.open_unix_socket(path)
    except OSError as error:
        raise blocking.no_broker_error(path) from error
    async with stream:
        yield NdjsonTransport(stream)


@asynccontextmanager
async def client_over(
    transport: Transport, *, on_message: OnMessage = lambda _: None, on_request: OnRequest = refuse_all
) -> AsyncGenerator[Client, None]:
    """The same over a link; whoever made it closes it."""
    async with trio.open_nursery() as nursery:
        client = Client(nursery, on_message, on_request)
        client.outbox.encode = transport.encode
        written = trio.Event()
        nursery.start_soon(_write, transport, client, written)
        nursery.start_soon(_read, transport, client)
        yield client
        client.outbox.finish()
        await written.wait()
        nursery.cancel_scope.cancel()


async def _read(transport: Transport, client: Client) -> None:
    try:
        while (lines := await transport.receive()) is not None:
            for line in lines:
                client.receive_line(line)
    except jsonrpc.LineTooLong:
        pass  # it speaks something else: as good as gone to those who wait
    client.on_disconnect(transport.close_reason_text())


async def _write(transport: Transport, client: Client, written: trio.Event) -> None:
    try:
        while data := await client.outbox.take():
            await transport.send(data)
    except (trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError):
        with trio.move_on_after(CLOSE_TIMEOUT):  # why it is gone may be still to be read
            await client.disconnected.wait()
        client.on_disconnect(transport.close_reason_text())
    written.set()


def _params(params: object) -> bytes:
    return params if isinstance(params, bytes) else jsonrpc.encode({} if params is None else params)


def _result(reply: Message | BrokerError | None) -> Any:
    if isinstance(reply, BrokerError):
        raise reply
    assert reply is not None, "it has arrived"
    if reply.error is not None:
        raise from_rpc(_error(reply.error))
    return jsonrpc.decode(reply.result or b"null")


def _error(raw: bytes) -> dict[str, Any]:
    error = jsonrpc.decode(raw)
    return error if isinstance(error, dict) else {"message": str(error)}
