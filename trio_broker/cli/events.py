"""Events and updates of a session in words: starts, ends and resumptions of agents, answers, and content blocks.

Several commands receive them from the broker. Nothing here keeps state, except `start_reporter` between two lines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from trio_broker.cli.output import safe
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import Kind, Message

EVENT = "_trio_broker/event"
ELICITATION = "elicitation/create"
RESUMED = {
    "exact": "the conversation goes on where it was",
    "loaded": "the agent has loaded the conversation",
    "new": "the agent does not remember the conversation; `trio-broker sessions history` still shows it",
}


def session_event_text(event: dict[str, Any]) -> str:
    """What happened to a session in a word: one whose agent has ended is suspended, or dead, and comes back."""
    what, phase = str(event.get("event")), str(event.get("phase"))
    return safe(phase if what == "ended" and phase != "closed" else what)


def exit_text(event: dict[str, Any]) -> str:
    """How an agent's process has ended."""
    return f"signal {event['signal']}" if event.get("signal") else f"exit code {event.get('exitCode')}"


def answer_text(event: dict[str, Any]) -> str:
    """The answer that a question got, as its agent calls it; else what became of it."""
    option = event.get("option") if event.get("outcome") != "expired" else None
    return safe(str(option or event.get("outcome")))


def ask_text(event: dict[str, Any]) -> str:
    """What an agent asks, and the commands that answer it."""
    id, params = safe(str(event.get("askId"))), event.get("params")
    is_url = isinstance(params, dict) and params.get("mode") == "url"
    command = "answer" if event.get("method") == ELICITATION and not is_url else "allow"
    return f"{safe(str(event.get('title')))}: `trio-broker {command} {id}`, or deny"


def child_text(event: dict[str, Any]) -> str | None:
    """A tool call that a child session of the agent announces or ends; None for its other updates."""
    params = event.get("params")
    update = params.get("update") if isinstance(params, dict) else None
    if not isinstance(update, dict) or update.get("sessionUpdate") not in ("tool_call", "tool_call_update"):
        return None
    announced = update["sessionUpdate"] == "tool_call"
    if not announced and update.get("status") not in ("completed", "failed"):
        return None
    what = update.get("title") or update.get("toolCallId")
    status = update.get("status") or "pending"
    return safe(f"{event.get('childSessionId')}: {what} ({status})")


def print_resumed(opened: dict[str, Any]) -> None:
    """Tell, on stderr, what became of a session that was woken: its last turn, and whether its agent remembers."""
    if not opened["woken"]:
        return
    last = opened["lastTurn"] or {}
    if last.get("outcome") in ("unknown", "failed"):
        why = last.get("note") or last.get("error") or ""
        click.echo(f"[before] the last turn: {last['outcome']}: {safe(why)}", err=True)
    if opened["resumed"]:
        click.echo(f"[resumed] {RESUMED.get(opened['resumed'], opened['resumed'])}", err=True)


def start_reporter() -> Callable[[Message], None]:
    """An `on_message` that tells, on stderr, how a start goes: its time, and the agent's last line when it is new."""
    shown = ""

    def report(message: Message) -> None:
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

    return report


def session_update(message: Message) -> dict[str, Any]:
    """The update in a `session/update`, else an empty one."""
    if message.kind is not Kind.NOTIFICATION or message.method != "session/update":
        return {}
    value = jsonrpc.decode(message.params)
    update = value.get("update") if isinstance(value, dict) else None
    return update if isinstance(update, dict) else {}


def content_text(content: Any) -> str:
    """A content block in words: text as it is, anything else by its kind and name."""
    if not isinstance(content, dict):
        return ""
    if isinstance(content.get("text"), str):
        found: str = content["text"]
        return found
    resource = content.get("resource")
    name = (
        content.get("uri")
        or content.get("mimeType")
        or (resource.get("uri") if isinstance(resource, dict) else "")
    )
    return f"<{content.get('type', 'content')} {name}>"
