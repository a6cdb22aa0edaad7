"""What is told to a person of an agent's start, which may take minutes when npx fetches it first, and of its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from trio_broker.cli.output import safe
from trio_broker.wire import jsonrpc
from trio_broker.wire.jsonrpc import Message

EVENT = "_trio_broker/event"
HOW = {
    "exact": "the conversation goes on where it was",
    "loaded": "the agent has loaded the conversation",
    "new": "the agent does not remember the conversation; `trio-broker sessions history` still shows it",
}


def session_event(event: dict[str, Any]) -> str:
    """What happened to a session in a word: one whose agent has ended is suspended, or dead, and comes back."""
    what, phase = str(event.get("event")), str(event.get("phase"))
    return safe(phase if what == "ended" and phase != "closed" else what)


def exited(event: dict[str, Any]) -> str:
    """How an agent's process has ended."""
    return f"signal {event['signal']}" if event.get("signal") else f"exit code {event.get('exitCode')}"


def given(event: dict[str, Any]) -> str:
    """The answer that a question got, as its agent calls it; else what became of it."""
    option = event.get("option") if event.get("outcome") != "expired" else None
    return safe(str(option or event.get("outcome")))


def tell_woken(opened: dict[str, Any]) -> None:
    """Tell, on stderr, what became of a session that was woken: its last turn, and whether its agent remembers."""
    if not opened["woken"]:
        return
    last = opened["lastTurn"] or {}
    if last.get("outcome") in ("unknown", "failed"):
        why = last.get("note") or last.get("error") or ""
        click.echo(f"[before] the last turn: {last['outcome']}: {safe(why)}", err=True)
    if opened["resumed"]:
        click.echo(f"[resumed] {HOW.get(opened['resumed'], opened['resumed'])}", err=True)


def tell_starting() -> Callable[[Message], None]:
    """An `on_message` that tells, on stderr, how a start goes: its time, and the agent's last line when it is new."""
    shown = ""

    def tell(message: Message) -> None:
        nonlocal shown
        if message.method != EVENT:
            return
        event = jsonrpc.decode(message.params)
        line = safe(event.get("stderr") or "")
        if event.get("kind") == "starting" and (not shown or line != shown):
            shown = line or " "
            click.echo(
                f"[starting] {safe(event['agent'])}, {event['elapsed']:.0f} s: {line}".rstrip(": "), err=True
            )

    return tell
