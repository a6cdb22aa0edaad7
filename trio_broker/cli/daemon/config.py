"""`config show`, `config check` and `config init`."""

from __future__ import annotations

import enum
import os
from pathlib import Path
from typing import Any

import attrs
import click

from trio_broker.cli.options import Group
from trio_broker.cli.output import safe
from trio_broker.cli.state import State, pass_state, print_json, reach
from trio_broker.errors import Misuse


@click.group("config", cls=Group)
def config_command() -> None:
    """The configuration file and what it says."""


@config_command.command("show")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
@pass_state
def show(state: State, style: str) -> None:
    """Show where everything is and the settings in force, defaults included."""
    paths = {name: str(value) for name, value in state.paths._asdict().items() if name != "config_named"}
    settings = attrs.asdict(state.config, value_serializer=_plain)
    if style == "json":
        print_json({"paths": paths, **settings})
        return
    for name, value in paths.items():
        click.echo(f"# {name}: {value}")
    click.echo(f"default_agent = {_toml(settings['default_agent'])}")
    _show_table("broker", settings["broker"])
    _show_table("listen", {key: value for key, value in settings["listen"].items() if value is not None})
    _show_table("journal", settings["journal"])
    rules = settings["policy"].pop("rules")
    _show_table("policy", settings["policy"])
    for rule in rules:
        _show_table("[policy.rules]", {key: value for key, value in rule.items() if value is not None})
    for name, agent in settings["agents"].items():
        _show_table(f"agents.{_key(name)}", {key: value for key, value in agent.items() if value is not None})


@config_command.command("init")
@click.option(
    "--force", is_flag=True, help="Put it in the place of a file that is there; that one becomes …~."
)
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
@pass_state
def init(state: State, force: bool, style: str) -> None:
    """Write a configuration file with every setting in it, as comments: nothing changes until one is taken out.

    \b
      trio-broker config init
    """
    from trio_broker.cli.daemon.sample import SAMPLE

    path = state.paths.config
    if path.exists() and not force:
        raise Misuse(f"{path} is there already; edit it, or give --force to have it replaced")
    try:
        _write_private(path, SAMPLE)
    except OSError as error:
        raise Misuse(f"{path} can't be written: {error}; name another file with --config") from error
    if style == "json":
        print_json({"action": "config_written", "path": str(path)})
    else:
        click.echo(path)
        click.echo("edit it, then `trio-broker config check`", err=True)


def _write_private(path: Path, text: str) -> None:
    """A file of mode 0600, whole or not at all, as it may come to hold keys; what was there is kept beside it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    if path.exists():
        path.replace(path.with_name(f"{path.name}~"))
    fresh.replace(path)


@config_command.command("check")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
@pass_state
def check(state: State, style: str) -> None:
    """Read the file; tell every mistake in it at once, with its key and what was expected.

    A mistake is exit code 2. A warning is none: a program or a directory that is not there may be there in time.
    """
    from trio_broker.cli.daemon.config_check import find
    from trio_broker.config import config_error

    path = state.paths.config
    seen = find(path, state.installed, must_exist=state.paths.config_named)
    warnings = config_error(str(path), seen.warnings).message.splitlines()
    for line in warnings if seen.mistakes or style == "text" else ():
        click.echo(f"trio-broker: warning: {safe(line)}", err=True)
    if seen.mistakes:
        raise config_error(str(path), seen.mistakes)
    agents = len(seen.config.agents)
    if style == "json":
        told = {
            "path": str(path),
            "ok": True,
            "exists": path.exists(),
            "agents": agents,
            "warnings": warnings,
        }
        print_json(told)
        return
    found = "" if path.exists() else " (there is none, so the defaults are in force)"
    click.echo(f"{path}: ok, {agents} agent{'' if agents == 1 else 's'} configured{found}")


@config_command.command("reload")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
@pass_state
def reload(state: State, style: str) -> None:
    """Have the running broker read the file anew; it holds for what is started from now on.

    \b
      trio-broker config check && trio-broker config reload

    A mistake in the file changes nothing. The tables [listen] and [journal] hold from the next start of the broker on.
    """
    reach(state, autostart=False)
    done = state.ask("_trio_broker/reload", {})
    if style == "json":
        print_json({"action": "config_reloaded", **done})
        return
    later = " and ".join(f"[{name}]" for name in done["later"])
    wait = f"; {later} will hold from the broker's next start on" if later else ""
    click.echo(f"the broker has read its configuration anew{wait}", err=True)


def _plain(_: Any, __: Any, value: Any) -> Any:
    return value.value if isinstance(value, enum.Enum) else value


def _show_table(name: str, table: dict[str, Any]) -> None:
    click.echo(f"\n[{name}]")
    for key, value in table.items():
        click.echo(f"{key} = {_toml(value)}")


def _toml(value: Any) -> str:
    import json

    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{_key(key)} = {_toml(item)}" for key, item in value.items()) + " }"
            if value
            else "{}"
        )
    return json.dumps(value)  # TOML's strings, numbers and arrays are JSON's


def _key(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() else _toml(name)
