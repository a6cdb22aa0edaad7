"""The running dashboard: tasks that read keys, watch the broker, read logs, make calls and draw frames.

The app pulls snapshots from the broker, and pages of the log of the selected session when a snapshot shows that there
are more events. A snapshot has the questions of agents without their tool calls, which can be megabytes: the one that
is shown is fetched by itself. The app reconnects when the broker is gone. (Attaching was rejected: a chatty agent would
send every update here, to be decoded for a screen that shows the last of them.)

Without a terminal, `print_snapshot` prints one snapshot, and `render_full_screen` returns one screen.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import attrs
import trio
from rich.console import Console

from trio_broker.client import Client, OnRequest
from trio_broker.errors import BrokerError, BrokerGone, NoAsk, NoBroker
from trio_broker.protocol.jsonrpc import Message
from trio_broker.tui.actions import attach
from trio_broker.tui.input import KeyDecoder
from trio_broker.tui.keymap import handle_key
from trio_broker.tui.question.focus import apply_drawn, apply_fetch_error, apply_question, wanted_question
from trio_broker.tui.question.model import RequestKey
from trio_broker.tui.screen import Screen, render_screen, render_snapshot
from trio_broker.tui.state import (
    NO_BROKER,
    SAMPLE_INTERVAL,
    BrokerCall,
    Command,
    Effect,
    Json,
    State,
    Tab,
    apply_agent_output,
    apply_page,
    apply_scroll,
    apply_snapshot,
    expire_notice,
    mark_disconnected,
    next_page,
    show_notice,
)
from trio_broker.tui.terminal import Terminal

FRAME_INTERVAL = 0.2  # seconds from one frame to the next, at least
CLOCK_INTERVAL = 1.0  # ... and at most, for the clocks in it
ESCAPE_DELAY = 0.05  # seconds until a lone ESC is the key
RECONNECT_DELAY = 1.0  # seconds before the first try to reconnect; doubles with each further try ...
# ... up to this: a broker that is reached over a network counts the clients whose token is not valid any more
MAX_RECONNECT_DELAY = 8.0
STDERR_INTERVAL = 2.0  # seconds between two looks at an agent's stderr

Connect = Callable[[OnRequest], AbstractAsyncContextManager[Client]]


async def leave_unanswered(message: Message) -> object:
    """A question that reached this connection: it stands in the pane, and is answered from there or elsewhere."""
    await trio.sleep_forever()
    return None


@attrs.define(eq=False)
class App:
    """`connect` opens a connection to the broker, for as long as its block lasts."""

    terminal: Terminal
    connect: Connect
    state: State
    exit_code: int = 0
    _nursery: trio.Nursery = attrs.field(init=False)
    _client: Client | None = None
    _redraw_due: trio.Event = attrs.field(factory=trio.Event)  # there is something to draw
    _read_due: trio.Event = attrs.field(factory=trio.Event)  # there may be something to read
    _question_due: trio.Event = attrs.field(factory=trio.Event)  # there may be a question to fetch

    async def run(self) -> int:
        """Until `q`: 0; until a signal ends it, or its window is closed: 128 and the signal's number."""
        with self.terminal.full_screen():
            async with trio.open_nursery() as self._nursery:
                for task in (
                    self._handle_signals,
                    self._read_keys,
                    self._keep_connected,
                    self._read_log,
                    self._read_stderr,
                    self._read_question,
                ):
                    self._nursery.start_soon(task)
                await self._draw()
        return self.exit_code

    def set_state(self, state: State) -> None:
        if state is not self.state:
            self.state = state
            self._redraw_due.set()
            self._read_due.set()
            self._question_due.set()

    async def _draw(self) -> None:
        while True:
            self._redraw_due = trio.Event()
            now = trio.current_time()
            self.state = expire_notice(self.state, now)
            shown = render_screen(self.state, now, *self.terminal.size())
            if shown.extent is not None:
                self.state = apply_scroll(self.state, shown.extent.lines, shown.extent.scroll)
            await self.terminal.draw(shown)
            self.state = apply_drawn(self.state, shown.question, trio.current_time())
            with trio.move_on_at(now + CLOCK_INTERVAL):
                await self._redraw_due.wait()
            await trio.sleep_until(now + FRAME_INTERVAL)

    # Keys and signals

    async def _read_keys(self) -> None:
        keys = KeyDecoder()
        while True:
            data = b""
            with trio.move_on_after(ESCAPE_DELAY if keys.pending else float("inf")) as scope:
                data = await self.terminal.read()
            if not data and not scope.cancelled_caught:
                self._quit(128 + signal.SIGHUP)
                return
            for key in keys.feed(data) if data else keys.flush():
                state, effects = handle_key(self.state, key, trio.current_time())
                self.set_state(state)
                for effect in effects:
                    self._run_effect(effect)

    async def _handle_signals(self) -> None:
        exit_signals = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
        with trio.open_signal_receiver(signal.SIGWINCH, *exit_signals) as signals:
            async for number in signals:
                if number in exit_signals:
                    self._quit(128 + number)
                else:
                    self._redraw()

    def _quit(self, exit_code: int) -> None:
        self.exit_code = exit_code
        self._nursery.cancel_scope.cancel()

    def _redraw(self) -> None:
        self.terminal.invalidate()
        self._redraw_due.set()

    def _run_effect(self, effect: Effect) -> None:
        if effect is Command.QUIT:
            self._quit(0)
        elif effect is Command.SUSPEND:
            self.terminal.suspend()
            self._redraw()
        elif effect is Command.REDRAW:
            self._redraw()
        elif isinstance(effect, BrokerCall):
            self._nursery.start_soon(self._make_call, effect)

    async def _make_call(self, call: BrokerCall) -> None:
        """Make a call, and those after it, and tell how it went; nothing waits for that."""
        current: BrokerCall | None = call
        try:
            while current is not None:
                if self._client is None:
                    raise BrokerGone(NO_BROKER)
                result = await self._client.call(current.method, current.params)
                if current.on_result is not None:
                    self.set_state(current.on_result(self.state, result, trio.current_time()))
                if current.success_text:
                    self._show_notice(current.success_text)
                current = current.then
        except BrokerError as error:
            if current is not None and current.on_error is not None:
                self.set_state(current.on_error(self.state, trio.current_time()))
            self._show_notice(error.message, error=True)

    def _show_notice(self, text: str, *, error: bool = False) -> None:
        self.set_state(show_notice(self.state, text, trio.current_time(), error=error))

    # The broker

    async def _keep_connected(self) -> None:
        delay = RECONNECT_DELAY
        while True:
            try:
                async with self.connect(leave_unanswered) as self._client:
                    delay = RECONNECT_DELAY
                    self._reattach()
                    await self._watch(self._client)
            except* NoBroker as group:
                self._connection_lost(group)
            self._client = None
            await trio.sleep(delay)
            delay = min(2 * delay, MAX_RECONNECT_DELAY)

    def _reattach(self) -> None:
        """In the roles that the last connection had; what is no session any more has none."""
        roles = self.state.roles
        self.set_state(attrs.evolve(self.state, roles={}))
        for key, role in roles.items():
            self._nursery.start_soon(self._make_call, attach(key, role))

    async def _watch(self, client: Client) -> None:
        after: dict[str, int] = {}
        try:
            while True:
                snapshot = await client.call("_trio_broker/watch", after)
                after = {"after": snapshot["number"]}
                self.set_state(apply_snapshot(self.state, snapshot, trio.current_time()))
        except BrokerError as error:
            self._connection_lost(error)

    def _connection_lost(self, error: BaseException) -> None:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        self.set_state(mark_disconnected(self.state, str(error), trio.current_time()))

    async def _read_log(self) -> None:
        while True:
            if self._read_due.is_set():  # one that is not may be waited for: nobody would ever set it
                self._read_due = trio.Event()
            if (page := next_page(self.state)) is not None and self._client is not None:
                await self._read_page(self._client, *page)
            else:
                await self._read_due.wait()
            await trio.sleep(FRAME_INTERVAL / 2)

    async def _read_page(self, client: Client, key: str, since: int) -> None:
        try:
            page = await client.call("_trio_broker/events", {"key": key, "since": since})
        except BrokerError:  # it has just been forgotten, or the broker is gone: the next snapshot tells
            await trio.sleep(RECONNECT_DELAY)
        else:
            self.set_state(apply_page(self.state, key, page["events"], page["next"]))

    async def _read_stderr(self) -> None:
        while True:
            session, client = self.state.session, self._client
            if client is not None and session is not None and self.state.tab is Tab.STDERR:
                try:
                    logs = await client.call("_trio_broker/logs", {"key": session["key"]})
                except BrokerError as error:
                    logs = {"stderr": error.message, "rejected": []}
                self.set_state(
                    apply_agent_output(self.state, session["key"], logs["stderr"], logs["rejected"])
                )
                await trio.sleep(STDERR_INTERVAL)
            else:
                await self._wait_read_due()

    async def _wait_read_due(self) -> None:
        await self._read_due.wait()
        await trio.sleep(FRAME_INTERVAL)

    async def _read_question(self) -> None:
        while True:
            self._question_due = trio.Event()
            wanted, client = wanted_question(self.state), self._client
            if wanted is None or client is None:
                await self._question_due.wait()
            else:
                try:
                    ask = await fetch_ask(client, wanted)
                except BrokerError as error:
                    self.set_state(apply_fetch_error(self.state, wanted, error.message))
                    await trio.sleep(RECONNECT_DELAY)
                else:
                    self.set_state(apply_question(self.state, wanted, ask))


async def fetch_ask(client: Client, key: RequestKey) -> Json:
    """An open request with its tool call. Raises BrokerError, also if it is not open any more."""
    found: list[Json] = (await client.call("_trio_broker/asks", {"askId": key[1]}))["asks"]
    for ask in found:
        if ask["askId"] == key[1]:
            return ask
    raise NoAsk("it is not open any more")


# Without a terminal

USAGE_TIMEOUT = 1.0  # seconds until CPU and memory are known, at most


async def take_snapshot(client: Client, state: State, *, seconds: float = 0.0) -> State:
    """The state after the first snapshot with memory usage, or after so many seconds of watching."""
    snapshot = await client.call("_trio_broker/watch")
    state = apply_snapshot(state, snapshot, trio.current_time())
    with trio.move_on_after(max(seconds, USAGE_TIMEOUT)):
        while seconds or any(session["pid"] and session["use"] is None for session in snapshot["sessions"]):
            snapshot = await client.call("_trio_broker/watch", {"after": snapshot["number"]})
            state = apply_snapshot(state, snapshot, trio.current_time())
    while (page := next_page(state)) is not None:
        page_events = await client.call("_trio_broker/events", {"key": page[0], "since": page[1]})
        state = apply_page(state, page[0], page_events["events"], page_events["next"])
    if (wanted := wanted_question(state)) is not None:
        try:
            state = apply_question(state, wanted, await fetch_ask(client, wanted))
        except NoAsk:
            pass  # it has been settled since the snapshot, which shows it as loading
    return state


def print_snapshot(state: State, console: Console) -> None:
    """Print it: all sessions, in the console's width."""
    console.print(render_snapshot(state, trio.current_time(), console.width), end="", soft_wrap=True)


async def render_full_screen(client: Client, state: State, width: int, height: int) -> Screen:
    """The full screen as it is after some seconds, when rates are known."""
    state = await take_snapshot(client, state, seconds=3 * SAMPLE_INTERVAL)
    return render_screen(state, trio.current_time(), width, height)
