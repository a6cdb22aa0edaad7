"""What a conversation is at present: ids, mode, options, commands, title and usage, from whatever told of them last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from trio_broker.protocol import jsonrpc


@attrs.define(eq=False)
class ConversationState:
    """`session_id` is public and stays; `agent_session_id` is what the agent calls it in its present life.

    `mode` and `options` are what was chosen, to be chosen again in the next life.
    """

    session_id: str | None = None
    agent_session_id: str | None = None
    session_new_result: bytes = (
        b"{}"  # the raw result of the agent's `session/new`, or of what took its place
    )
    modes: dict[str, Any] | None = None
    config_options: list[Any] | None = None
    commands: list[Any] | None = None
    title: str | None = None
    usage: dict[str, Any] | None = None  # used and size in tokens, and cost, as the agent said last
    mode: str | None = None
    options: dict[str, Any] = attrs.field(factory=dict)
    agent_updates: int = 0  # how often the agent itself told of a mode or of options

    def start_run(self, agent_session_id: str, result: bytes) -> None:
        """A life of the agent has begun: `result` has its modes and options."""
        self.agent_session_id, self.session_new_result = agent_session_id, result
        value = jsonrpc.decode(result)
        value = value if isinstance(value, dict) else {}
        self.modes = value["modes"] if isinstance(value.get("modes"), dict) else None
        self.config_options = value["configOptions"] if isinstance(value.get("configOptions"), list) else None

    def apply_update(self, update: dict[str, Any]) -> bool:
        """A state update of the agent; whether anything that is to be saved has changed."""
        kind = update.get("sessionUpdate")
        if kind == "session_info_update" and "title" in update:
            self.title = update["title"] if isinstance(update["title"], str) else None
        elif kind == "current_mode_update" and isinstance(update.get("currentModeId"), str):
            self.agent_updates += 1
            self._set_mode(update["currentModeId"])
        elif kind == "config_option_update" and isinstance(update.get("configOptions"), list):
            self.agent_updates += 1
            self._set_options(update["configOptions"])
        elif kind == "available_commands_update" and isinstance(update.get("availableCommands"), list):
            self.commands = update["availableCommands"]
            return False
        elif kind == "usage_update":
            self.usage = {name: update[name] for name in ("used", "size", "cost") if name in update}
            return False
        else:
            return False
        return True

    def apply_setting(self, method: str, params: bytes, result: bytes) -> None:
        """The agent has granted a `session/set_mode` or `session/set_config_option`."""
        asked, value = jsonrpc.decode(params), jsonrpc.decode(result)
        if method == "session/set_mode" and isinstance(asked.get("modeId"), str):
            self._set_mode(asked["modeId"])
        elif method == "session/set_config_option" and isinstance(value, dict):
            if isinstance(asked.get("configId"), str):
                self.options[asked["configId"]] = asked.get("value")
            if isinstance(value.get("configOptions"), list):
                self._set_options(value["configOptions"])

    def settings_to_restore(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The calls that bring a new life to the mode and options of the last one: method and parameters."""
        if self.mode is not None and self.modes is not None and self.modes.get("currentModeId") != self.mode:
            yield "session/set_mode", {"modeId": self.mode}
        for id, value in tuple(self.options.items()):
            if self.config_options is not None and _value_of(self.config_options, id) not in (None, value):
                yield "session/set_config_option", {"configId": id, "value": value}

    def update_of(self, method: str) -> dict[str, Any] | None:
        """The update that tells of a changed setting, for those who did not change it."""
        if method == "session/set_mode" and self.mode is not None:
            return {"sessionUpdate": "current_mode_update", "currentModeId": self.mode}
        if method == "session/set_config_option" and self.config_options is not None:
            return {"sessionUpdate": "config_option_update", "configOptions": self.config_options}
        return None

    def settings(self) -> dict[str, Any]:
        """Modes and options as `session/load` answers them."""
        found = {"modes": self.modes, "configOptions": self.config_options}
        return {name: value for name, value in found.items() if value is not None}

    def _set_mode(self, mode: str) -> None:
        self.mode = mode
        if self.modes is not None:
            self.modes = self.modes | {"currentModeId": mode}

    def _set_options(self, options: list[Any]) -> None:
        self.config_options = options
        for id in self.options:
            if (value := _value_of(options, id)) is not None:
                self.options[id] = value


def _value_of(options: list[Any], id: str) -> Any:
    found = (option for option in options if isinstance(option, dict) and option.get("id") == id)
    return next((option.get("currentValue") for option in found), None)
