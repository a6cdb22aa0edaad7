"""`doctor`: checks everything that can be wrong on this machine, and says how to fix it.

Each check is a function that blocks for a moment and yields findings. Only the agents are started at the same time, in
Trio.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs
import click
import trio

from trio_broker import __version__
from trio_broker.agent import catalog, process_tags
from trio_broker.agent.catalog import RUNNERS, AgentSpec
from trio_broker.agent.probe import Probe
from trio_broker.cli.background import is_listening, lock_is_held
from trio_broker.cli.daemon.config_check import check_file
from trio_broker.cli.daemon.orphans import orphan_filter
from trio_broker.cli.options import POSITIVE
from trio_broker.cli.output import print_json, progress, safe
from trio_broker.cli.state import State, pass_state, require_local_broker, run_until_signal
from trio_broker.config.config import config_error
from trio_broker.errors import BrokerError, ConfigError
from trio_broker.protocol.auth_methods import terminal_methods

OK, NOTE, BROKEN = "ok", "note", "broken"
OLDEST, NEWEST = (3, 11), (3, 14)  # the supported versions of Python, as pyproject.toml and README have them
PACKAGES = ("attrs", "cattrs", "click", "msgspec", "platformdirs", "psutil", "rich", "trio", "trio-util")
LOW_SPACE, NO_SPACE = 2 << 30, 200 << 20  # bytes that are free
NODE_TIMEOUT = 10.0
MAX_PROBES = 4  # agents that are looked at together: some take half a GiB


@attrs.frozen
class Finding:
    """`mend` says what to do about it; nothing for what is well."""

    what: str
    state: str
    text: str
    mend: str = ""


def check_python(_: State) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    supported = "supported: {}.{} to {}.{}".format(*OLDEST, *NEWEST)
    text, level, mend = f"{version} ({sys.executable}), {supported}", OK, ""
    if sys.version_info[:2] < OLDEST:
        level, mend = BROKEN, "install Python 3.11 or newer, and trio-broker for that one"
    elif sys.version_info[:2] > NEWEST:
        text = f"{version} ({sys.executable}) is not tested, {supported}"
        level, mend = NOTE, "if something fails, install a supported Python, and trio-broker for that one"
    yield Finding("python", level, text, mend)
    missing, found = [], []
    for name in (*PACKAGES, "trio-websocket"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        yield Finding("packages", BROKEN, f"missing: {', '.join(missing)}", "install trio-broker anew")
    else:
        yield Finding("packages", OK, f"trio-broker {__version__}, {', '.join(found)}")


def check_config(state: State) -> Iterator[Finding]:
    path = state.paths.config
    mend = f"edit {path}, then `trio-broker config check`"
    try:
        checked = check_file(path, state.installed, must_exist=state.paths.config_named)
        if checked.errors:
            raise config_error(str(path), checked.errors)
    except ConfigError as error:
        for line in error.message.splitlines():
            yield Finding("config", BROKEN, line, mend)
        return
    for line in config_error(str(path), checked.warnings).message.splitlines():
        yield Finding("config", NOTE, line, mend)
    agents = len(checked.config.agents)
    if not path.exists():
        yield Finding("config", OK, f"none at {path}: the defaults are in force")
        return
    yield Finding("config", OK, f"{path}, {agents} agent{'' if agents == 1 else 's'}")
    if stat.S_IMODE(path.stat().st_mode) & 0o022:
        yield Finding("config", BROKEN, "others may write the configuration", f"chmod go-w {path}")


def check_home(state: State) -> Iterator[Finding]:
    """The directories: writable, private where they have to be, with room."""
    paths = state.paths
    for name, path in (("state", paths.state), ("runtime", paths.runtime), ("agents", paths.agents)):
        there = _nearest_existing(path)
        if not os.access(there, os.W_OK | os.X_OK) or not there.is_dir():
            yield Finding(
                name, BROKEN, f"{there} can't be written", "set TRIO_BROKER_HOME to a directory of yours"
            )
        elif name == "runtime" and path.exists() and _mode(path) != 0o700:
            yield Finding(name, BROKEN, f"{path} has mode {_mode(path):04o}, not 0700", f"chmod 700 {path}")
        else:
            yield Finding(name, OK, f"{path}{'' if path.exists() else ' (is made when it is needed)'}")
    free = shutil.disk_usage(_nearest_existing(paths.state)).free
    level = BROKEN if free < NO_SPACE else NOTE if free < LOW_SPACE else OK
    mend = "" if level == OK else "make room, or `trio-broker sessions prune --older-than 30d`"
    yield Finding("disk", level, f"{free / (1 << 30):.1f} GiB free for the journal", mend)


def check_broker(state: State) -> Iterator[Finding]:
    paths = state.paths
    if not is_listening(paths):
        if lock_is_held(paths):
            mend = f"wait a moment, then look at {paths.log}; `trio-broker down` ends it"
            yield Finding("broker", BROKEN, "a broker lives and does not listen", mend)
        else:
            yield Finding("broker", OK, "none runs; the next prompt starts one")
        return
    if (mode := _mode(paths.socket)) != 0o600:
        yield Finding("socket", BROKEN, f"{paths.socket} has mode {mode:04o}", f"chmod 600 {paths.socket}")
    try:
        status = state.call("_trio_broker/status", patience=5.0)
    except BrokerError as error:
        yield Finding("broker", BROKEN, error.message, f"look at {paths.log}, then `trio-broker down`")
        return
    text = f"{status['version']} (pid {status['pid']}) at {paths.socket}"
    yield from _check_status(status, text)


def _check_status(status: dict[str, Any], text: str) -> Iterator[Finding]:
    if status["version"] == __version__:
        yield Finding("broker", OK, text)
    else:
        mend = "`trio-broker down`, when its turns have ended; the next prompt starts the new one"
        yield Finding("broker", BROKEN, f"{text}, but this command is {__version__}", mend)
    if failing := status["journal"]["failing"]:
        yield Finding("journal", BROKEN, f"the broker can't write it: {failing}", "make room on its disk")
    for name, agent in status["failing"].items():
        text = f"failed to start, {agent['failures']} in a row: {agent['reason']}"
        yield Finding(f"agent {name}", NOTE, text, f"`trio-broker agents test {name}`")


def check_orphans(state: State) -> Iterator[Finding]:
    found = process_tags.find(orphan_filter(state))
    if found:
        pids = ", ".join(str(process.pid) for process in found)
        yield Finding("orphans", BROKEN, f"{len(found)} left behind: {pids}", "`trio-broker orphans --end`")
    else:
        yield Finding("orphans", OK, "none")


def check_journal(state: State) -> Iterator[Finding]:
    """Read only, so that a running broker is not disturbed."""
    path = state.paths.journal
    if not path.exists():
        yield Finding("journal", OK, f"none yet at {path}")
        return
    mend = f"the broker puts it aside at its next start; keep a copy of {path} until then"
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5.0)
        try:
            results = [row[0] for row in connection.execute("PRAGMA quick_check(5)")]
        finally:
            connection.close()
    except sqlite3.Error as error:
        yield Finding("journal", BROKEN, f"{path}: {error}", mend)
        return
    if results == ["ok"]:
        yield Finding("journal", OK, f"{path}, {path.stat().st_size / (1 << 20):.1f} MiB, whole")
    else:
        yield Finding("journal", BROKEN, f"{path}: {'; '.join(results)}", mend)


def check_node(_: State) -> Iterator[Finding]:
    program = shutil.which("node")
    if program is None or shutil.which("npx") is None:
        yield Finding("node", NOTE, "node and npx are not in PATH", "install Node.js for agents that need it")
        return
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, timeout=NODE_TIMEOUT, check=True, text=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        yield Finding("node", BROKEN, f"{program}: {error}", "install Node.js anew")
    else:
        yield Finding("node", OK, f"{done.stdout.strip()} ({program})")


def _nearest_existing(path: Path) -> Path:
    """The directory itself, or the one that it would be made in."""
    return next(one for one in (path, *path.parents) if one.exists())


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


CHECKS = (
    check_python,
    check_config,
    check_home,
    check_broker,
    check_journal,
    check_orphans,
    check_node,
)


@click.command("doctor")
@click.option("--agents/--no-agents", default=True, help="Start the agents in PATH, and ask who they are.")
@click.option(
    "--timeout",
    type=POSITIVE,
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
    require_local_broker(state, "doctor")
    findings = [finding for check in CHECKS for finding in check(state)]
    if agents:
        findings += run_until_signal(_check_agents, state, timeout)
    broken = sum(finding.state == BROKEN for finding in findings)
    if style == "json":
        print_json({"ok": not broken, "findings": [attrs.asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            _print_finding(finding)
    if broken:
        verb = "thing is" if broken == 1 else "things are"
        click.echo(f"trio-broker: {broken} {verb} broken; the mend is told with each", err=True)
    return 1 if broken else 0


def _print_finding(finding: Finding) -> None:
    word = finding.state.upper() if finding.state == BROKEN else finding.state
    click.echo(f"{word:<7} {safe(finding.what):<15} {safe(finding.text)}")
    if finding.mend:
        click.echo(f"{'':<23} mend: {safe(finding.mend)}")


async def _check_agents(state: State, patience: float) -> list[Finding]:
    """Those whose program is here, in order; what npx would fetch is left alone."""
    try:
        specs = list(_local_agents(state))
    except ConfigError:  # told already
        return []
    found: dict[str, Finding] = {}
    limiter = trio.CapacityLimiter(MAX_PROBES)
    with tempfile.TemporaryDirectory(prefix="trio-broker-") as folder:
        async with progress("asking agents") as progress_line, trio.open_nursery() as nursery:

            async def check(spec: AgentSpec) -> None:
                async with limiter:
                    found[spec.name] = await _check_agent(state, spec, folder, patience)
                progress_line.last = f"{len(found)} of {len(specs)}"

            for spec in specs:
                nursery.start_soon(check, spec)
    return [found[spec.name] for spec in specs]


def _local_agents(state: State) -> Iterator[AgentSpec]:
    for name in catalog.names(state.config, state.installed):
        spec = catalog.resolve(name, state.config, installed=state.installed)
        fetched = os.path.basename(spec.argv[0]) in RUNNERS
        chosen = spec.source in ("config", "installed") or name == state.config.default_agent
        if chosen or (not fetched and shutil.which(spec.argv[0])):
            yield spec


async def _check_agent(state: State, spec: AgentSpec, cwd: str, patience: float) -> Finding:
    probe = Probe(attrs.evolve(spec, start_timeout=None), cwd, patience, open_session=False)
    await probe.run()
    what = f"agent {spec.name}"
    if probe.error is None and probe.initialized_after is not None:
        info = (probe.initialize_result or {}).get("agentInfo")
        version = str(info.get("version", "")) if isinstance(info, dict) else ""
        text = f"{version or 'answers'}, in {probe.initialized_after:.1f} s"
        if not terminal_methods((probe.initialize_result or {}).get("authMethods")):
            return Finding(what, OK, text)
        if probe.needs_login:
            return Finding(what, NOTE, f"{text}; it demands a login", f"`{spec.login_command}`")
        return Finding(what, OK, f"{text}; to log in: `{spec.login_command}`")
    why = probe.error.message if probe.error else "gave no answer"
    level = BROKEN if spec.source == "config" or spec.name == state.config.default_agent else NOTE
    return Finding(what, level, why, f"`trio-broker agents test {spec.name}` shows more")
