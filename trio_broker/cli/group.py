"""A group of commands in whose help each is told whole: click cuts what it says of one to what is left of a line."""

from __future__ import annotations

import click

WHOLE = 10_000  # characters of a first sentence: all of it


class Group(click.Group):
    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, command.get_short_help_str(WHOLE)) for name, command in sorted(self.commands.items())]
            )
