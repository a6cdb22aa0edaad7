"""How a command tells an error: what happened, what to do next, and the exit code."""

from __future__ import annotations

import json
import re

import click

from trio_broker.cli.output import safe, safe_lines
from trio_broker.errors import AUTH_REQUIRED, BrokerError, RemoteError

EXIT_CODES = {
    "misuse": 2,
    "config": 2,
    "unknown_agent": 2,
    "no_default_agent": 2,
    "timeout": 3,
    "no_session": 4,
    "denied": 5,
    "forbidden": 5,
    "no_broker": 6,
    "broker_gone": 6,
}
NEXT_STEPS = {  # for those whose message does not say it
    "busy": "`--if-busy queue` waits for its turn; `--if-busy interrupt` cancels what runs.",
    "agent_gone": "The next prompt starts it anew; `trio-broker sessions show` tells more.",
    "no_session": "If it was closed, `trio-broker sessions history -s KEY` shows what was said and done in it.",
    "session_over": "`trio-broker status` shows what there is; the next prompt starts the session anew.",
    "spawn_failed": "`trio-broker agents list` shows the command line behind each name.",
}


def print_error(error: BrokerError) -> int:
    """Tell an error on stderr; its exit code. Nothing that an agent says reaches the terminal raw."""
    click.echo(f"trio-broker: {safe_lines(error_text(error))}", err=True)
    if step := _next_step(error):
        click.echo(step, err=True)
    return EXIT_CODES.get(error.code, 1)


NUMBER_HINTS = {
    "float": "is no number; write one such as 30 or 2.5",
    "integer": "is no whole number; write one such as 3",
}

ALTERNATIVES = {  # of a command that shows all, when it was given one
    "trio-broker agents list": "`trio-broker agents show NAME` tells of one.",
    "trio-broker sessions list": "`trio-broker sessions show -s KEY` tells of one.",
    "trio-broker status": "`trio-broker sessions show -s KEY` tells of one.",
}


def print_usage_error(error: click.ClickException) -> int:
    """Tell what click has found wrong with a command line, in words of people; its exit code."""
    if isinstance(error, click.UsageError) and (plain := _plain_message(error)) is not None:
        error = click.UsageError(plain, error.ctx)
    error.show()
    return error.exit_code


def _plain_message(error: click.UsageError) -> str | None:
    """None where click's own words will do."""
    text = error.format_message()
    if found := re.fullmatch(r"(.*) is not a valid (float|integer)(?: range)?\.", text, re.DOTALL):
        return f"{found[1]} {NUMBER_HINTS[found[2]]}"
    if found := re.fullmatch(r"(.*) is not in the range x>(=?)(\d+)\.", text, re.DOTALL):
        return f"{found[1]} is too little; write {f'{found[3]} or more' if found[2] else f'more than {found[3]}'}"
    if error.ctx is None:
        return None
    if isinstance(error, click.NoSuchOption):
        return _misplaced_option(error, error.ctx)
    if text.startswith("Got unexpected extra argument"):
        options = [one.name for one in error.ctx.command.params]
        instead = ALTERNATIVES.get(error.ctx.command_path)
        named = "A session is named with -s KEY." if "session" in options else None
        return f"{text}. {instead or named}" if instead or named else None
    return None


def _misplaced_option(error: click.NoSuchOption, context: click.Context) -> str | None:
    """Where an option belongs that stands on the wrong side of the command; None for one that is not known at all."""
    root, name = context.find_root(), error.option_name
    if context is root:
        return f"{error.format_message()} Options of a command stand after it: `trio-broker COMMAND {name} …`"
    if any(name in option.opts for option in root.command.params):
        return f"{name} stands before the command: `trio-broker {name} … {context.info_name}`"
    return None


def error_text(error: BrokerError) -> str:
    """What happened, in words that may hold an agent's own."""
    if not isinstance(error, RemoteError):
        return error.message
    data = error.data()
    if isinstance(data, dict) and data.keys() == {"authMethods"}:
        data = None  # for programs: the next step says it
    more = (
        "" if data is None else f": {data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)}"
    )
    return f"the agent answered with error {error.rpc_code}: {error.message}{safe(more)}"


def _next_step(error: BrokerError) -> str | None:
    if isinstance(error, RemoteError) and error.rpc_code == AUTH_REQUIRED:
        if "`trio-broker agents login " in error.message:
            return None  # the broker has added how
        return (
            "Log in with the agent's own program, or name the keys it needs in `inherit_env`; then try again."
        )
    if error.code == "no_session" and "live or closed" in error.message:
        return None  # the closed ones were looked through
    return NEXT_STEPS.get(error.code)
