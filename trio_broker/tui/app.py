"""The dashboard at work: pictures and keys in, frames and calls out; a broker that goes is waited for.

A session's log is read in pages, as a picture says that there is more: like the picture, it is pulled. (Attaching was
rejected: a chatty agent would send every update here, to be decoded for a screen that shows the last of them.)
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import attrs
import trio

from trio_broker.client import Client, OnRequest
from trio_broker.errors import BrokerError, BrokerGone, NoBroker
from trio_broker.protocol.jsonrpc import Message
from trio_broker.tui.acts import pressed
from trio_broker.tui.deeds import attach
from trio_broker.tui.keys import Keys
from trio_broker.tui.screen import screen
from trio_broker.tui.state import (
    NO_BROKER,
    Call,
    Command,
    Effect,
    State,
    Tab,
    expired,
    heard,
    lost,
    read,
    saw,
    scrolled,
    tell,
    wanted,
)
from trio_broker.tui.terminal import Terminal

FRAME = 0.2  # seconds from one frame to the next, at least
TICK = 1.0  # ... and at most, for the clocks in it
ESCAPE = 0.05  # seconds until a lone ESC is the key
AGAIN = 1.0  # seconds until the first try to reach a broker that is gone; each further one takes twice as long ...
AGAIN_MOST = 8.0  # ... up to that: a broker elsewhere counts who comes with a token that is none any more
STDERR = 2.0  # seconds between two looks at an agent's stderr

Connect = Callable[[OnRequest], AbstractAsyncContextManager[Client]]


async def leave_open(message: Message) -> object:
    """A question that reached this connection: it stands in the pane, and is answered from there or elsewhere."""
    await trio.sleep_forever()
    return None


@attrs.define(eq=False)
class App:
    """`connect` opens a connection to the broker, for as long as its block lasts."""

    terminal: Terminal
    connect: Connect
    state: State
    code: int = 0
    _nursery: trio.Nursery = attrs.field(init=False)
    _client: Client | None = None
    _changed: trio.Event = attrs.field(factory=trio.Event)  # there is something to draw
    _stirred: trio.Event = attrs.field(factory=trio.Event)  # there may be something to read

    async def run(self) -> int:
        """Until `q`: 0; until a signal ends it, or its window is closed: 128 and the signal's number."""
        with self.terminal.full_screen():
            async with trio.open_nursery() as self._nursery:
                for task in (
                    self._heed_signals,
                    self._hear_keys,
                    self._stay_connected,
                    self._read_log,
                    self._read_stderr,
                ):
                    self._nursery.start_soon(task)
                await self._draw()
        return self.code

    def become(self, state: State) -> None:
        if state is not self.state:
            self.state = state
            self._changed.set()
            self._stirred.set()

    async def _draw(self) -> None:
        while True:
            self._changed = trio.Event()
            now = trio.current_time()
            self.state = expired(self.state, now)
            shown = screen(self.state, now, *self.terminal.size())
            if shown.extent is not None:
                self.state = scrolled(self.state, shown.extent.lines, shown.extent.scroll)
            await self.terminal.draw(shown)
            with trio.move_on_at(now + TICK):
                await self._changed.wait()
            await trio.sleep_until(now + FRAME)

    # Keys and signals

    async def _hear_keys(self) -> None:
        keys = Keys()
        while True:
            data = b""
            with trio.move_on_after(ESCAPE if keys.pending else float("inf")) as patience:
                data = await self.terminal.read()
            if not data and not patience.cancelled_caught:
                self._quit(128 + signal.SIGHUP)
                return
            for key in keys.feed(data) if data else keys.flush():
                state, effects = pressed(self.state, key, trio.current_time())
                self.become(state)
                for effect in effects:
                    self._do(effect)

    async def _heed_signals(self) -> None:
        ends = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
        with trio.open_signal_receiver(signal.SIGWINCH, *ends) as signals:
            async for number in signals:
                if number in ends:
                    self._quit(128 + number)
                else:
                    self._redraw()

    def _quit(self, code: int) -> None:
        self.code = code
        self._nursery.cancel_scope.cancel()

    def _redraw(self) -> None:
        self.terminal.forget()
        self._changed.set()

    def _do(self, effect: Effect) -> None:
        if effect is Command.QUIT:
            self._quit(0)
        elif effect is Command.SUSPEND:
            self.terminal.suspend()
            self._redraw()
        elif effect is Command.REDRAW:
            self._redraw()
        elif isinstance(effect, Call):
            self._nursery.start_soon(self._call, effect)

    async def _call(self, call: Call) -> None:
        """Make a call, and those after it, and tell how it went; nothing waits for that."""
        next: Call | None = call
        try:
            while next is not None:
                if self._client is None:
                    raise BrokerGone(NO_BROKER)
                result = await self._client.call(next.method, next.params)
                if next.gives is not None:
                    self.become(next.gives(self.state, result, trio.current_time()))
                if next.done:
                    self._tell(next.done)
                next = next.then
        except BrokerError as error:
            if next is not None and next.fails is not None:
                self.become(next.fails(self.state, trio.current_time()))
            self._tell(error.message, mishap=True)

    def _tell(self, text: str, *, mishap: bool = False) -> None:
        self.become(tell(self.state, text, trio.current_time(), mishap=mishap))

    # The broker

    async def _stay_connected(self) -> None:
        patience = AGAIN
        while True:
            try:
                async with self.connect(leave_open) as self._client:
                    patience = AGAIN
                    self._attach_again()
                    await self._watch(self._client)
            except* NoBroker as group:
                self._lose(group)
            self._client = None
            await trio.sleep(patience)
            patience = min(2 * patience, AGAIN_MOST)

    def _attach_again(self) -> None:
        """In the roles that the last connection had; what is no session any more has none."""
        roles = self.state.roles
        self.become(attrs.evolve(self.state, roles={}))
        for key, role in roles.items():
            self._nursery.start_soon(self._call, attach(key, role))

    async def _watch(self, client: Client) -> None:
        after: dict[str, int] = {}
        try:
            while True:
                picture = await client.call("_trio_broker/watch", after)
                after = {"after": picture["number"]}
                self.become(saw(self.state, picture, trio.current_time()))
        except BrokerError as error:
            self._lose(error)

    def _lose(self, error: BaseException) -> None:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        self.become(lost(self.state, str(error), trio.current_time()))

    async def _read_log(self) -> None:
        while True:
            if self._stirred.is_set():  # one that is not may be waited for: nobody would ever set it
                self._stirred = trio.Event()
            if (page := wanted(self.state)) is not None and self._client is not None:
                await self._read_page(self._client, *page)
            else:
                await self._stirred.wait()
            await trio.sleep(FRAME / 2)

    async def _read_page(self, client: Client, key: str, since: int) -> None:
        try:
            page = await client.call("_trio_broker/events", {"key": key, "since": since})
        except BrokerError:  # it has just been forgotten, or the broker is gone: the next picture tells
            await trio.sleep(AGAIN)
        else:
            self.become(read(self.state, key, page["events"], page["next"]))

    async def _read_stderr(self) -> None:
        while True:
            view, client = self.state.view, self._client
            if client is not None and view is not None and self.state.tab is Tab.STDERR:
                try:
                    logs = await client.call("_trio_broker/logs", {"key": view["key"]})
                except BrokerError as error:
                    logs = {"stderr": error.message, "rejected": []}
                self.become(heard(self.state, view["key"], logs["stderr"], logs["rejected"]))
                await trio.sleep(STDERR)
            else:
                await self._stirred_soon()

    async def _stirred_soon(self) -> None:
        await self._stirred.wait()
        await trio.sleep(FRAME)
