"""`set-mode`, `set`, and --model: what of a session can be chosen, as its agent offers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from trio_broker.cli.events import tell_starting, tell_woken
from trio_broker.cli.options import format_option, scope_options
from trio_broker.cli.output import safe, table
from trio_broker.cli.session_target import Scope, meant
from trio_broker.cli.state import State, pass_state, print_json, run
from trio_broker.errors import Misuse

if TYPE_CHECKING:
    from trio_broker.client import Client

MODEL, MODE = "model", "mode"
Object = dict[str, Any]


@click.command("set-mode")
@scope_options
@click.argument("mode", required=False)
@format_option
@pass_state
def set_mode_command(
    state: State, session: str | None, agent: str | None, cwd: str | None, mode: str | None, style: str
) -> None:
    """Put a session's agent into another mode; without MODE, list the modes it offers, * the present one.

    \b
      trio-broker set-mode
      trio-broker set-mode -s review plan
    """
    scope = meant(state, session, agent, cwd)
    if mode is None:
        _show(run(_offered, state, scope), style, modes_only=True)
    else:
        _tell(run(_set_mode, state, scope, mode), style)


@click.command("set")
@scope_options
@click.argument("name", metavar="[KEY]", required=False)
@click.argument("value", required=False)
@format_option
@pass_state
def set_command(
    state: State,
    session: str | None,
    agent: str | None,
    cwd: str | None,
    name: str | None,
    value: str | None,
    style: str,
) -> None:
    """Set an option of a session; without KEY, list what its agent offers, with the present values.

    \b
      trio-broker set
      trio-broker set model opus
      trio-broker set -s review thinking true
    """
    scope = meant(state, session, agent, cwd)
    if name is None or value is None:
        _show(run(_offered, state, scope), style, name)
    else:
        _tell(run(_set, state, scope, name, value), style)


async def _offered(state: State, scope: Scope) -> Object:
    async with state.connect(on_message=tell_starting()) as client:
        return await _open(client, scope)


async def _open(client: Client, scope: Scope) -> Object:
    opened: Object = await client.call("_trio_broker/open", scope.opening(create=False))
    tell_woken(opened)
    return opened


async def _set_mode(state: State, scope: Scope, mode: str) -> Object:
    async with state.connect(on_message=tell_starting()) as client:
        opened = await _open(client, scope)
        if not modes_of(opened) and _find(opened, MODE) is not None:
            return await choose(client, opened, MODE, mode)  # the way that is to replace modes
        return await _choose_mode(client, opened, mode)


async def _choose_mode(client: Client, opened: Object, mode: str) -> Object:
    id = _pick(_named(opened, "mode"), modes_of(opened), mode)
    await client.call("session/set_mode", {"sessionId": opened["sessionId"], "modeId": id})
    return {"action": "mode_set", "key": opened["key"], "value": id}


async def _set(state: State, scope: Scope, name: str, value: str) -> Object:
    async with state.connect(on_message=tell_starting()) as client:
        return await choose(client, await _open(client, scope), name, value)


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


def _show(opened: Object, style: str, name: str | None = None, *, modes_only: bool = False) -> None:
    options = [] if modes_only else options_of(opened)
    modes = {
        "id": MODE,
        "type": "select",
        "currentValue": (opened.get("modes") or {}).get("currentModeId"),
        "options": modes_of(opened),
    }
    if modes["options"] and _find(opened, MODE) is None:
        options = [modes, *options]
    if (
        name is not None
        and (options := [one for one in options if name in (one["id"], one.get("category"))]) == []
    ):
        raise Misuse(f"{_named(opened, 'option')} {name!r}; `trio-broker set` lists what it offers")
    if style == "json":
        print_json({"key": opened["key"], "agent": opened["agent"], "options": options})
    elif style == "quiet":
        click.echo("".join(f"{safe(str(one['id']))}\n" for one in options), nl=False)
    elif options:
        click.echo(table(("KEY", "NOW", "CHOICES"), [_row(one) for one in options]))
    else:
        click.echo(f"{safe(_named(opened, 'modes' if modes_only else 'options'))}")


def _row(option: Object) -> tuple[str, str, str]:
    now = option["currentValue"]
    now = str(now).lower() if isinstance(now, bool) else str(now)
    values = [str(one["value"]) for one in choices_of(option)]
    return safe(str(option["id"])), safe(now), safe(", ".join(values))


def _tell(done: Object, style: str) -> None:
    if style == "json":
        print_json(done)
    elif style == "text":
        what = safe(str(done.get("option", "mode")))
        click.echo(f"session {safe(done['key'])}: {what} is {safe(str(done['value']))}", err=True)
