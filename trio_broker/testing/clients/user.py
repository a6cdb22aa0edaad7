"""A client of a broker for tests: it keeps every message that it receives.

`open_user(link)` gives a `User` over any link. The methods of `User` are the calls that most tests make. `allow` is an
answer to permission requests.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Generic, TypeVar

import attrs
import trio

from trio_broker.client import Client, client_over, refuse_all
from trio_broker.errors import BrokerError
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.extensions import META_KEY
from trio_broker.protocol.jsonrpc import Kind, Message
from trio_broker.transport.base import Transport

Json = dict[str, Any]
T = TypeVar("T")
OnRequest = Callable[[Message], Awaitable[object]]


@attrs.define(eq=False)
class BackgroundCall(Generic[T]):
    """A call under way: `done` as soon as it has a result or an error; `wait` gives the one or raises the other."""

    name: str = "a call"
    result: T | None = None
    error: BrokerError | None = None
    _over: trio.Event = attrs.field(factory=trio.Event)

    @property
    def done(self) -> bool:
        return self._over.is_set()

    async def run(self, call: Callable[[], Awaitable[T]]) -> None:
        try:
            self.result = await call()
        except BrokerError as error:
            self.error = error
        self._over.set()

    async def wait(self) -> T:
        await self._over.wait()
        if self.error is not None:
            raise self.error
        assert self.result is not None
        return self.result

    async def fails(self) -> BrokerError:
        """The error it ends with."""
        await self._over.wait()
        assert self.error is not None, f"it gave {self.result!r}"
        return self.error


@attrs.define(eq=False)
class User:
    """A client that keeps what it hears: `messages` in order, `events` the broker's own.

    `on_request` answers what agents ask, such as `allow`; by default it abstains, and the turn waits for others.
    """

    on_request: OnRequest = refuse_all
    client: Client = attrs.field(init=False)
    nursery: trio.Nursery = attrs.field(init=False)
    messages: list[Message] = attrs.field(factory=list)
    events: list[Json] = attrs.field(factory=list)
    calls: list[BackgroundCall[Any]] = attrs.field(factory=list)  # those in the background

    def _receive(self, message: Message) -> None:
        self.messages.append(message)
        if message.method == "_trio_broker/event":
            self.events.append(jsonrpc.decode(message.params))

    async def answer(self, message: Message) -> object:
        return await self.on_request(message)

    def later(self, call: Callable[..., Awaitable[T]], *args: Any, **more: Any) -> BackgroundCall[T]:
        """Call it in the background; the user's leaving ends it."""
        later = BackgroundCall[T](getattr(call, "__name__", repr(call)))
        self.calls.append(later)
        self.nursery.start_soon(later.run, partial(call, *args, **more))
        return later

    async def call(self, method: str, **params: Any) -> Any:
        """Call any method; its decoded result. Raises BrokerError."""
        return await self.client.call(method, params)

    async def open(self, key: str, **more: Any) -> str:
        """Get or create a session of the broker's default agent, or `agent=`, `command=`; its sessionId."""
        opened = await self.call("_trio_broker/open", **{"key": key, "cwd": "/tmp", **more})
        id: str = opened["sessionId"]
        return id

    async def prompt(self, session: str, text: str, **meta: Any) -> str:
        """Prompt and wait for the stop reason. `meta`: options of ours, such as promptId and policy."""
        result = await self.call("session/prompt", **prompt_params(session, text, **meta))
        reason: str = result["stopReason"]
        return reason

    async def submit(self, session: str, text: str, **more: Any) -> Json:
        """Queue a prompt without waiting; its promptId and position."""
        blocks = [{"type": "text", "text": text}]
        queued: Json = await self.call("_trio_broker/submit", sessionId=session, prompt=blocks, **more)
        return queued

    async def cancel(self, session: str, **more: Any) -> str:
        """Cancel the running turn, or that of `promptId`: says which of `turn`, `queued`, `nothing` it was."""
        answer = await self.call("_trio_broker/cancel", sessionId=session, **more)
        what: str = answer["cancelled"]
        return what

    async def status(self) -> Json:
        status: Json = await self.call("_trio_broker/status")
        return status

    async def view(self, key: str) -> Json:
        """The picture of one session in the status; without a phase if there is none of that key."""
        found: list[Json] = (await self.status())["sessions"]
        return next((view for view in found if view["key"] == key), {"phase": None})

    async def wait_phase(self, key: str, *phases: str) -> Json:
        """Look every now and then until the session is in one of these phases; a test's own deadline bounds it."""
        while (view := await self.view(key))["phase"] not in phases:  # noqa: ASYNC110  # seen from outside only
            await trio.sleep(0.01)
        return view

    def asked(self, method: str = "session/request_permission") -> list[Json]:
        """The parameters of each request of that method that the broker made, in order."""
        requests = [message for message in self.messages if message.kind is Kind.REQUEST]
        return [jsonrpc.decode(message.params) for message in requests if message.method == method]

    def updates(self, session: str) -> list[Json]:
        """The `update` of every session/update of a session, in order."""
        received = [message for message in self.messages if message.method == "session/update"]
        return [
            jsonrpc.decode(message.params)["update"] for message in received if message.session_id == session
        ]

    def said(self, session: str) -> str:
        """The agent's words, put together."""
        chunks = [one for one in self.updates(session) if one["sessionUpdate"] == "agent_message_chunk"]
        return "".join(chunk["content"]["text"] for chunk in chunks)


def prompt_params(session: str, text: str, **meta: Any) -> Json:
    """The parameters of `session/prompt`."""
    params: Json = {"sessionId": session, "prompt": [{"type": "text", "text": text}]}
    return params | ({"_meta": {META_KEY: meta}} if meta else {})


async def allow(message: Message) -> object:
    """Answers a permission question with the first of its options that allows; abstains from any other request."""
    options = (jsonrpc.decode(message.params) or {}).get("options", [])
    chosen = next((one["optionId"] for one in options if one["kind"].startswith("allow")), None)
    if chosen is None:
        return await refuse_all(message)
    return {"outcome": {"outcome": "selected", "optionId": chosen}}


@asynccontextmanager
async def open_user(link: Transport, on_request: OnRequest = refuse_all) -> AsyncGenerator[User, None]:
    """A client at the other end of a link; leaving the block lets go of it, and whoever made the link closes it."""
    user = User(on_request)
    async with (
        client_over(link, on_message=user._receive, on_request=user.answer) as user.client,
        trio.open_nursery() as user.nursery,
    ):
        yield user
        user.nursery.cancel_scope.cancel()
