"""Models of the ACP v1 messages that the broker makes or interprets itself; all others pass as they are.

Names are the schema's in snake case (`codec` renames them). Fields a model leaves out are ignored. A field with
`lenient` set is taken as absent when it has the wrong type (the schema's `x-deserialize-default-on-error`).
"""

from __future__ import annotations

from typing import Any

import attrs

PROTOCOL_VERSION = 1
Object = dict[str, Any]

# The broker's capabilities towards every agent (DESIGN D5). The agent has a disk and a shell of its own, unless its
# configuration says otherwise (`agent.lifecycle`). The broker holds an elicitation that no client can show, and
# `agents login` runs a login in a terminal.
AGENT_FACING_CAPABILITIES: Object = {
    "fs": {"readTextFile": False, "writeTextFile": False},
    "terminal": False,
    "auth": {"terminal": True},
    "elicitation": {"form": {}, "url": {}},
    "session": {"configOptions": {"boolean": {}}, "notices": {}, "compaction": {}},
}

CANCELLED: Object = {"outcome": "cancelled"}


def selected(option_id: str) -> Object:
    """The outcome of a permission request for which this option was chosen."""
    return {"outcome": "selected", "optionId": option_id}


def _object() -> Any:
    return attrs.field(factory=dict, metadata={"lenient": True})


def _objects() -> Any:
    return attrs.field(factory=list, metadata={"lenient": True})


def _maybe() -> Any:
    return attrs.field(default=None, metadata={"lenient": True})


@attrs.frozen
class Implementation:
    name: str
    version: str
    title: str | None = _maybe()


@attrs.frozen
class InitializeRequest:
    protocol_version: int
    client_capabilities: Object = _object()
    client_info: Implementation | None = _maybe()


@attrs.frozen
class InitializeResponse:
    protocol_version: int
    agent_capabilities: Object = _object()
    auth_methods: list[Object] = _objects()
    agent_info: Object | None = _maybe()


@attrs.frozen
class NewSessionRequest:
    cwd: str
    mcp_servers: list[Object] = attrs.field(factory=list)
    additional_directories: list[str] = attrs.field(factory=list)


@attrs.frozen
class NewSessionResponse:
    session_id: str
    modes: Object | None = _maybe()
    config_options: list[Object] | None = _maybe()


@attrs.frozen
class ListSessionsRequest:
    cwd: str | None = None
    cursor: str | None = None


@attrs.frozen
class SessionInfo:
    session_id: str
    cwd: str
    title: str | None = None


@attrs.frozen
class ListSessionsResponse:
    sessions: list[SessionInfo]
    next_cursor: str | None = None


@attrs.frozen
class PermissionOption:
    option_id: str
    name: str
    kind: str


@attrs.frozen
class RequestPermissionRequest:
    session_id: str
    tool_call: Object
    options: list[PermissionOption]


@attrs.frozen
class EnvVariable:
    name: str
    value: str


@attrs.frozen
class CreateTerminalRequest:
    command: str
    args: list[str] = attrs.field(factory=list)
    env: list[EnvVariable] = attrs.field(factory=list)
    cwd: str | None = None
    output_byte_limit: int | None = None


@attrs.frozen
class TerminalOutputRequest:
    """The other requests on a terminal (`wait_for_exit`, `kill`, `release`) have the same parameters."""

    terminal_id: str
