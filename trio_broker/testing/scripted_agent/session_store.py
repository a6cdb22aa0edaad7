"""What the scripted agent has said in its sessions, in a directory: `session/load` works in another process too."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from trio_broker.testing.scripted_agent.stdio import Json

if TYPE_CHECKING:
    from trio_broker.testing.scripted_agent.turn import BaseTurn

STORED_UPDATES = (
    "user_message_chunk",
    "agent_message_chunk",
    "agent_thought_chunk",
    "tool_call",
    "tool_call_update",
    "plan",
)


class SessionStore:
    """One file a session: its directory in the first line, then its updates, one a line."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        os.makedirs(directory, exist_ok=True)

    def create(self, session: str, cwd: str) -> None:
        self._append(session, cwd)

    def record_turn(self, session: str, turn: BaseTurn) -> None:
        """Remember the prompt of a turn, and all that the agent will say in it."""
        for block in turn.params["prompt"]:
            self._append(session, {"sessionUpdate": "user_message_chunk", "content": block})

        def store_update(update: Json) -> None:
            if update.get("sessionUpdate") in STORED_UPDATES:
                self._append(session, update)

        turn.on_update = store_update

    def updates(self, session: str) -> list[Json] | None:
        """What was said in a session; None if there is no such session."""
        lines = self._lines(session)
        return [json.loads(line) for line in lines[1:]] if lines else None

    def sessions(self) -> dict[str, str]:
        """Each session's directory."""
        names = sorted(name.removesuffix(".jsonl") for name in os.listdir(self._directory))
        return {name: json.loads(lines[0]) for name in names if (lines := self._lines(name))}

    def delete(self, session: str) -> None:
        try:
            os.unlink(self._path(session))
        except FileNotFoundError:
            pass  # nothing is forgotten twice

    def _append(self, session: str, value: object) -> None:
        with open(self._path(session), "ab", buffering=0) as file:
            file.write(json.dumps(value).encode() + b"\n")

    def _lines(self, session: str) -> list[bytes]:
        try:
            with open(self._path(session), "rb") as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []

    def _path(self, session: str) -> str:
        return os.path.join(self._directory, f"{session.replace('/', '_')}.jsonl")
