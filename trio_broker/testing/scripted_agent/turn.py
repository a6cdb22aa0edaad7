"""A session, and what every action of a turn needs: its life, its answer, and the updates that it sends."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from trio_broker.testing.scripted_agent.script import parse
from trio_broker.testing.scripted_agent.stdio import (
    INVALID_PARAMS,
    Json,
    StdioConnection,
    new_session_id,
    prompt_text,
    text_block,
)

KINDS = ("read", "edit", "delete", "move", "search", "execute", "think", "fetch")
PERMISSION_OPTIONS = [
    {"optionId": "allow", "name": "Allow", "kind": "allow_once"},
    {"optionId": "always", "name": "Always allow", "kind": "allow_always"},
    {"optionId": "reject", "name": "Reject", "kind": "reject_once"},
]


class Session:
    """`capabilities` are the clientCapabilities of initialize; `permission_options` are those of its next requests."""

    def __init__(self, params: Json, capabilities: Json) -> None:
        self.id = new_session_id()
        self.params = params
        self.capabilities = capabilities
        self.mode = "ask"
        self.model = "small"
        self.permission_options: object = PERMISSION_OPTIONS
        self.turn: BaseTurn | None = None

    def modes(self) -> Json:
        modes = [{"id": "ask", "name": "Ask"}, {"id": "code", "name": "Code"}]
        return {"currentModeId": self.mode, "availableModes": modes}

    def options(self) -> list[Json]:
        values = [{"value": "small", "name": "Small"}, {"value": "large", "name": "Large"}]
        model = {"id": "model", "name": "Model", "category": "model", "type": "select"}
        return [{**model, "currentValue": self.model, "options": values}]

    def state(self) -> Json:
        return {"modes": self.modes(), "configOptions": self.options()}


class ProcessState:
    """What the whole process ignores."""

    ignores_term = False
    ignores_eof = False


class TurnEnded(Exception):
    """The turn is over before its last act."""


class BaseTurn:
    """One prompt: its acts, in a thread of its own."""

    def __init__(
        self, connection: StdioConnection, session: Session, message: Json, answered: list[object]
    ) -> None:
        self.connection, self.session, self.id = connection, session, message["id"]
        self.params: Json = message.get("params") or {}
        self.text = prompt_text(self.params)
        self.cancelled = threading.Event()
        self.stop_reason = "end_turn"
        self.error_on_cancel = False
        self.error: Json | None = None
        self.after_answer: list[Callable[[], None]] = []
        self.answered_ids = answered  # ids of earlier prompts
        self.calls = 0
        self.accepts_cancel = True
        self.on_update: Callable[[Json], None] = lambda _: None

    def run(self) -> None:
        try:
            for action in self._actions():
                action()
                if self.cancelled.is_set():
                    break
        except TurnEnded:
            pass
        except ValueError as error:  # of JSON, or of an escape
            self.error = {"code": INVALID_PARAMS, "message": f"an action's argument is wrong: {error}"}
        self.session.turn = None
        self.answer()
        self.answered_ids.append(self.id)
        for after in self.after_answer:
            after()

    def answer(self) -> None:
        if self.cancelled.is_set() and self.error_on_cancel:
            self.error = {"code": -32603, "message": "the turn was aborted"}
        if self.error is not None:
            self.connection.fail(self.id, self.error)
        else:
            reason = "cancelled" if self.cancelled.is_set() else self.stop_reason
            self.connection.reply(self.id, {"stopReason": reason})

    def _actions(self) -> list[Callable[[], object]]:
        return [partial(self._method(word), argument) for word, argument in parse(self.text)]

    def _method(self, word: str) -> Callable[[str], object]:
        method: Callable[[str], object] = getattr(self, "do_" + word.replace("-", "_"))
        return method

    def cancel(self) -> None:
        if self.accepts_cancel:
            self.cancelled.set()

    def update(self, tag: str, /, **fields: Any) -> None:
        self.on_update({"sessionUpdate": tag, **fields})
        self.connection.update(self.session.id, tag, **fields)

    def say(self, text: str) -> None:
        self.update("agent_message_chunk", content=text_block(text))

    def wait(self, seconds: float | None = None) -> None:
        if self.cancelled.wait(seconds):
            raise TurnEnded

    def tool_call(self, title: str, kind: str = "", **fields: Any) -> Json:
        """A new tool call; without a kind, that is the first word of the title, or execute."""
        self.calls += 1
        first = title.split()[0].lower()
        kind = kind or (first if first in KINDS else "execute")
        return {
            "toolCallId": f"call-{self.calls}",
            "title": title,
            "kind": kind,
            "status": "pending",
            **fields,
        }

    def path(self, path: str) -> str:
        """A path of the session's directory, absolute as ACP wants it."""
        return os.path.join(str(self.session.params.get("cwd", "/")), path)

    def offers(self, *names: str) -> bool:
        """Whether the client offers a capability: `offers("elicitation", "form")`."""
        found: object = self.session.capabilities
        for name in names:
            found = found.get(name) if isinstance(found, dict) else None
        return found is not None and found is not False


def error_text(response: Json) -> str:
    """The code of a response's error, in words."""
    error = response.get("error")
    return f"error {error.get('code')}" if isinstance(error, dict) else f"no error: {json.dumps(response)}"


def refusal_text(response: Json) -> str:
    """The code and the message of a response's error, in words."""
    error = response.get("error")
    return (
        f"{error_text(response)}: {error.get('message')}" if isinstance(error, dict) else error_text(response)
    )


def unescaped(text: str) -> str:
    r"""A text with Python's escapes replaced, as `\n`. Raises ValueError."""
    return text.encode("latin-1", "backslashreplace").decode("unicode_escape")
