"""The modes and options that an agent offers for a session, and the choice of one of them.

For `set`, `set-mode` and --model. `opened` is always the result of `_trio_broker/open`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_broker.errors import Misuse

if TYPE_CHECKING:
    from trio_broker.client import Client

MODEL, MODE = "model", "mode"
JsonObject = dict[str, Any]


async def set_option(client: Client, opened: JsonObject, name: str, value: str) -> JsonObject:
    """Set the option of that id or category; `opened` is the answer to `open`. Raises Misuse with what is offered."""
    option = find_option(opened, name)
    if option is None and name == MODE and mode_choices(opened):  # no option, but listed as one
        return await set_mode(client, opened, value)
    if option is None:
        modes = [MODE] if mode_choices(opened) and find_option(opened, MODE) is None else []
        there = ", ".join([*modes, *(str(one["id"]) for one in config_options(opened))]) or "none"
        raise Misuse(
            f"{not_offered(opened, 'option')} {name!r}; it offers {there}; `trio-broker set` lists them"
        )
    chosen = _pick_choice(f"{not_offered(opened, name)}", option_choices(option), value)
    params = {"sessionId": opened["sessionId"], "configId": option["id"], "value": chosen}
    answer = await client.call("session/set_config_option", params)
    now = next(
        (one for one in config_options(answer) if one["id"] == option["id"]),
        option | {"currentValue": chosen},
    )
    return {
        "action": "option_set",
        "key": opened["key"],
        "option": option["id"],
        "value": now["currentValue"],
    }


async def set_model(client: Client, opened: JsonObject, name: str | None) -> None:
    """--model: have the session's agent use this model, unless it does. Raises Misuse with those that it offers."""
    if name is None:
        return
    option = find_option(opened, MODEL)
    if option is None:
        raise Misuse(
            f"{not_offered(opened, 'model')} {name!r}: it lets nobody choose one; leave out --model, "
            "or configure a command line with the model for it"
        )
    if _pick_choice(not_offered(opened, MODEL), option_choices(option), name) != option.get("currentValue"):
        await set_option(client, opened, MODEL, name)


def config_options(opened: Any) -> list[JsonObject]:
    """The options that can be chosen; of a kind that nobody here knows is none."""
    options = opened.get("configOptions") if isinstance(opened, dict) else None
    known = [
        one for one in options or () if isinstance(one, dict) and one.get("type") in ("select", "boolean")
    ]
    return [one for one in known if isinstance(one.get("id"), str) and "currentValue" in one]


def mode_choices(opened: JsonObject) -> list[JsonObject]:
    """Its modes, as choices."""
    modes = opened.get("modes") or {}
    there = modes.get("availableModes") if isinstance(modes, dict) else None
    return [
        {"value": one["id"], "name": one.get("name")} for one in there or () if isinstance(one.get("id"), str)
    ]


def option_choices(option: JsonObject) -> list[JsonObject]:
    """What an option can be, out of their groups if it has any."""
    if option["type"] == "boolean":
        return [{"value": "true", "name": "On"}, {"value": "false", "name": "Off"}]
    found: list[JsonObject] = []
    for one in option.get("options") or ():
        if isinstance(one, dict):
            found += (
                [one] if "value" in one else [inner for inner in one.get("options") or () if "value" in inner]
            )
    return found


def find_option(opened: JsonObject, name: str) -> JsonObject | None:
    by_id = [one for one in config_options(opened) if one["id"] == name]
    return next(iter(by_id or [one for one in config_options(opened) if one.get("category") == name]), None)


def not_offered(opened: JsonObject, what: str) -> str:
    return f"agent {opened['agent']!r} of session {opened['key']!r} offers no {what}"


def _pick_choice(offers_no: str, choices: list[JsonObject], word: str) -> str:
    """The value of the choice that is meant, by its value or its name."""
    for one in choices:
        if word == one["value"] or word.casefold() == str(one.get("name")).casefold():
            return str(one["value"])
    there = ", ".join(str(one["value"]) for one in choices) or "none"
    raise Misuse(f"{offers_no} {word!r}; it offers {there}")


async def set_mode(client: Client, opened: JsonObject, mode: str) -> JsonObject:
    id = _pick_choice(not_offered(opened, "mode"), mode_choices(opened), mode)
    await client.call("session/set_mode", {"sessionId": opened["sessionId"], "modeId": id})
    return {"action": "mode_set", "key": opened["key"], "value": id}
