"""The modes and options that an agent offers for a session, and the choice of one of them.

For `set`, `set-mode` and --model. `opened` is always the result of `_trio_broker/open`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_broker.errors import Misuse

if TYPE_CHECKING:
    from trio_broker.client import Client

MODEL, MODE = "model", "mode"
Object = dict[str, Any]


async def choose(client: Client, opened: Object, name: str, value: str) -> Object:
    """Set the option of that id or category; `opened` is the answer to `open`. Raises Misuse with what is offered."""
    option = _find(opened, name)
    if option is None and name == MODE and modes_of(opened):  # no option, but listed as one
        return await _choose_mode(client, opened, value)
    if option is None:
        modes = [MODE] if modes_of(opened) and _find(opened, MODE) is None else []
        there = ", ".join([*modes, *(str(one["id"]) for one in options_of(opened))]) or "none"
        raise Misuse(f"{_named(opened, 'option')} {name!r}; it offers {there}; `trio-broker set` lists them")
    chosen = _pick(f"{_named(opened, name)}", choices_of(option), value)
    params = {"sessionId": opened["sessionId"], "configId": option["id"], "value": chosen}
    answer = await client.call("session/set_config_option", params)
    now = next(
        (one for one in options_of(answer) if one["id"] == option["id"]), option | {"currentValue": chosen}
    )
    return {
        "action": "option_set",
        "key": opened["key"],
        "option": option["id"],
        "value": now["currentValue"],
    }


async def choose_model(client: Client, opened: Object, name: str | None) -> None:
    """--model: have the session's agent use this model, unless it does. Raises Misuse with those that it offers."""
    if name is None:
        return
    option = _find(opened, MODEL)
    if option is None:
        raise Misuse(
            f"{_named(opened, 'model')} {name!r}: it lets nobody choose one; leave out --model, "
            "or configure a command line with the model for it"
        )
    if _pick(_named(opened, MODEL), choices_of(option), name) != option.get("currentValue"):
        await choose(client, opened, MODEL, name)


def options_of(opened: Any) -> list[Object]:
    """The options that can be chosen; of a kind that nobody here knows is none."""
    options = opened.get("configOptions") if isinstance(opened, dict) else None
    known = [
        one for one in options or () if isinstance(one, dict) and one.get("type") in ("select", "boolean")
    ]
    return [one for one in known if isinstance(one.get("id"), str) and "currentValue" in one]


def modes_of(opened: Object) -> list[Object]:
    """Its modes, as choices."""
    modes = opened.get("modes") or {}
    there = modes.get("availableModes") if isinstance(modes, dict) else None
    return [
        {"value": one["id"], "name": one.get("name")} for one in there or () if isinstance(one.get("id"), str)
    ]


def choices_of(option: Object) -> list[Object]:
    """What an option can be, out of their groups if it has any."""
    if option["type"] == "boolean":
        return [{"value": "true", "name": "On"}, {"value": "false", "name": "Off"}]
    found: list[Object] = []
    for one in option.get("options") or ():
        if isinstance(one, dict):
            found += (
                [one] if "value" in one else [inner for inner in one.get("options") or () if "value" in inner]
            )
    return found


def _find(opened: Object, name: str) -> Object | None:
    by_id = [one for one in options_of(opened) if one["id"] == name]
    return next(iter(by_id or [one for one in options_of(opened) if one.get("category") == name]), None)


def _named(opened: Object, what: str) -> str:
    return f"agent {opened['agent']!r} of session {opened['key']!r} offers no {what}"


def _pick(offers_no: str, choices: list[Object], word: str) -> str:
    """The value of the choice that is meant, by its value or its name."""
    for one in choices:
        if word == one["value"] or word.casefold() == str(one.get("name")).casefold():
            return str(one["value"])
    there = ", ".join(str(one["value"]) for one in choices) or "none"
    raise Misuse(f"{offers_no} {word!r}; it offers {there}")


async def _choose_mode(client: Client, opened: Object, mode: str) -> Object:
    id = _pick(_named(opened, "mode"), modes_of(opened), mode)
    await client.call("session/set_mode", {"sessionId": opened["sessionId"], "modeId": id})
    return {"action": "mode_set", "key": opened["key"], "value": id}
