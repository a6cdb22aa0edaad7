"""A request of an agent printed for a person: its first screen, or all of it, in a pager where it is long."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any, TextIO

import click

from trio_broker.cli.output import format_duration, print_stderr, safe
from trio_broker.cli.permissions.question import Choice, choices_of, head, whole_text
from trio_broker.client.request_text import request_lines

Ask = dict[str, Any]
NO_WRAP = 1_000_000_000  # columns, where no terminal breaks lines


def terminal_size(stream: TextIO) -> tuple[int, int]:
    """Columns and lines of the terminal behind a stream; 80 and 24 if it has none, or does not say."""
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        size = shutil.get_terminal_size()
    return size.columns or 80, size.lines or 24


def has_colours(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR")


def choices_of_ask(ask: Ask) -> list[Choice]:
    options = (option if isinstance(option, dict) else {} for option in ask.get("options") or ())
    return choices_of([(_text(one, "optionId"), _text(one, "name"), _text(one, "kind")) for one in options])


def _text(option: dict[str, Any], name: str) -> str:
    return str(option.get(name) or "")


def about(ask: Ask) -> str:
    """Which question it is: its id, session, agent, age and directory."""
    who = f"{safe(ask['askId'])} {safe(ask['key'])} ({safe(ask['agent'])})"
    return f"{who}, {format_duration(ask['since'])} ago, in {safe(ask['cwd'])}"


def show_request(ask: Ask) -> None:
    """Print the request on stderr, as much of it as a screen has."""
    columns, lines = terminal_size(sys.stderr)
    more = f"`trio-broker pending {safe(ask['askId'])}`"
    rows = head(request_lines(ask), columns, lines - 4, more, colour=has_colours(sys.stderr))
    print_stderr("\n".join((about(ask), *rows)))


def whole_request(ask: Ask) -> str:
    """All of a question, as wide as the terminal behind stdout."""
    width = terminal_size(sys.stdout)[0] if sys.stdout.isatty() else NO_WRAP
    lines = request_lines(ask, whole=True)
    return f"{about(ask)}\n{whole_text(lines, choices_of_ask(ask), width, colour=has_colours(sys.stdout))}"


def page(text: str) -> None:
    """Print a text on stdout, through the pager if the terminal is shorter."""
    if sys.stdout.isatty() and text.count("\n") >= terminal_size(sys.stdout)[1]:
        from trio_broker.cli.permissions import pager

        if pager.show(text):
            return
    click.echo(text, nl=False)
