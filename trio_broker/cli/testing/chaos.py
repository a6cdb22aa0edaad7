"""`chaos`: a real daemon under random faults, and whether it kept its promises."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import click

from trio_broker.cli.options import POSITIVE
from trio_broker.cli.output import print_json
from trio_broker.cli.state import run

if TYPE_CHECKING:
    from trio_broker.testing.chaos.run import Report

SECONDS = 60.0  # in a minute


@click.command("chaos")
@click.option("--minutes", default=1.0, type=POSITIVE, help="Of faults; 1 unless given.")
@click.option("--seed", type=click.IntRange(min=0), help="Repeats a schedule of faults.")
@click.option("--sessions", default=20, type=click.IntRange(min=1), help="20 unless given.")
@click.option("--clients", default=20, type=click.IntRange(min=1), help="20 unless given.")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text")
def chaos_command(minutes: float, seed: int | None, sessions: int, clients: int, style: str) -> int:
    """Let a broker of its own suffer, and see whether it keeps its promises.

    Its agents and the broker itself are killed and stopped, its clients cut off and stalled, its journal flooded, its
    disk filled, its clock turned; meanwhile clients prompt, cancel and watch. Then every log is held against what the
    clients were told: nothing lost, nothing twice, in order, each prompt settled once and truly, no process and no
    descriptor left.
    Exit code 1 if anything was found. No running broker of yours is touched.

    \b
      trio-broker chaos --minutes 5
      trio-broker chaos --seed 7 --format json
    """
    from trio_broker.testing.chaos.run import Plan
    from trio_broker.testing.chaos.run import run as run_chaos

    seed = random.randrange(10**6) if seed is None else seed  # noqa: S311  # no secret
    plan = Plan(seed, minutes * SECONDS, sessions, clients)

    def print_line(text: str) -> None:
        click.echo(text, err=True)

    print_line(f"seed {seed}: {minutes:g} min, {sessions} sessions, {clients} clients")
    report = run(run_chaos, plan, print_line)
    if style == "json":
        print_json(report.as_json())
    else:
        _print_report(report)
    return 1 if report.violations else 0


def _print_report(report: Report) -> None:
    counted = ", ".join(
        f"{number} {name.replace('_', ' ')}" for name, number in sorted(report.faults.items())
    )
    ends = ", ".join(f"{number} {outcome}" for outcome, number in sorted(report.outcomes.items()))
    click.echo(f"faults    {counted or 'none'}")
    click.echo(f"prompts   {ends or 'none'}")
    click.echo(f"events    {report.events} in the logs, over {report.lives} lives of the broker")
    always = "" if report.violations else "always, "
    click.echo(f"status    answered {always}within {report.slowest_status * 1000:.0f} ms at most")
    click.echo(f"broken    {len(report.violations) or 'nothing'}")
    for violation in report.violations:
        click.echo(f"  {violation}")
