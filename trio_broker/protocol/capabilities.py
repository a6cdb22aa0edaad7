"""What each side is told of the other's capabilities, and updates in the form that a client can show (DESIGN D5). Pure.

Towards agents the broker has all capabilities, before any client exists. So each client's own are observed on the way
to it: an update that a client did not say it can show is sent to it in a form that it can show.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from trio_broker.errors import BadMessage
from trio_broker.protocol import acp, jsonrpc
from trio_broker.protocol.auth_methods import offered_methods
from trio_broker.protocol.extensions import META_KEY
from trio_broker.protocol.notices import COMPACTION, NOTICE, SUMMARY_CHUNK, as_message

OPTIONS = "config_option_update"
NEEDS = {NOTICE: "notices", COMPACTION: "compaction", SUMMARY_CHUNK: "compaction"}
UPDATE_MARKERS = (b'"notice"', b'"compaction_', b'"config_option_update"')
BOOLEANS = {"true": True, "false": False}
REMEMBERED = 4

Object = dict[str, Any]


@attrs.frozen
class ClientCapabilities:
    """What of a session's extras a client advertised at `initialize`."""

    booleans: bool = False  # config options of type boolean
    notices: bool = False
    compaction: bool = False

    @classmethod
    def of(cls, capabilities: Mapping[str, Any]) -> ClientCapabilities:
        session = _object(capabilities.get("session"))
        options = _object(session.get("configOptions"))
        has = {name: isinstance(session.get(name), dict) for name in ("notices", "compaction")}
        return cls(booleans=isinstance(options.get("boolean"), dict), **has)


ALL = ClientCapabilities(booleans=True, notices=True, compaction=True)


def _object(value: object) -> Object:
    return value if isinstance(value, dict) else {}


_plain: deque[tuple[bytes, bool]] = deque(maxlen=REMEMBERED)  # for many clients are sent one block


def is_plain(lines: bytes) -> bool:
    """Whether there is nothing in these updates that a client may lack an ability for. May say no for too many."""
    for remembered, plain in _plain:
        if remembered is lines:
            return plain
    plain = not any(sign in lines for sign in UPDATE_MARKERS)
    _plain.append((lines, plain))
    return plain


def downgrade_updates(lines: bytes, can: ClientCapabilities, first: int) -> bytes:
    """Whole lines, each a `session/update`, as a client of these capabilities gets them while they are live.

    Each line remains one line. `first` is the number of the first one in the log.
    """
    if can == ALL or is_plain(lines):
        return lines
    numbered = enumerate(lines[:-1].split(b"\n"), first)
    return b"".join(_downgrade_line(line, can, number) + b"\n" for number, line in numbered)


def downgrade_replay(line: bytes, can: ClientCapabilities) -> bytes:
    """The same for one line of a replay; b"" for a line that the client cannot show: its text was for its moment."""
    if can == ALL or is_plain(line):
        return line
    return _downgrade_line(line[:-1], can, 0) + b"\n" if _is_supported(_update(line), can) else b""


def _update(line: bytes) -> Object:
    """The update in a line; {} for one that cannot be read, such as a number beyond all floats: it passes as it is."""
    try:
        return _object(_object(jsonrpc.decode(jsonrpc.parse_envelope(line).params)).get("update"))
    except BadMessage:
        return {}


def _is_supported(update: Object, can: ClientCapabilities) -> bool:
    capability = NEEDS.get(str(update.get("sessionUpdate")))
    return capability is None or bool(getattr(can, capability))


def _downgrade_line(line: bytes, can: ClientCapabilities, number: int) -> bytes:
    update = _update(line)
    if not _is_supported(update, can):
        changed = as_message(update, number)
    elif update.get("sessionUpdate") == OPTIONS and not can.booleans:
        changed = downgrade_settings(update, can)
    else:
        return line
    message = jsonrpc.parse_envelope(line)
    params = jsonrpc.replace_members(message.params, update=changed)
    return jsonrpc.notification(message.method or "", params).rstrip(b"\n")


def downgrade_options(options: Sequence[Any], can: ClientCapabilities) -> list[Any]:
    """Config options for a client: a boolean one is a choice of two for who does not know booleans."""
    return [option if can.booleans else _as_select(option) for option in options]


def _as_select(option: Any) -> Any:
    if not isinstance(option, dict) or option.get("type") != "boolean":
        return option
    choices = [{"value": "true", "name": "On"}, {"value": "false", "name": "Off"}]
    now = "true" if option.get("currentValue") is True else "false"
    return option | {"type": "select", "currentValue": now, "options": choices}


def downgrade_settings(facts: Mapping[str, Any], can: ClientCapabilities) -> Object:
    """Modes and options of a session's answers, for a client."""
    options = facts.get("configOptions")
    return {**facts} | (
        {"configOptions": downgrade_options(options, can)} if isinstance(options, list) else {}
    )


def restore_boolean(params: bytes, options: Sequence[Any] | None) -> bytes:
    """`session/set_config_option` as the agent knows it: the choice of two is the boolean again."""
    asked = jsonrpc.decode(params)
    id, value = asked.get("configId"), asked.get("value")
    booleans = [
        _object(option).get("id") for option in options or () if _object(option).get("type") == "boolean"
    ]
    if id not in booleans or not isinstance(value, str) or value not in BOOLEANS:
        return params
    return jsonrpc.replace_members(params, type="boolean", value=BOOLEANS[value])


def initialize_result(agent: Object, client: Object, version: str) -> Object:
    """The broker's answer to a client's `initialize`: the agent's own, with what the broker adds and withholds.

    `agent`: the agent's result; `client`: the client's capabilities; `version`: the broker's.
    """
    merged = copy.deepcopy(agent) | {"protocolVersion": acp.PROTOCOL_VERSION}
    capabilities = _set_object(merged, "agentCapabilities")
    capabilities["loadSession"] = True  # of the log, which every session has
    of_sessions = _set_object(capabilities, "sessionCapabilities")
    of_sessions.pop("fork", None)
    of_sessions |= {"list": {}, "close": {}, "resume": {}, "delete": {}}
    capabilities["sessionCapabilities"] = of_sessions
    merged["authMethods"] = offered_methods(agent.get("authMethods"), client)
    merged["_meta"] = _set_object(merged, "_meta") | {META_KEY: {"version": version}}
    return merged


def _set_object(parent: Object, name: str) -> Object:
    """The object under that name, put there when it is missing or something else."""
    if not isinstance(parent.get(name), dict):
        parent[name] = {}
    found: Object = parent[name]
    return found
