"""`set-mode` and `set`: show the modes and options that the agent of a session offers, and choose one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trio_broker.cli.events import tell_starting, tell_woken
from trio_broker.cli.options import format_option, scope_options
from trio_broker.cli.output import print_json, safe, table
from trio_broker.cli.session_settings import (
    MODE,
    Object,
    _choose_mode,
    _find,
    _named,
    choices_of,
    choose,
    modes_of,
    options_of,
)
from trio_broker.cli.session_target import Scope, meant
from trio_broker.cli.state import State, pass_state, run
from trio_broker.errors import Misuse

if TYPE_CHECKING:
    from trio_broker.client import Client


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


async def _set(state: State, scope: Scope, name: str, value: str) -> Object:
    async with state.connect(on_message=tell_starting()) as client:
        return await choose(client, await _open(client, scope), name, value)


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
