"""`agents list`."""

from __future__ import annotations

import shlex
import shutil

import click

from trio_broker import catalog
from trio_broker.cli.run import State, pass_state, print_json
from trio_broker.cli.text import safe, table


@click.group("agents")
def agents_command() -> None:
    """The agents that can be named: configured ones and built-in ones."""


@agents_command.command("list")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
@pass_state
def list_agents(state: State, style: str) -> None:
    """List them with the command line behind each; * marks the default, and ? a program that is not in PATH."""
    config = state.config
    specs = {name: catalog.resolve(name, config) for name in catalog.names(config)}
    found = {name: shutil.which(spec.argv[0]) is not None for name, spec in specs.items()}
    if style == "json":
        agents = [
            {
                "name": name,
                "command": list(spec.argv),
                "source": spec.source,
                "default": name == config.default_agent,
                "found": found[name],
            }
            for name, spec in specs.items()
        ]
        print_json({"agents": agents})
        return
    rows = [
        (
            ("*" if name == config.default_agent else " ") + (" " if found[name] else "?"),
            safe(name),
            spec.source,
            safe(shlex.join(spec.argv)),
        )
        for name, spec in specs.items()
    ]
    click.echo(table(("", "AGENT", "FROM", "COMMAND"), rows))
