"""One picture, for `top --once` and `--svg`: taken, drawn, and done."""

from __future__ import annotations

import trio
from rich.console import Console

from trio_broker.client import Client
from trio_broker.tui.screen import Screen, render_screen, render_snapshot
from trio_broker.tui.state import SAMPLE_INTERVAL, State, apply_page, apply_snapshot, next_page

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
    return state


def print_snapshot(state: State, console: Console) -> None:
    """Print it: all sessions, in the console's width."""
    console.print(render_snapshot(state, trio.current_time(), console.width), end="", soft_wrap=True)


async def render_full_screen(client: Client, state: State, width: int, height: int) -> Screen:
    """The full screen as it is after some seconds, when rates are known."""
    state = await take_snapshot(client, state, seconds=3 * SAMPLE_INTERVAL)
    return render_screen(state, trio.current_time(), width, height)
