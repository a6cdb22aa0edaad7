"""`orphans`: what brokers that are gone left behind. It needs no broker."""

from __future__ import annotations

from collections.abc import Callable

import click

from trio_broker.agent import process_tags
from trio_broker.agent.process_tags import TaggedProcess
from trio_broker.cli.background import lock_holder
from trio_broker.cli.output import print_json, safe, table
from trio_broker.cli.state import State, pass_state

KILL_TIMEOUT = 5.0


@click.command("orphans")
@click.option("--end", "end", is_flag=True, help="SIGKILL them.")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
@pass_state
def orphans_command(state: State, end: bool, style: str) -> None:
    """List the processes of agents whose broker is gone; there should be none, as every broker ends its own.

    They are known by a mark in their environment and by their start time, never by their number alone.
    """
    match = orphan_filter(state)
    found = process_tags.find(match)
    ended = process_tags.end_all(match, KILL_TIMEOUT) if end else 0
    if style == "json":
        print_json({"orphans": [process._asdict() for process in found], "ended": ended})
        return
    if found:
        rows = [(str(process.pid), safe(process.session), safe(process.command)[:100]) for process in found]
        click.echo(table(("PID", "SESSION", "COMMAND"), rows))
    more = f", {ended} ended" if end else ("; end them with `trio-broker orphans --end`" if found else "")
    click.echo(f"{len(found)} orphans{more}", err=True)


def orphan_filter(state: State) -> Callable[[TaggedProcess], bool]:
    """Return a function that selects the processes of this home whose broker does not run any more."""
    running = next(iter(lock_holder(state.paths)[1:]), None)
    home = process_tags.runtime_tag(str(state.paths.runtime))

    def match(process: TaggedProcess) -> bool:
        return process_tags.runtime_of(process.instance) == home and process.instance != running

    return match
