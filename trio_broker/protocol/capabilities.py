"""What each side is told of the other's capabilities, and updates in the form that a client can show (DESIGN D5). Pure.

Towards agents the broker has all capabilities, before any client exists. So each client's own are observed on the way
to it: what a client did not say it can show is not sent to it, or in a form that it can show.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from trio_broker.protocol import acp, jsonrpc
from trio_broker.protocol.extensions import META_KEY

OPTIONS = "config_option_update"
NEEDS = {"notice": "notices", "compaction_update": "compaction", "compaction_summary_chunk": "compaction"}
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


def downgrade_updates(lines: bytes, can: ClientCapabilities) -> bytes:
    """Whole lines, each a `session/update`, as a client of these abilities gets them."""
    if can == ClientCapabilities(True, True, True) or is_plain(lines):
        return lines
    return b"".join(
        _downgrade_line(line, can) + b"\n" for line in lines[:-1].split(b"\n") if _is_supported(line, can)
    )


def _update(line: bytes) -> Object:
    return _object(jsonrpc.decode(jsonrpc.parse_envelope(line).params).get("update"))


def _is_supported(line: bytes, can: ClientCapabilities) -> bool:
    ability = NEEDS.get(str(_update(line).get("sessionUpdate")))
    return ability is None or bool(getattr(can, ability))


def _downgrade_line(line: bytes, can: ClientCapabilities) -> bytes:
    update = _update(line)
    if update.get("sessionUpdate") != OPTIONS or can.booleans:
        return line
    message = jsonrpc.parse_envelope(line)
    changed = update | {"configOptions": downgrade_options(update.get("configOptions") or (), can)}
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
    methods = agent.get("authMethods")
    merged["authMethods"] = [method for method in methods if _can_log_in(method, client)] if methods else []
    merged["_meta"] = _set_object(merged, "_meta") | {META_KEY: {"version": version}}
    return merged


def _set_object(parent: Object, name: str) -> Object:
    """The object under that name, put there when it is missing or something else."""
    if not isinstance(parent.get(name), dict):
        parent[name] = {}
    found: Object = parent[name]
    return found


def _can_log_in(method: Any, client: Object) -> bool:
    auth = client.get("auth")
    terminal = isinstance(auth, dict) and auth.get("terminal") is True
    return isinstance(method, dict) and (terminal or method.get("type") != "terminal")
