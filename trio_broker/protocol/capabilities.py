"""What a client did not say it can show is not sent to it, or as something that it can (DESIGN D5). Pure.

Towards agents the broker has all abilities, before any client exists; so each client's own are minded on the way to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from trio_broker.protocol import jsonrpc

OPTIONS = "config_option_update"
NEEDS = {"notice": "notices", "compaction_update": "compaction", "compaction_summary_chunk": "compaction"}
SIGNS = (b'"notice"', b'"compaction_', b'"config_option_update"')
TRUTH = {"true": True, "false": False}
REMEMBERED = 4

Object = dict[str, Any]


@attrs.frozen
class Abilities:
    """What of a session's extras a client advertised at `initialize`."""

    booleans: bool = False  # config options of type boolean
    notices: bool = False
    compaction: bool = False

    @classmethod
    def of(cls, capabilities: Mapping[str, Any]) -> Abilities:
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
    plain = not any(sign in lines for sign in SIGNS)
    _plain.append((lines, plain))
    return plain


def degraded(lines: bytes, can: Abilities) -> bytes:
    """Whole lines, each a `session/update`, as a client of these abilities gets them."""
    if can == Abilities(True, True, True) or is_plain(lines):
        return lines
    return b"".join(_degraded(line, can) + b"\n" for line in lines[:-1].split(b"\n") if _shown(line, can))


def _update(line: bytes) -> Object:
    return _object(jsonrpc.decode(jsonrpc.peek(line).params).get("update"))


def _shown(line: bytes, can: Abilities) -> bool:
    ability = NEEDS.get(str(_update(line).get("sessionUpdate")))
    return ability is None or bool(getattr(can, ability))


def _degraded(line: bytes, can: Abilities) -> bytes:
    update = _update(line)
    if update.get("sessionUpdate") != OPTIONS or can.booleans:
        return line
    message = jsonrpc.peek(line)
    changed = update | {"configOptions": options_for(update.get("configOptions") or (), can)}
    params = jsonrpc.with_fields(message.params, update=changed)
    return jsonrpc.notification(message.method or "", params).rstrip(b"\n")


def options_for(options: Sequence[Any], can: Abilities) -> list[Any]:
    """Config options for a client: a boolean one is a choice of two for who does not know booleans."""
    return [option if can.booleans else _as_select(option) for option in options]


def _as_select(option: Any) -> Any:
    if not isinstance(option, dict) or option.get("type") != "boolean":
        return option
    choices = [{"value": "true", "name": "On"}, {"value": "false", "name": "Off"}]
    now = "true" if option.get("currentValue") is True else "false"
    return option | {"type": "select", "currentValue": now, "options": choices}


def facts_for(facts: Mapping[str, Any], can: Abilities) -> Object:
    """Modes and options of a session's answers, for a client."""
    options = facts.get("configOptions")
    return {**facts} | ({"configOptions": options_for(options, can)} if isinstance(options, list) else {})


def choice_of(params: bytes, options: Sequence[Any] | None) -> bytes:
    """`session/set_config_option` as the agent knows it: the choice of two is the boolean again."""
    asked = jsonrpc.decode(params)
    id, value = asked.get("configId"), asked.get("value")
    booleans = [
        _object(option).get("id") for option in options or () if _object(option).get("type") == "boolean"
    ]
    if id not in booleans or not isinstance(value, str) or value not in TRUTH:
        return params
    return jsonrpc.with_fields(params, type="boolean", value=TRUTH[value])
