"""`token new | list | revoke`. The text of a new token stands alone on stdout, prose on stderr."""

from __future__ import annotations

import os
import time
from typing import Any

import click

from trio_broker.cli.options import CommandGroup, parse_duration
from trio_broker.cli.output import print_json, safe, table
from trio_broker.cli.state import State, ensure_broker, pass_state

SCOPES = ("observe", "prompt", "answer", "admin")


@click.group("token", cls=CommandGroup)
def token_command() -> None:
    """Let others in: make, list and end the tokens by which a client that is not you is known."""


def _format_option(function: Any) -> Any:
    choice = click.Choice(["text", "json"])
    return click.option("--format", "style", type=choice, default="text", show_default=True, help="Output.")(
        function
    )


@token_command.command("new")
@click.option("--name", required=True, metavar="NAME", help="Whose it is; told to others, and in logs.")
@click.option(
    "--scope", "scopes", multiple=True, required=True, type=click.Choice(SCOPES), help="Repeatable."
)
@click.option(
    "--session", "sessions", multiple=True, metavar="GLOB", help="Only sessions of such keys. Repeatable."
)
@click.option(
    "--root",
    "roots",
    multiple=True,
    metavar="DIR",
    help="Only sessions that work there or below; without one it opens none. Repeatable.",
)
@click.option("--expires", metavar="30d", help="After so many s, m, h or d [default: never].")
@_format_option
@pass_state
def new(
    state: State,
    name: str,
    scopes: tuple[str, ...],
    sessions: tuple[str, ...],
    roots: tuple[str, ...],
    expires: str | None,
    style: str,
) -> None:
    """Make a token and show it, this once.

    \b
      observe   see sessions, and follow them
      prompt    open sessions (below --root) and prompt them
      answer    answer what agents ask, and choose modes and policies
      admin     everything you may: also commands, tokens and the end of it all
    """
    params: dict[str, Any] = {"name": name, "scopes": scopes, "sessions": sessions}
    params["roots"] = [os.path.abspath(os.path.expanduser(root)) for root in roots]
    if expires is not None:
        params["expiresIn"] = parse_duration(expires)
    ensure_broker(state, autostart=True)
    created = state.call("_trio_broker/token_new", params)
    if style == "json":
        print_json({"action": "token_created", **created})
        return
    click.echo(created["token"])
    click.echo(
        f"{_describe(created)}. It is not shown again; end it with `trio-broker token revoke {name}`",
        err=True,
    )


def _describe(token: dict[str, Any]) -> str:
    parts = [f"token {safe(token['name'])} may {', '.join(token['scopes'])}"]
    parts += [f"sessions {safe(' '.join(token['sessions']))}"] if token["sessions"] else []
    parts += [f"below {safe(' '.join(token['roots']))}"] if token["roots"] else []
    return "; ".join([*parts, f"expires {_date(token['expires'], 'never')}"])


def _date(at: float | None, default: str) -> str:
    return default if at is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


@token_command.command("list")
@_format_option
@pass_state
def list_(state: State, style: str) -> None:
    """List the tokens there are, and what each of them may."""
    ensure_broker(state, autostart=True)
    found = state.call("_trio_broker/tokens", {})
    if style == "json":
        print_json(found)
    elif found["tokens"]:
        head = ("NAME", "SCOPES", "SESSIONS", "ROOTS", "EXPIRES", "USED")
        click.echo(table(head, [_row(token) for token in found["tokens"]]))
    else:
        click.echo("no tokens")


def _row(token: dict[str, Any]) -> tuple[str, ...]:
    return (
        safe(token["name"]),
        ",".join(token["scopes"]),
        safe(" ".join(token["sessions"])) or "all",
        safe(" ".join(token["roots"])) or "-",
        "expired" if token["expired"] else _date(token["expires"], "never"),
        _date(token["lastUsed"], "never"),
    )


@token_command.command("revoke")
@click.argument("name")
@_format_option
@pass_state
def revoke(state: State, name: str, style: str) -> None:
    """End a token, and the connections that came with it, at once."""
    ensure_broker(state, autostart=True)
    state.call("_trio_broker/token_revoke", {"name": name})
    if style == "json":
        print_json({"action": "token_revoked", "name": name})
    else:
        click.echo(f"token {safe(name)} is revoked", err=True)
