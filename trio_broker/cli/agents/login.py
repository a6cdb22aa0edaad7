"""`agents login`: an agent's login in the caller's terminal, with the environment that the broker gives the agent.

A login leaves its result where the agent looks for it: in a file below HOME, in a keyring, under a directory that a
variable names. It counts for the broker's sessions only if both see the same variables. So the login gets what the
running broker gives the agent, and from this shell only what belongs to the terminal. A login is not a process of the
broker: it is a child of the command, in its process group, so that Ctrl-C and Ctrl-Z reach it as in a shell.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import click

from trio_broker.agent.catalog import AgentSpec
from trio_broker.agent.probe import Probe
from trio_broker.agent.spawn import BASE_ENVIRONMENT, build_environment, working_directory
from trio_broker.cli.agents.probe import run_probe
from trio_broker.cli.background import is_listening
from trio_broker.cli.output import print_stderr, safe, safe_lines
from trio_broker.cli.session_target import is_interactive
from trio_broker.cli.state import State, run_until_signal
from trio_broker.errors import BrokerError, Misuse, SpawnFailed
from trio_broker.protocol.auth_methods import TerminalMethod, account_texts, terminal_methods

TERMINAL_VARIABLES = (
    *("TERM", "COLORTERM", "TERM_PROGRAM", "NO_COLOR", "COLUMNS", "LINES", "LANG", "LC_ALL", "LC_CTYPE"),
    *("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "BROWSER"),  # a login can open a browser
)
TERMINAL_PREFIX = "SSH_"  # by these a login knows that a browser here would be on another machine
CALL_TIMEOUT = 15.0  # seconds for the broker to answer from memory
FAILED = 1


@attrs.frozen
class Launch:
    """How an agent is started: `environment` in full, `fixed` the names that its configuration sets."""

    spec: AgentSpec  # without names to inherit: its `env` has their values
    cwd: str
    environment: Mapping[str, str]
    fixed: frozenset[str]
    timeout: float

    def login_environment(self, method: TerminalMethod, ours: Mapping[str, str]) -> dict[str, str]:
        """That of the login: what belongs to the terminal is this shell's, unless the configuration sets it."""
        kept = {
            name: value
            for name, value in self.environment.items()
            if name in self.fixed or not _is_of_terminal(name)
        }
        terminal = {name: value for name, value in ours.items() if _is_of_terminal(name)}
        return {**terminal, **kept, **method.env}


def _is_of_terminal(name: str) -> bool:
    return name in TERMINAL_VARIABLES or name.startswith(TERMINAL_PREFIX)


def login(state: State, spec: AgentSpec, method_id: str | None) -> int:
    """Run a login in this terminal, and say which account results; the exit code is the login's own.

    Raises Misuse where the agent has no such login, or several and nobody to choose; SpawnFailed.
    """
    launch = _launch(state, spec)
    probe = _probe(launch, open_session=False)
    if probe.error is not None:
        raise probe.error
    method = _choose(launch.spec, (probe.initialize_result or {}).get("authMethods"), method_id)
    argv = [*launch.spec.argv, *method.args]
    code = _run_in_terminal(argv, launch.cwd, launch.login_environment(method, os.environ), launch.spec)
    if code:
        print_stderr(
            f"trio-broker: the login {safe(method.id)!r} of agent {safe(spec.name)} ended with exit code {code}; "
            f"run `{safe(spec.login_command)}` again"
        )
        return code
    return _report(state, launch)


def require_here(state: State) -> None:
    """Raises Misuse if the broker is elsewhere: a login of this machine would not be the login of its agents."""
    if state.url is not None:
        raise Misuse(
            "a login runs on the broker's machine, in a terminal there: connect to that machine (ssh), and run "
            "`trio-broker agents login NAME` there, without --url and TRIO_BROKER_URL"
        )


def _launch(state: State, spec: AgentSpec) -> Launch:
    """As the running broker starts the agent, and says so where this shell differs; else as this shell would."""
    if not is_listening(state.paths):
        print_stderr(
            "no broker runs: the login uses the environment of this shell, as a broker started from it would"
        )
        env = build_environment(spec, os.environ)
        timeout = spec.start_timeout or state.config.broker.start_timeout
        return _new_launch(spec, working_directory(spec, os.getcwd()), env, spec.inherit_env, timeout)
    named = {"command": list(spec.argv)} if spec.source == "command" else {"agent": spec.name}
    told = state.call("_trio_broker/launch", {**named, "cwd": os.getcwd()}, patience=CALL_TIMEOUT)
    there = AgentSpec(told["agent"], tuple(told["argv"]), env=_chosen(told["env"], told["set"]))
    there = attrs.evolve(there, source=told["source"])
    names = [*BASE_ENVIRONMENT, *told["inherited"]]
    differing = [
        name
        for name in dict.fromkeys(names)
        if not _is_of_terminal(name)
        and name not in told["set"]
        and os.environ.get(name) != told["env"].get(name)
    ]
    if differing:
        print_stderr(
            f"the login uses the broker's environment, which differs from this shell's: {safe(', '.join(differing))}"
        )
    return _new_launch(there, told["cwd"], told["env"], told["inherited"], told["startTimeout"])


def _new_launch(
    spec: AgentSpec, cwd: str, env: Mapping[str, str], inherited: Sequence[str], timeout: float
) -> Launch:
    fixed = frozenset(spec.env)
    values = {**_chosen(env, inherited), **spec.env}
    spec = attrs.evolve(spec, cwd=cwd, env=values, inherit_env=(), start_timeout=None)
    return Launch(spec, cwd, env, fixed, timeout)


def _chosen(env: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    return {name: env[name] for name in names if name in env}


def _probe(launch: Launch, *, open_session: bool) -> Probe:
    return run_until_signal(
        run_probe, launch.spec, launch.cwd, launch.timeout, open_session, launch.environment
    )


def _choose(spec: AgentSpec, methods: object, method_id: str | None) -> TerminalMethod:
    """The method of that id, the only one, or the one that the person at the terminal chooses. Raises Misuse."""
    found = terminal_methods(methods)
    ids = ", ".join(method.id for method in found)
    if not found:
        raise Misuse(_no_terminal_login(spec, methods))
    if method_id is not None:
        for method in found:
            if method.id == method_id:
                return method
        raise Misuse(f"agent {spec.name!r} has no login {method_id!r} in a terminal; it has: {ids}")
    if len(found) == 1:
        return found[0]
    if not is_interactive():
        raise Misuse(f"agent {spec.name!r} has several logins; choose one with --method: {ids}")
    for number, method in enumerate(found, 1):
        click.echo(f"  {number}  {safe(method.name)} ({safe(method.id)})", err=True)
    return found[click.prompt("Which one", type=click.IntRange(1, len(found)), default=1, err=True) - 1]


def _no_terminal_login(spec: AgentSpec, methods: object) -> str:
    """What there is instead, and what to do with it."""
    keys = f"a key goes into the environment of the broker, and its name into `inherit_env` of [agents.{spec.name}]"
    offered = [method for method in methods if isinstance(method, dict)] if isinstance(methods, list) else []
    if not offered:
        return f"agent {spec.name!r} offers no login; use its own program, or a key: {keys}"
    texts = [_method_text(method) for method in offered]
    return (
        f"agent {spec.name!r} offers no login in a terminal, but {'; '.join(texts)}. An editor starts those of type "
        f"agent (`authenticate`); {keys}"
    )


def _method_text(method: dict[str, Any]) -> str:
    listed = method.get("vars")
    variables = (
        [one.get("name") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    )
    names = [name for name in (*variables, method.get("varName")) if isinstance(name, str)]
    needs = f", by the variable {', '.join(names)}" if names else ""
    return f"{method.get('id')} (type {method.get('type') or 'agent'}{needs})"


def _run_in_terminal(argv: list[str], cwd: str, env: Mapping[str, str], spec: AgentSpec) -> int:
    """Run it to its end on our own stdin, stdout and stderr; its exit code, as a shell has it."""
    child: list[subprocess.Popen[bytes]] = []
    with _signals_for(child), _kept_terminal():
        try:
            child.append(subprocess.Popen(argv, cwd=cwd, env=env))
        except (OSError, ValueError) as error:
            raise SpawnFailed(f"the login of agent {spec.name!r} could not be started: {error}") from error
        code = child[0].wait()
    return 128 - code if code < 0 else code


@contextmanager
def _signals_for(child: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """The terminal's signals reach the child by itself, as it is in our group; those sent to us alone are passed on.

    A handler, and not SIG_IGN: the child would inherit that.
    """

    def pass_on(number: int, _: object) -> None:
        if child and number in (signal.SIGTERM, signal.SIGHUP):
            child[0].send_signal(number)

    numbers = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)
    before = [(number, signal.signal(number, pass_on)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@contextmanager
def _kept_terminal() -> Iterator[None]:
    """A login that dies in mid-screen leaves the terminal as it found it."""
    if not sys.stdin.isatty():
        yield
        return
    settings = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, settings)


def _report(state: State, launch: Launch) -> int:
    """Ask the agent again, as a session would, and say what came of the login; the exit code."""
    name, probe = launch.spec.name, _probe(launch, open_session=True)
    if probe.needs_login:
        text = f"the login ended without an error, but agent {safe(name)} still demands a login"
        print_stderr(f"trio-broker: {text}; run `{safe(launch.spec.login_command)}` again")
        return FAILED
    if probe.error is not None:
        raise probe.error
    accounts = account_texts(probe.auth_status) or account_texts(
        probe.session_result and {"_meta": probe.session_result.get("_meta")},
        probe.initialize_result,
    )
    if accounts:
        click.echo(f"agent {safe(name)} is logged in: {safe_lines('; '.join(accounts))}")
    else:
        click.echo(f"agent {safe(name)} accepts sessions now; it does not say which account it uses")
    _report_sessions(state, name)
    return 0


def _report_sessions(state: State, name: str) -> None:
    """The processes that started before the login can keep what they had."""
    if not is_listening(state.paths):
        return
    try:
        sessions = state.call("_trio_broker/sessions", {"agent": name}, patience=CALL_TIMEOUT)["sessions"]
    except BrokerError:
        return  # the broker has gone meanwhile, and its processes with it
    keys = [safe(view["key"]) for view in sessions if view["pid"]]
    if keys:
        count = f"{len(keys)} session{'' if len(keys) == 1 else 's'}"
        print_stderr(
            f"{count} of it started before the login and can use the earlier one: {', '.join(keys)}; "
            "`trio-broker sessions restart -s KEY` restarts one"
        )
