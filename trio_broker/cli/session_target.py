"""The session that a command acts on, its agent, and who answers its permission requests.

`find_scope` turns the options into a session that a command can create. `meant` also asks the broker whether the
session there fits them.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import attrs

from trio_broker.cli.state import State, reach
from trio_broker.errors import Misuse
from trio_broker.policy import Policy


def git_root(directory: Path) -> Path:
    """The top of the work tree that `directory` is in, or itself."""
    for candidate in (directory, *directory.parents):
        if (candidate / ".git").exists():
            return candidate
    return directory


@attrs.frozen
class Scope:
    """A session: its key, where it works, and the agent when one was named (else an existing one's will do).

    `place`: the directory that was named beside the key of a session, which may be there already, somewhere else.
    """

    key: str
    cwd: str
    agent: str | None
    command: tuple[str, ...] = ()
    place: str | None = None

    def opening(self, **more: Any) -> dict[str, Any]:
        """The parameters of `_trio_broker/open`."""
        agent = {} if self.agent is None else {"agent": self.agent}
        command = {"command": list(self.command)} if self.command else {}
        return {"key": self.key, "cwd": self.cwd, **agent, **command, **more}


def find_scope(
    state: State, session: str | None, agent: str | None, cwd: str | None, command: str | None = None
) -> Scope:
    """The session meant by these options: `-s`, else the one of agent and work tree. Raises Misuse, UnknownAgent."""
    from trio_broker import catalog  # late: it reads the configuration's rules, which completion does without

    _check_given(("-s", session), ("-a", agent), ("--cwd", cwd))
    here = _here(cwd)
    if not here.is_dir():
        raise Misuse(f"--cwd: there is no directory {here}")
    argv = _words(command) if command is not None else ()
    named = agent or state.agent
    if named is not None and argv:
        raise Misuse(f"give the agent {named!r} or --command, not both: the command is the agent")
    if named is not None:
        named = catalog.resolve(named, state.config, installed=state.installed).name
    root = str(git_root(here))
    name = named or (os.path.basename(argv[0]) if argv else state.config.default_agent)
    return Scope(session or f"{name}:{root}", root, named, argv, str(here) if session and cwd else None)


def check_place(state: State, scope: Scope) -> None:
    """Raises Misuse if --cwd and -s are of different sessions: one that is there works where it was created."""
    if scope.place is not None and (there := _there(state, scope)) is not None:
        _check_place(scope, there)


def _check_place(scope: Scope, there: dict[str, Any]) -> None:
    if scope.place is not None and os.path.realpath(there["cwd"]) not in (scope.place, scope.cwd):
        raise Misuse(
            f"session {scope.key!r} works in {there['cwd']}, not in {scope.cwd}; "
            "leave out --cwd, or choose another key"
        )


def meant(
    state: State, session: str | None, agent: str | None, cwd: str | None, *, autostart: bool = False
) -> Scope:
    """The session that a command is about, which it does not create, at a broker that is there.

    Raises what `find_scope` and `reach` raise, and Misuse if -a or --cwd, beside -s, is of another session.
    """
    scope = find_scope(state, session, agent, cwd)
    reach(state, autostart=autostart)
    named = scope.agent if session else None
    there = _there(state, scope) if scope.place or named else None
    if there is None:
        return scope
    _check_place(scope, there)
    if named and there["agent"] != named:
        raise Misuse(
            f"session {scope.key!r} belongs to agent {there['agent']!r}, not {named!r}; "
            "leave out the agent, or choose another key"
        )
    return scope


def _there(state: State, scope: Scope) -> dict[str, Any] | None:
    """The session of that key, if it got as far as one; one that did not is replaced."""
    found = state.ask("_trio_broker/sessions")["sessions"]
    fits = [view for view in found if view["key"] == scope.key]
    return next((view for view in fits if view["sessionId"] or view["phase"] != "dead"), None)


def _here(cwd: str | None) -> Path:
    try:
        return Path(cwd or os.getcwd()).expanduser().resolve()
    except FileNotFoundError as error:
        raise Misuse("the directory you are in is there no more; go to another one") from error


WITHOUT = {"-s": "for the session of this work tree", "-a": "for the default one", "--cwd": "to work here"}


def _check_given(*options: tuple[str, str | None]) -> None:
    """An empty word is a variable that was not set: what it was to name is not guessed."""
    for option, word in options:
        if word is not None and not word.strip():
            raise Misuse(f"{option} is empty; leave it out {WITHOUT[option]}")


def _words(command: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise Misuse(f"--command: {command!r} has {str(error).lower()}; quote it as for a shell") from error
    if not words:
        raise Misuse("--command is empty; give the agent's command line")
    return words


def person_is_there() -> bool:
    """Whether somebody sees questions and can type answers."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def choose_policy(state: State, asked: str | None) -> str | None:
    """What was asked for; else on a terminal the person; else the configured policy; else reads are approved.

    A broker elsewhere decides for itself: to choose a policy there takes a token that may answer.
    """
    if asked is not None or state.url is not None:
        return asked
    if person_is_there():
        return Policy.ASK.value
    return None if state.config.policy.default is not Policy.ASK else Policy.APPROVE_READS.value
