"""`agents list | show | test | login | install | remove`."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from typing import Any

import attrs
import click

from trio_broker.agent import catalog
from trio_broker.agent.catalog import AgentSpec
from trio_broker.cli.completion_values import agent_names
from trio_broker.cli.options import POSITIVE, CommandGroup
from trio_broker.cli.output import print_json, safe, table
from trio_broker.cli.state import State, pass_state, run, run_until_signal
from trio_broker.config.config import ServedBy
from trio_broker.errors import BrokerError, Misuse

_format_option = click.option(
    "--format",
    "style",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Output.",
)
_SERVED = {  # its commands and files: by whom
    ServedBy.NOBODY.value: "by the agent itself",
    ServedBy.BROKER.value: "by the broker",
    ServedBy.CLIENT.value: "by the client that opened the session, if it can",
}
_name_argument = click.argument("name", shell_complete=agent_names)


@click.group("agents", cls=CommandGroup)
def agents_command() -> None:
    """The agents that can be named: configured, installed and built-in ones."""


@agents_command.command("list")
@_format_option
@pass_state
def list_agents(state: State, style: str) -> None:
    """List them with the command line behind each; * marks the default, and ? a program that is not in PATH.

    \b
      trio-broker agents list
    """
    config = state.config
    names = catalog.names(config, state.installed)
    specs = {name: catalog.resolve(name, config, installed=state.installed) for name in names}
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


@agents_command.command("show")
@_name_argument
@_format_option
@pass_state
def show(state: State, name: str, style: str) -> None:
    """Show how one agent is started, where that comes from, and what can be installed; values of keys are not shown.

    \b
      trio-broker agents show claude
    """
    found = _agent_details(state, catalog.resolve(name, state.config, installed=state.installed))
    if style == "json":
        print_json(found)
        return
    for label, value in _detail_lines(found):
        click.echo(f"{label + ':':<13}{safe(value)}")


def _agent_details(state: State, spec: AgentSpec) -> dict[str, Any]:
    record, pinned = state.installed.find(spec.name), catalog.PACKAGES.get(spec.name)
    origin = {
        "config": str(state.paths.config),
        "installed": record.folder if record else None,
    }
    return {
        "name": spec.name,
        "aliases": list(catalog.BUILTIN[spec.name].aliases) if spec.name in catalog.BUILTIN else [],
        "default": spec.name == state.config.default_agent,
        "command": list(spec.argv),
        "source": spec.source,
        "from": origin.get(spec.source),
        "program": shutil.which(spec.argv[0]),
        "cwd": spec.cwd,
        "terminal": spec.terminal.value,
        "fs": spec.fs.value,
        "startTimeout": spec.start_timeout or state.config.broker.start_timeout,
        "mayAnswer": spec.may_answer,
        "env": sorted(spec.env),
        "inheritEnv": {one: one in os.environ for one in spec.inherit_env},
        "installed": attrs.asdict(record) if record else None,
        "package": None if pinned is None else {**attrs.asdict(pinned), "spec": pinned.spec},
    }


def _detail_lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    name, record, pinned = found["name"], found["installed"], found["package"]
    origin = f" ({found['from']})" if found["from"] else ""
    inherited = [one if there else f"{one} (not set here)" for one, there in found["inheritEnv"].items()]
    lines = [
        ("agent", name + (", the default" if found["default"] else "")),
        ("command", shlex.join(found["command"])),
        ("from", f"{found['source']}{origin}"),
        ("program", found["program"] or f"{found['command'][0]} is not in PATH"),
        ("also called", ", ".join(found["aliases"]) or "-"),
        ("env", ", ".join([*found["env"], *inherited]) or "-"),
        ("cwd", found["cwd"] or "the session's"),
        ("timeout", f"{found['startTimeout']:g} s to start"),
        ("commands", f"run {_SERVED[found['terminal']]}"),
        ("files", f"read and written {_SERVED[found['fs']]}"),
    ]
    if found["mayAnswer"]:
        lines.append(("may answer", "what it runs has your rights: it can answer its own questions"))
    if record:
        when = time.strftime("%Y-%m-%d", time.localtime(record["installed_at"]))
        lines.append(
            ("installed", f"{record['registry']} {record['package']} {record['version']}, on {when}")
        )
        if found["source"] == "config":
            lines.append(("", "the configuration comes first"))
    elif pinned:
        lines.append(
            (
                "installable",
                f"{pinned['registry']} {pinned['spec']}: `trio-broker agents install {name}`",
            )
        )
    return lines


@agents_command.command("test", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, metavar="NAME | -- COMMAND…", shell_complete=agent_names)
@click.option("--cwd", metavar="DIR", default=".", help="Open the session there instead of here.")
@click.option("--timeout", type=POSITIVE, metavar="S", help="Give up after that.")
@_format_option
@pass_state
def test(state: State, words: tuple[str, ...], cwd: str, timeout: float | None, style: str) -> int:
    """Start an agent, ask what it offers, open a session if that needs no login, and end it again.

    No broker is needed. Keys that the agent inherits are those of this shell.

    \b
      trio-broker agents test claude
      trio-broker agents test -- python3 -m my_agent --acp
    """
    from trio_broker.cli.agents.probe import probe_report, report_lines, run_probe

    spec = _resolve_spec(state, words, "test")
    if not os.path.isdir(cwd):
        raise Misuse(f"--cwd: there is no directory {cwd}")
    start_timeout = timeout or spec.start_timeout or state.config.broker.start_timeout
    probe = run_until_signal(
        run_probe, attrs.evolve(spec, start_timeout=None), os.path.abspath(cwd), start_timeout
    )
    found = probe_report(probe)
    if style == "json":
        print_json(found)
    else:
        for label, value in report_lines(found):
            click.echo(f"{label + ':':<13} {value}")
    if probe.error is not None:
        from trio_broker.cli.error_output import print_error

        return print_error(probe.error)
    return 0


@agents_command.command("login", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, metavar="NAME | -- COMMAND…", shell_complete=agent_names)
@click.option("--method", metavar="ID", help="This login, if the agent has several in a terminal.")
@pass_state
def login_command(state: State, words: tuple[str, ...], method: str | None) -> int:
    """Log an agent in: run its own login in this terminal, then say which account it uses.

    The login gets the environment that the running broker gives the agent, so that its result is the one that sessions
    find; what belongs to the terminal (TERM, LANG, DISPLAY, BROWSER, SSH_…) is this shell's. Where no broker runs, all
    of it is this shell's. The exit code is that of the login; it is 1 if the agent demands a login afterwards.

    \b
      trio-broker agents login claude
      trio-broker agents login claude --method console-login
    """
    from trio_broker.cli.agents.login import login, require_here

    require_here(state)
    return login(state, _resolve_spec(state, words, "login"), method)


def _resolve_spec(state: State, words: tuple[str, ...], command: str) -> AgentSpec:
    if not words:
        usage = f"`trio-broker agents {command}"
        raise Misuse(f"say which: {usage} NAME`, or {usage} -- COMMAND …`")
    if len(words) == 1:
        try:
            return catalog.resolve(words[0], state.config, installed=state.installed)
        except BrokerError:
            if shutil.which(words[0]) is None:
                raise
    return catalog.from_command(words)


@agents_command.command("install")
@_name_argument
@click.option(
    "--package",
    metavar="PACKAGE",
    help="Not the known one: npm:NAME@VERSION, pypi:NAME==VERSION, or npm:FILE.",
)
@click.option("--program", metavar="PROGRAM", help="The program of that package, if it has several.")
@click.option("--args", metavar="ARGS", default="", help="Words that the program is started with.")
@_format_option
@pass_state
def install_agent(
    state: State, name: str, package: str | None, program: str | None, args: str, style: str
) -> None:
    """Install an agent, in one known version, into a directory of the broker's own; it is preferred from then on.

    npm or pip fetches it, as they are set up here. A running broker uses it for the next session.

    \b
      trio-broker agents install claude
      trio-broker agents install mine --package npm:@me/agent@1.2.3 --args "--acp"
    """
    from trio_broker.cli.agents.install import install

    record = run(install, *_package_to_install(name, package, program, args), state.installed)
    if style == "json":
        print_json({"action": "agent_installed", **attrs.asdict(record)})
        return
    click.echo(f"{record.registry} {record.package} {record.version} is agent {name} now", err=True)
    click.echo(f"see what it offers: `trio-broker agents test {name}`", err=True)
    if name in state.config.agents:
        click.echo(
            f"but [agents.{name}] in {state.paths.config} comes first: take it out to use this one", err=True
        )


def _package_to_install(name: str, package: str | None, program: str | None, args: str) -> tuple[str, Any]:
    from trio_broker.agent.installed import Package

    if package is not None:
        try:
            words = tuple(shlex.split(args))
        except ValueError as error:
            raise Misuse(f"--args: {args!r} has {str(error).lower()}; quote it as for a shell") from error
        return name, attrs.evolve(Package.parse(package), program=program, args=words)
    name = catalog.ALIASES.get(name, name)
    if name not in catalog.PACKAGES:
        known = ", ".join(sorted(catalog.PACKAGES))
        raise Misuse(
            f"no package is known for {name!r}, only for {known}; name one with --package npm:NAME@VERSION"
        )
    return name, catalog.PACKAGES[name]


@agents_command.command("remove")
@_name_argument
@click.option("--force", is_flag=True, help="Also when sessions run it.")
@_format_option
@pass_state
def remove_agent(state: State, name: str, force: bool, style: str) -> None:
    """Remove an agent that `agents install` has installed.

    \b
      trio-broker agents remove claude
    """
    name = catalog.ALIASES.get(name, name)
    running = [] if force else _running_sessions(state, name)
    if running:
        keys = ", ".join(running)
        raise Misuse(f"{len(running)} sessions run it ({keys}): close them first, or give --force")
    if not state.installed.remove(name):
        known = ", ".join(state.installed.names()) or "nothing"
        raise Misuse(f"{name!r} is not installed; installed: {known}")
    if style == "json":
        print_json({"action": "agent_removed", "name": name})
    else:
        click.echo(f"agent {name} is removed", err=True)


def _running_sessions(state: State, name: str) -> list[str]:
    """The keys of sessions whose process is of the installed agent; none where no broker runs."""
    record = state.installed.find(name)
    if state.url is not None or record is None:
        return []
    try:
        sessions = state.call("_trio_broker/sessions")["sessions"]
    except BrokerError:
        return []
    return [safe(view["key"]) for view in sessions if view["agent"] == name and view["pid"]]
