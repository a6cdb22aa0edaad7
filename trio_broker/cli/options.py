"""Options, option types and groups that several commands share.

The decorators add options with the same names and help everywhere. `read_prompt` reads a prompt from the words, a file
or stdin. Importing this module starts nothing and reads no configuration.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from trio_broker.auth.policy import Policy
from trio_broker.cli.completion_values import agent_names, session_keys
from trio_broker.errors import Misuse

F = TypeVar("F", bound=Callable[..., Any])
PROMPT_SOURCES = "give it as words, or with -f FILE, or on stdin"
DURATION_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_HELP = 10_000  # characters of a first sentence: all of it


class CommandGroup(click.Group):
    """A group whose help shows the first sentence of each command in full; click cuts it to the rest of a line."""

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, command.get_short_help_str(MAX_HELP))
                    for name, command in sorted(self.commands.items())
                ]
            )


class NumberType(click.FloatRange):
    """What people count as a number: not `nan`, which Python takes for one, and every range lets in."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        number: float = super().convert(value, param, context)
        if math.isnan(number):
            self.fail(f"{value!r} is not a valid float.", param, context)
        return number


POSITIVE = NumberType(min=0, min_open=True)
NON_NEGATIVE = NumberType(min=0)


def session_options(function: F) -> F:
    """-s, -a, --cwd."""
    for option in (
        click.option("--cwd", metavar="DIR", help="Work there instead of here."),
        click.option(
            "-a",
            "--agent",
            metavar="NAME",
            help="The agent; or write its name as the first word.",
            shell_complete=agent_names,
        ),
        click.option(
            "-s",
            "--session",
            metavar="KEY",
            help="The session's key [default: by agent and work tree].",
            shell_complete=session_keys,
        ),
    ):
        function = option(function)
    return function


def command_option(function: F) -> F:
    return click.option("--command", metavar="COMMAND", help="This command line is the agent.")(function)


def model_option(function: F) -> F:
    return click.option("--model", metavar="NAME", help="The model, of those that the agent offers.")(
        function
    )


def autostart_option(function: F) -> F:
    return click.option("--autostart/--no-autostart", default=True, help="Start a broker if there is none.")(
        function
    )


def format_option(function: F) -> F:
    choice = click.Choice(["text", "json", "quiet"])
    return click.option("--format", "style", type=choice, default="text", show_default=True, help="Output.")(
        function
    )


def policy_options(function: F) -> F:
    """Who answers permission questions; parameter `policy`, a name or None. Two that differ are refused."""
    for policy, text in (
        (Policy.ASK, "Have every permission wait for an answer, here or by `allow`."),
        (Policy.DENY_ALL, "Deny every permission."),
        (Policy.APPROVE_READS, "Approve what only reads, deny the rest."),
        (Policy.APPROVE_ALL, "Approve every permission."),
    ):
        name = policy.value
        callback = partial(_set_policy, name)
        function = click.option(f"--{name}", is_flag=True, expose_value=False, callback=callback, help=text)(
            function
        )
    return function


def _set_policy(name: str, context: click.Context, _: click.Parameter, given: bool) -> None:
    before = context.params.setdefault("policy", None)
    if given and before:
        raise click.UsageError(f"--{before} and --{name} contradict each other; give one of them", context)
    if given:
        context.params["policy"] = name


def file_option(function: F) -> F:
    return click.option("-f", "--file", metavar="FILE", help="Read the prompt from a file; - is stdin.")(
        function
    )


def read_prompt(words: tuple[str, ...], file: str | None) -> str:
    """The prompt: the words, else the file (`-`: stdin), else what is piped in. Raises Misuse when there is none."""
    if words and file is not None:
        raise Misuse("give the prompt as words or with -f, not both")
    if not words and file is None and sys.stdin.isatty():
        raise Misuse(f"what is the prompt? {PROMPT_SOURCES}")
    text = " ".join(words) if words else _read_file(file or "-")
    if not text.strip():
        raise Misuse(f"the prompt is empty; {PROMPT_SOURCES}")
    return text


def _read_file(file: str) -> str:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Misuse(f"the prompt can't be read from {'stdin' if file == '-' else file}: {error}") from error


def parse_duration(text: str) -> float:
    """`90s`, `15m`, `12h`, `30d` as seconds. Raises Misuse."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if found is None:
        raise Misuse(f"{text!r} is no length of time; write it as 90s, 15m, 12h or 30d")
    return float(found[1]) * DURATION_UNITS[found[2]]
