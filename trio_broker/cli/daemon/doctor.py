"""`doctor`: looks at everything that can be wrong on this machine, and says the mend of each."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator

import attrs
import click
import trio

from trio_broker import catalog
from trio_broker.catalog import AgentSpec
from trio_broker.cli.daemon.checks import BROKEN, CHECKS, NOTE, OK, Finding
from trio_broker.cli.options import ABOVE_ZERO
from trio_broker.cli.output import safe
from trio_broker.cli.progress import progress
from trio_broker.cli.state import State, at_home, pass_state, print_json, run_to_a_signal
from trio_broker.errors import ConfigError
from trio_broker.probe import Probe
from trio_broker.spawning import RUNNERS

AT_ONCE = 4  # agents that are looked at together: some take half a GiB


@click.command("doctor")
@click.option("--agents/--no-agents", default=True, help="Start the agents in PATH, and ask who they are.")
@click.option(
    "--timeout",
    type=ABOVE_ZERO,
    default=15.0,
    show_default=True,
    metavar="S",
    help="For each of them.",
)
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
@pass_state
def doctor_command(state: State, agents: bool, timeout: float, style: str) -> int:
    """Look at Python, packages, settings, directories, broker, journal, orphans, Node and agents; with mends.

    It needs no broker, and changes nothing. Exit code 1 when something is broken; a note breaks nothing.

    \b
      trio-broker doctor
      trio-broker doctor --no-agents --format json
    """
    at_home(state, "doctor")
    findings = [finding for check in CHECKS for finding in check(state)]
    if agents:
        findings += run_to_a_signal(_agents, state, timeout)
    broken = sum(finding.state == BROKEN for finding in findings)
    if style == "json":
        print_json({"ok": not broken, "findings": [attrs.asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            _show(finding)
    if broken:
        verb = "thing is" if broken == 1 else "things are"
        click.echo(f"trio-broker: {broken} {verb} broken; the mend is told with each", err=True)
    return 1 if broken else 0


def _show(finding: Finding) -> None:
    word = finding.state.upper() if finding.state == BROKEN else finding.state
    click.echo(f"{word:<7} {safe(finding.what):<15} {safe(finding.text)}")
    if finding.mend:
        click.echo(f"{'':<23} mend: {safe(finding.mend)}")


async def _agents(state: State, patience: float) -> list[Finding]:
    """Those whose program is here, in order; what npx would fetch is left alone."""
    try:
        specs = list(_here(state))
    except ConfigError:  # told already
        return []
    found: dict[str, Finding] = {}
    limiter = trio.CapacityLimiter(AT_ONCE)
    with tempfile.TemporaryDirectory(prefix="trio-broker-") as folder:
        async with progress("asking agents") as shown, trio.open_nursery() as nursery:

            async def look(spec: AgentSpec) -> None:
                async with limiter:
                    found[spec.name] = await _look(state, spec, folder, patience)
                shown.last = f"{len(found)} of {len(specs)}"

            for spec in specs:
                nursery.start_soon(look, spec)
    return [found[spec.name] for spec in specs]


def _here(state: State) -> Iterator[AgentSpec]:
    for name in catalog.names(state.config, state.installed):
        spec = catalog.resolve(name, state.config, installed=state.installed)
        fetched = os.path.basename(spec.argv[0]) in RUNNERS
        chosen = spec.source in ("config", "installed") or name == state.config.default_agent
        if chosen or (not fetched and shutil.which(spec.argv[0])):
            yield spec


async def _look(state: State, spec: AgentSpec, cwd: str, patience: float) -> Finding:
    probe = Probe(attrs.evolve(spec, start_timeout=None), cwd, patience, converse=False)
    await probe.run()
    what = f"agent {spec.name}"
    if probe.error is None and probe.introduced_after is not None:
        info = (probe.introduction or {}).get("agentInfo")
        version = str(info.get("version", "")) if isinstance(info, dict) else ""
        return Finding(what, OK, f"{version or 'answers'}, in {probe.introduced_after:.1f} s")
    why = probe.error.message if probe.error else "gave no answer"
    level = BROKEN if spec.source == "config" or spec.name == state.config.default_agent else NOTE
    return Finding(what, level, why, f"`trio-broker agents test {spec.name}` shows more")
