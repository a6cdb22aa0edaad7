"""`status`: the broker's picture of itself, as a table or as JSON."""

from __future__ import annotations

from typing import Any

import click

from trio_broker.cli.output import ago, safe, table
from trio_broker.cli.state import State, pass_state, print_json

ABOUT = 110  # characters


@click.command("status")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
@pass_state
def status_command(state: State, style: str) -> None:
    """Show what every session is doing. It asks no session, so a busy one does not slow it.

    \b
      trio-broker status --format json
    """
    status = state.ask("_trio_broker/status")
    if style == "json":
        print_json(status)
    else:
        show(status)


def show(status: dict[str, Any]) -> None:
    """The picture as text: one line for the broker, one for each session."""
    counts = ", ".join(f"{number} {phase}" for phase, number in status["counts"].items() if number)
    click.echo(
        f"broker {status['version']} (pid {status['pid']}) up {ago(status['uptime'])}, "
        f"{status['clients']} client{'' if status['clients'] == 1 else 's'}; sessions: {counts or 'none'}"
    )
    if status["draining"]:
        click.echo("it drains: it stops when every turn has ended, and begins nothing new")
    if failing := status["journal"]["failing"]:
        lost = status["journal"]["lost"]
        click.echo(
            f"THE JOURNAL FAILS, sessions go on without it ({lost} events lost so far): {safe(failing)}"
        )
    if status["sessions"]:
        click.echo(sessions_table(status["sessions"]))
    for name, failing in status["failing"].items():
        rest = (
            f"it rests for {ago(failing['retry_in'])}"
            if failing["retry_in"]
            else "the next prompt tries again"
        )
        click.echo(
            f"{safe(name)}: failed to start, {failing['failures']} in a row; {rest}: {safe(failing['reason'])}"
        )


def _about(view: dict[str, Any]) -> str:
    """What went wrong, else the title. Who it is stands in a column already, and what is left out is marked."""
    text = (view["error"] or view["title"] or "").split("\n")[0]
    text = safe(text.removeprefix(f"agent {view['agent']!r} "))
    return text if len(text) <= ABOUT else text[: ABOUT - 1] + "…"


def sessions_table(sessions: list[dict[str, Any]]) -> str:
    rows = [
        (
            safe(view["key"]),
            safe(view["agent"]),
            view["phase"],
            ago(view["phase_for"]),
            ago(view["quiet_for"]),
            str(view["queue"] or "-"),
            str(view["pid"] or "-"),
            _about(view),
        )
        for view in sessions
    ]
    return table(("SESSION", "AGENT", "PHASE", "FOR", "QUIET", "QUEUE", "PID", ""), rows)
