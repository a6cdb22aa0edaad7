"""One picture, for `top --once` and `--svg`: taken, drawn, and done."""

from __future__ import annotations

import trio
from rich.console import Console

from trio_broker.client import Client
from trio_broker.tui.screen import Screen, picture, screen
from trio_broker.tui.state import SAMPLE, State, read, saw, wanted

MEASURED = 1.0  # seconds until CPU and memory are known, at most


async def look(client: Client, state: State, *, seconds: float = 0.0) -> State:
    """The state after the first picture that has memory in it, or after so many seconds of watching."""
    seen = await client.call("_trio_broker/watch")
    state = saw(state, seen, trio.current_time())
    with trio.move_on_after(max(seconds, MEASURED)):
        while seconds or any(view["pid"] and view["use"] is None for view in seen["sessions"]):
            seen = await client.call("_trio_broker/watch", {"after": seen["number"]})
            state = saw(state, seen, trio.current_time())
    while (page := wanted(state)) is not None:
        found = await client.call("_trio_broker/events", {"key": page[0], "since": page[1]})
        state = read(state, page[0], found["events"], found["next"])
    return state


def as_text(state: State, console: Console) -> None:
    """Print it: all sessions, in the console's width."""
    console.print(picture(state, trio.current_time(), console.width), end="", soft_wrap=True)


async def whole(client: Client, state: State, width: int, height: int) -> Screen:
    """The full screen as it is after some seconds, when rates are known."""
    state = await look(client, state, seconds=3 * SAMPLE)
    return screen(state, trio.current_time(), width, height)
