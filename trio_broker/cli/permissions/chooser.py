"""`allow` and `deny` without an id, at a terminal: a numbered choice, the request itself, and a key to confirm."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import Any

import trio

from trio_broker.cli.output import print_stderr, safe
from trio_broker.cli.permissions.keyboard import Keyboard
from trio_broker.cli.permissions.question import head
from trio_broker.cli.permissions.screen import show_request, terminal_size
from trio_broker.client.request_text import summary
from trio_broker.client.text_lines import TextLine

Ask = dict[str, Any]


async def choose(asks: Sequence[Ask], what: str) -> Ask | None:
    """Return the question that the person chooses and confirms; None if none. `what` is the act: "allow".

    Ctrl-C and SIGTERM choose none. An error leaves in an ExceptionGroup.
    """
    chosen: Ask | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(_cancel_on_signal, nursery.cancel_scope)
        async with Keyboard.open(sys.stdin.fileno(), lambda: None) as keyboard:
            ask = asks[0] if len(asks) == 1 else await _choose_number(keyboard, asks, what)
            if ask is not None and await _confirm(keyboard, ask, what):
                chosen = ask
        nursery.cancel_scope.cancel()
    print_stderr("")
    return chosen


async def _choose_number(keyboard: Keyboard, asks: Sequence[Ask], what: str) -> Ask | None:
    columns, _ = terminal_size(sys.stderr)
    for number, ask in enumerate(asks, 1):
        about = f"{ask['askId']} {ask['key']}: {ask['title']}"
        rows = [TextLine("title", safe(about)), TextLine("command", summary(ask))]
        print_stderr("\n".join((f"{number:3})", *(f"     {row}" for row in head(rows, columns - 5, 4, "")))))
    typed = ""
    await keyboard.discard_early_keys()
    while True:
        sys.stderr.write(
            f"\r\x1b[K{what} which one? 1-{len(asks)}, then Enter; any other key: none > {typed}"
        )
        sys.stderr.flush()
        keys = (await keyboard.read()).decode("utf-8", "replace")
        if not keys:
            return None
        for key in keys:  # one read has all the keys of a fast typist
            if key in ("\r", "\n") and typed.isdecimal() and 1 <= int(typed) <= len(asks):
                print_stderr("")
                return asks[int(typed) - 1]
            if key in ("\x7f", "\b"):
                typed = typed[:-1]
            elif key.isdecimal() and key.isascii() and len(typed) < 6:
                typed += key
            else:
                return None


async def _confirm(keyboard: Keyboard, ask: Ask, what: str) -> bool:
    show_request(ask)
    await keyboard.discard_early_keys()
    sys.stderr.write(f"{what} this? y; any other key: no > ")
    sys.stderr.flush()
    return await keyboard.read() in (b"y", b"y\n", b"y\r")


async def _cancel_on_signal(
    scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()
