"""`set-mode` and `set`: show the modes and options that the agent of a session offers, and choose one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trio_broker.cli.events import print_resumed, start_reporter
from trio_broker.cli.options import format_option, session_options
from trio_broker.cli.output import print_json, safe, table
from trio_broker.cli.session_settings import (
    MODE,
    JsonObject,
    config_options,
    find_option,
    mode_choices,
    not_offered,
    option_choices,
    set_mode,
    set_option,
)
from trio_broker.cli.session_target import SessionTarget, resolve_session
from trio_broker.cli.state import State, pass_state, run
from trio_broker.errors import Misuse

if TYPE_CHECKING:
    from trio_broker.client import Client


@click.command("set-mode")
@session_options
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
    target = resolve_session(state, session, agent, cwd)
    if mode is None:
        _print_options(run(_open_session, state, target), style, modes_only=True)
    else:
        _print_result(run(_set_mode, state, target, mode), style)


@click.command("set")
@session_options
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
    target = resolve_session(state, session, agent, cwd)
    if name is None or value is None:
        _print_options(run(_open_session, state, target), style, name)
    else:
        _print_result(run(_set_option, state, target, name, value), style)


async def _open_session(state: State, target: SessionTarget) -> JsonObject:
    async with state.connect(on_message=start_reporter()) as client:
        return await _open_existing(client, target)


async def _open_existing(client: Client, target: SessionTarget) -> JsonObject:
    opened: JsonObject = await client.call("_trio_broker/open", target.open_params(create=False))
    print_resumed(opened)
    return opened


async def _set_mode(state: State, target: SessionTarget, mode: str) -> JsonObject:
    async with state.connect(on_message=start_reporter()) as client:
        opened = await _open_existing(client, target)
        if not mode_choices(opened) and find_option(opened, MODE) is not None:
            return await set_option(client, opened, MODE, mode)  # the way that is to replace modes
        return await set_mode(client, opened, mode)


async def _set_option(state: State, target: SessionTarget, name: str, value: str) -> JsonObject:
    async with state.connect(on_message=start_reporter()) as client:
        return await set_option(client, await _open_existing(client, target), name, value)


def _print_options(
    opened: JsonObject, style: str, name: str | None = None, *, modes_only: bool = False
) -> None:
    options = [] if modes_only else config_options(opened)
    modes = {
        "id": MODE,
        "type": "select",
        "currentValue": (opened.get("modes") or {}).get("currentModeId"),
        "options": mode_choices(opened),
    }
    if modes["options"] and find_option(opened, MODE) is None:
        options = [modes, *options]
    if (
        name is not None
        and (options := [one for one in options if name in (one["id"], one.get("category"))]) == []
    ):
        raise Misuse(f"{not_offered(opened, 'option')} {name!r}; `trio-broker set` lists what it offers")
    if style == "json":
        print_json({"key": opened["key"], "agent": opened["agent"], "options": options})
    elif style == "quiet":
        click.echo("".join(f"{safe(str(one['id']))}\n" for one in options), nl=False)
    elif options:
        click.echo(table(("KEY", "NOW", "CHOICES"), [_row(one) for one in options]))
    else:
        click.echo(f"{safe(not_offered(opened, 'modes' if modes_only else 'options'))}")


def _row(option: JsonObject) -> tuple[str, str, str]:
    now = option["currentValue"]
    now = str(now).lower() if isinstance(now, bool) else str(now)
    values = [str(one["value"]) for one in option_choices(option)]
    return safe(str(option["id"])), safe(now), safe(", ".join(values))


def _print_result(done: JsonObject, style: str) -> None:
    if style == "json":
        print_json(done)
    elif style == "text":
        what = safe(str(done.get("option", "mode")))
        click.echo(f"session {safe(done['key'])}: {what} is {safe(str(done['value']))}", err=True)
