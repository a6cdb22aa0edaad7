"""The session that a command acts on, its agent, and who answers its permission requests.

`find_target` turns the options into a session that a command can create. `resolve_session` also asks the broker whether
the existing session fits them.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import attrs
import click

from trio_broker.auth.policy import Policy
from trio_broker.cli.output import safe
from trio_broker.cli.state import State, ensure_broker
from trio_broker.errors import Misuse, NoSession


def git_root(directory: Path) -> Path:
    """The top of the work tree that `directory` is in, or itself."""
    for candidate in (directory, *directory.parents):
        if (candidate / ".git").exists():
            return candidate
    return directory


def work_tree(cwd: str | None) -> str:
    """The top of the work tree of --cwd, or of the current directory. Raises Misuse."""
    _reject_empty(("--cwd", cwd))
    return str(git_root(_working_directory(cwd)))


@attrs.frozen
class SessionTarget:
    """A session: its key, its working directory, and the agent if one was named (else the existing agent is used).

    `directory`: given by --cwd beside -s. The session can exist already, in another directory.
    """

    key: str
    cwd: str
    agent: str | None
    command: tuple[str, ...] = ()
    directory: str | None = None

    def open_params(self, **more: Any) -> dict[str, Any]:
        """The parameters of `_trio_broker/open`."""
        agent = {} if self.agent is None else {"agent": self.agent}
        command = {"command": list(self.command)} if self.command else {}
        return {"key": self.key, "cwd": self.cwd, **agent, **command, **more}


def find_target(
    state: State, session: str | None, agent: str | None, cwd: str | None, command: str | None = None
) -> SessionTarget:
    """The session meant by these options: `-s`, else the one of agent and work tree. Raises Misuse, UnknownAgent."""
    from trio_broker.agent import (
        catalog,  # late: it reads the configuration's rules, which completion does without
    )

    _reject_empty(("-s", session), ("-a", agent), ("--cwd", cwd))
    working = _working_directory(cwd)
    argv = _split_command(command) if command is not None else ()
    named = agent or state.agent
    if named is not None and argv:
        raise Misuse(f"give the agent {named!r} or --command, not both: the command is the agent")
    if named is not None:
        named = catalog.resolve(named, state.config, installed=state.installed).name
    root = str(git_root(working))
    if session is not None:
        return SessionTarget(session, root, named, argv, str(working) if cwd else None)
    name = named or (os.path.basename(argv[0]) if argv else _default_agent(state))
    if name is None:
        name = named = _choose_agent(state)
    return SessionTarget(f"{name}:{root}", root, named, argv)


def choose_missing_agent(state: State, target: SessionTarget, *, replace: bool = False) -> SessionTarget:
    """The target with an agent where the broker could not choose one: no default, and no session under this key yet.

    `replace`: the existing session will be closed, so its agent does not count. Raises NoDefaultAgent.
    """
    if target.agent is not None or target.command or _default_agent(state) is not None:
        return target
    if not replace and _existing_session(state, target) is not None:
        return target
    return attrs.evolve(target, agent=_choose_agent(state))


def _default_agent(state: State) -> str | None:
    """The agent of commands that name none, as the configuration has it: that of the broker, if it is elsewhere."""
    if state.config.default_agent is not None or state.url is None:
        return state.config.default_agent
    agents = state.call("_trio_broker/agents")["agents"]
    return next((agent["name"] for agent in agents if agent["default"]), None)


def _choose_agent(state: State) -> str:
    """The installed agent that the person at the terminal chooses. Raises NoDefaultAgent where nobody can be asked."""
    from trio_broker.agent import catalog  # late, as above

    if state.url is None:
        names = catalog.installed_names(state.config, installed=state.installed)
    else:
        agents = state.call("_trio_broker/agents")["agents"]
        names = [agent["name"] for agent in agents if agent["source"] != "built-in"]
    if not names or not is_interactive():
        raise catalog.no_default_agent(names)
    click.echo("No agent was named, and there is no default. These are installed:", err=True)
    for number, name in enumerate(names, 1):
        click.echo(f"  {number}  {safe(name)}", err=True)
    chosen = names[click.prompt("Which one", type=click.IntRange(1, len(names)), default=1, err=True) - 1]
    if state.url is None:
        click.echo(
            f'default_agent = "{safe(chosen)}" in {state.paths.config} makes it the default.', err=True
        )
    return chosen


def check_directory(state: State, target: SessionTarget) -> None:
    """Raises Misuse if --cwd and -s are of different sessions: one that is there works where it was created."""
    if target.directory is not None and (existing := _existing_session(state, target)) is not None:
        _check_directory(target, existing)


def _check_directory(target: SessionTarget, existing: dict[str, Any]) -> None:
    if target.directory is not None and os.path.realpath(existing["cwd"]) not in (
        target.directory,
        target.cwd,
    ):
        raise Misuse(
            f"session {target.key!r} works in {existing['cwd']}, not in {target.cwd}; "
            "leave out --cwd, or choose another key"
        )


def resolve_session(
    state: State, session: str | None, agent: str | None, cwd: str | None, *, autostart: bool = False
) -> SessionTarget:
    """The session that a command is about, which it does not create, at a broker that is there.

    Without -s, -a and a default agent it is the only session of the work tree. Raises what `find_target` and
    `ensure_broker` raise, Misuse if -a or --cwd, beside -s, is of another session, or if the work tree has several, and
    NoSession if it has none.
    """
    if session is None and (agent or state.agent) is None and _default_agent(state) is None:
        ensure_broker(state, autostart=autostart)
        return _only_session_in(state, work_tree(cwd))
    target = find_target(state, session, agent, cwd)
    ensure_broker(state, autostart=autostart)
    named = target.agent if session else None
    existing = _existing_session(state, target) if target.directory or named else None
    if existing is None:
        return target
    _check_directory(target, existing)
    if named and existing["agent"] != named:
        raise Misuse(
            f"session {target.key!r} belongs to agent {existing['agent']!r}, not {named!r}; "
            "leave out the agent, or choose another key"
        )
    return target


def _only_session_in(state: State, directory: str) -> SessionTarget:
    found = state.call("_trio_broker/sessions", {"cwd": directory})["sessions"]
    if not found:
        raise NoSession(
            f"no session works in {directory}; `trio-broker sessions list` shows all", cwd=directory
        )
    if len(found) > 1:
        keys = ", ".join(view["key"] for view in found)
        raise Misuse(f"{len(found)} sessions work in {directory}: {keys}; choose one with -s")
    return SessionTarget(found[0]["key"], directory, None)


def _existing_session(state: State, target: SessionTarget) -> dict[str, Any] | None:
    """The session of that key, if it got as far as one; one that did not is replaced."""
    found = state.call("_trio_broker/sessions")["sessions"]
    fits = [view for view in found if view["key"] == target.key]
    return next((view for view in fits if view["sessionId"] or view["phase"] != "dead"), None)


def _working_directory(cwd: str | None) -> Path:
    try:
        working = Path(cwd or os.getcwd()).expanduser().resolve()
    except FileNotFoundError as error:
        raise Misuse("the directory you are in is there no more; go to another one") from error
    if not working.is_dir():
        raise Misuse(f"--cwd: there is no directory {working}")
    return working


EMPTY_HINTS = {
    "-s": "for the session of this work tree",
    "-a": "for the default one",
    "--cwd": "to work here",
}


def _reject_empty(*options: tuple[str, str | None]) -> None:
    """An empty word is a variable that was not set: what it was to name is not guessed."""
    for option, word in options:
        if word is not None and not word.strip():
            raise Misuse(f"{option} is empty; leave it out {EMPTY_HINTS[option]}")


def _split_command(command: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise Misuse(f"--command: {command!r} has {str(error).lower()}; quote it as for a shell") from error
    if not words:
        raise Misuse("--command is empty; give the agent's command line")
    return words


def is_interactive() -> bool:
    """Whether somebody sees questions and can type answers."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def choose_policy(state: State, requested: str | None) -> str | None:
    """What was asked for; else on a terminal the person; else the configured policy; else reads are approved.

    A broker elsewhere decides for itself: to choose a policy there takes a token that may answer. So does the broker
    inside one of whose agents this runs, for an agent may not choose one either.
    """
    if requested is not None or state.url is not None or _is_inside_agent(state):
        return requested
    if is_interactive():
        return Policy.ASK.value
    return None if state.config.policy.default is not Policy.ASK else Policy.APPROVE_READS.value


def _is_inside_agent(state: State) -> bool:
    """Whether an agent of the broker that is meant has started this, as far as the tags of this process and those above
    it tell. The broker decides by more.
    """
    from trio_broker.agent import process_tags  # late: few commands choose a policy

    runtime = process_tags.runtime_tag(str(state.paths.runtime))
    chain = process_tags.ancestors(os.getpid()) or []
    return any(
        process_tags.runtime_of(process_tags.tags_of(process.pid).instance) == runtime for process in chain
    )
