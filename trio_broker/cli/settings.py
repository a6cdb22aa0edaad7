"""`config show` and `config check`."""

from __future__ import annotations

import enum
from typing import Any

import attrs
import click

from trio_broker.cli.run import State, call, pass_state, print_json, reach


@click.group("config")
def config_command() -> None:
    """The configuration file and what it says."""


@config_command.command("show")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
@pass_state
def show(state: State, style: str) -> None:
    """Show where everything is and the settings in force, defaults included."""
    paths = {name: str(value) for name, value in attrs.asdict(state.paths).items() if name != "config_named"}
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


@config_command.command("check")
@pass_state
def check(state: State) -> None:
    """Read the file; tell every mistake in it at once, with its key and what was expected."""
    found = "" if state.paths.config.exists() else " (there is none, so the defaults are in force)"
    agents = len(state.config.agents)
    click.echo(f"{state.paths.config}: ok, {agents} agent{'' if agents == 1 else 's'} configured{found}")


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
    done = call(state, "_trio_broker/reload", {})
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
