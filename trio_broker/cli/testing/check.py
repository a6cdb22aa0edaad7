"""`check`: does an agent, or a broker, keep the rules of ACP?"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from trio_broker.agent import catalog
from trio_broker.cli.options import POSITIVE
from trio_broker.cli.output import print_json, safe
from trio_broker.cli.state import State, pass_state, run_until_signal
from trio_broker.errors import Misuse

if TYPE_CHECKING:
    from trio_broker.testing.check import Check, Program, Report, Result, Target

VERDICT_LABELS = {
    "pass": "ok  ",
    "fail": "FAIL",
    "not supported": " -  ",
    "not tried": " ?  ",
    "skipped": "skip",
}
MAX_FRAMES = 12  # frames of a failure
MAX_STDERR = 3  # lines of stderr of a failure
MAX_LINE = 160  # characters of one


@click.command("check")
@click.option("-a", "--agent", metavar="NAME", help="An agent by its name, as `agents list` shows them.")
@click.option("--socket", metavar="PATH", help="A broker, by its socket; with -a that agent behind it.")
@click.option("--url", metavar="URL", help="A broker, ws:// or wss://.")
@click.option("--token", envvar="TRIO_BROKER_TOKEN", help="The token for it [TRIO_BROKER_TOKEN].")
@click.option(
    "--only", metavar="PATTERN", multiple=True, help="Only such checks: cancel, session.load, 'ids.*'."
)
@click.option("--list", "listing", is_flag=True, help="List the checks, and check nothing.")
@click.option("--format", "style", type=click.Choice(["text", "json", "junit"]), default="text")
@click.option("--prompt", metavar="TEXT", help="A prompt with a short answer.")
@click.option("--prompt-ask", metavar="TEXT", help="A prompt that makes the agent ask for permission.")
@click.option("--prompt-elicit", metavar="TEXT", help="A prompt that makes the agent ask by a form.")
@click.option("--prompt-terminal", metavar="TEXT", help="A prompt that makes the agent use a terminal.")
@click.option("--prompt-long", metavar="TEXT", help="A prompt whose turn lasts until it is cancelled.")
@click.option("--login", metavar="METHOD", help="The authentication method to use first.")
@click.option(
    "--cwd", metavar="DIR", help="Of the sessions; an empty directory, which is deleted again, unless given."
)
@click.option("--timeout", type=POSITIVE, default=30.0, help="Seconds for any one answer; 30 unless given.")
@click.option(
    "--exit-within", type=POSITIVE, default=10.0, help="Seconds from end of stdin to exit; 10 unless given."
)
@click.option(
    "--quiet",
    type=POSITIVE,
    default=0.3,
    help="Seconds to listen for what must not come; 0.3 unless given.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    help="Checks at once, each with a process; 1 unless given.",
)
@click.option("--strict", is_flag=True, help="Exit code 1 also if a check was not tried.")
@click.option("-v", "--verbose", is_flag=True, help="Show all frames of a failure, and each rule.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@pass_state
def check_command(
    state: State,
    /,
    agent: str | None,
    socket: str | None,
    url: str | None,
    token: str | None,
    only: tuple[str, ...],
    listing: bool,
    style: str,
    cwd: str | None,
    jobs: int,
    strict: bool,
    verbose: bool,
    command: tuple[str, ...],
    **options: Any,
) -> int:
    """Check whether an agent, or a broker, keeps the rules of ACP; exit code 1 if it breaks one.

    Each check has a process, or a connection, of its own. `not supported` is what the agent does not offer. Some checks
    want a turn that lasts or asks: without one they are `not tried`, and --prompt-long and --prompt-ask give one.

    \b
      trio-broker check -- my-agent --acp
      trio-broker check --format junit -- my-agent --acp > acp.xml
      trio-broker check -a claude --only cancel
      trio-broker check --url ws://127.0.0.1:8765/claude
    """
    from trio_broker.testing.check import select_checks

    checks = select_checks(only)
    if not checks:
        raise Misuse(f"no check is called {' or '.join(only)}; `trio-broker check --list` shows them")
    if listing:
        _list(checks)
        return 0
    target = _target(
        state,
        agent,
        socket,
        url or _url_option(state, command or agent or socket),
        token or state.token,
        command,
    )
    with ExitStack() as stack:
        if cwd is not None and not os.path.isdir(cwd):
            raise Misuse(f"--cwd {cwd}: there is no such directory; make it, or leave --cwd out")
        if cwd is None:
            cwd = os.path.realpath(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="trio-broker-check-"))
            )
        report = _run_checks(target, checks, os.path.abspath(cwd), style, jobs, verbose, options)
    not_tried = report.counts()["not tried"] if strict and report.passed else 0
    _print_report(report, style, not_tried)
    return 0 if report.passed and not not_tried else 1


def _url_option(state: State, other: object) -> str | None:
    """The --url before `check`. One from the environment is for commands at large, and gives way to what is named."""
    source = click.get_current_context().find_root().get_parameter_source("url")
    return None if other and source is not ParameterSource.COMMANDLINE else state.url


def _target(
    state: State,
    agent: str | None,
    socket: str | None,
    url: str | None,
    token: str | None,
    command: Sequence[str],
) -> Target:
    from trio_broker.testing.check import Endpoint, Program

    given = [name for name, value in (("-- COMMAND", command), ("--socket", socket), ("--url", url)) if value]
    if len(given) > 1 or (agent and given and given != ["--socket"]):
        raise Misuse(f"{' and '.join([*given, *(['-a'] if agent else [])])}: check one thing at a time")
    if command:
        return Program(list(command))
    if url:
        return Endpoint(url, token)
    if socket:
        return Endpoint(os.path.abspath(socket), bind={"agent": agent} if agent else {})
    if agent:
        return _agent_program(state, agent)
    raise Misuse("say what to check: `-- COMMAND …`, -a NAME, --socket PATH or --url URL")


def _agent_program(state: State, name: str) -> Program:
    from trio_broker.agent.spawn import build_environment
    from trio_broker.testing.check import Program

    spec = catalog.resolve(name, state.config)
    return Program(spec.argv, build_environment(spec, os.environ), spec.cwd)


def _run_checks(
    target: Target,
    checks: Sequence[Check],
    cwd: str,
    style: str,
    jobs: int,
    verbose: bool,
    options: dict[str, Any],
) -> Report:
    from trio_broker.testing import check

    given = {name.removeprefix("prompt_"): value for name, value in options.items() if value is not None}
    settings = check.Settings(cwd, **given)
    on_result = partial(_print_result, verbose) if style == "text" else lambda _: None
    return run_until_signal(partial(check.run, jobs=jobs, on_result=on_result), target, settings, checks)


def _list(checks: Sequence[Check]) -> None:
    for check in checks:
        click.echo(f"{check.id:<27}{check.title}\n{'':27}{check.rule}")


def _print_result(verbose: bool, result: Result) -> None:
    with_reason = result.verdict.value not in ("pass", "fail") or verbose
    reason = f": {safe(result.why)}" if result.why and with_reason else ""
    label = VERDICT_LABELS[result.verdict.value]
    click.echo(f"{label} {result.check.id:<27}{result.check.title}{reason}")
    if result.verdict.value == "fail":
        click.echo(f"     {safe(result.why)}\n     rule: {result.check.rule}")
        frames = result.frames if verbose else result.frames[-MAX_FRAMES:]
        for frame in frames:
            text = safe(frame.text())
            click.echo(f"     {frame.at:7.3f} {frame.direction} {text if verbose else _truncate(text)}")
        lines = [line for line in result.stderr if line not in result.why]
        for line in lines if verbose else lines[-MAX_STDERR:]:
            click.echo(f"     stderr: {safe(line) if verbose else _truncate(safe(line))}")


def _truncate(text: str) -> str:
    return text if len(text) <= MAX_LINE else f"{text[: MAX_LINE - 1]}…"


def _print_report(report: Report, style: str, not_tried: int) -> None:
    """The report on stdout; how it went in a line on stderr, where stdout does not say it to people."""
    from trio_broker.testing.check.report import NOT_STARTED, as_junit, check_count

    if style == "json":
        print_json(report.as_json())
    elif style == "junit":
        click.echo(as_junit(report))
    counted = report.counts()
    verbs = {"pass": "passed", "fail": "failed"}
    summary = ", ".join(
        f"{counted[name]} {verbs.get(name, name)}" for name in VERDICT_LABELS if counted[name]
    )
    if report.untried and style == "text":
        verb = "was" if len(report.untried) == 1 else "were"
        click.echo(f"{check_count(report.untried)} {verb} not tried: {NOT_STARTED}")
    cause = f": {safe(report.results[0].why)}" if report.untried and style != "text" else ""
    click.echo(f"{summary}{cause}", err=style != "text")
    for option, ids in report.needed_options().items():
        verb = "wants" if len(ids) == 1 else "want"
        click.echo(f"{len(ids)} {verb} {option}: {', '.join(ids)}", err=style != "text")
    if not_tried:
        click.echo(f"trio-broker: {not_tried} not tried, which --strict does not forgive", err=True)
    elif not report.passed and style == "text":
        click.echo(f"trio-broker: {counted['fail']} of {sum(counted.values())} checks failed", err=True)
