"""The command `trio-broker`: the group, the agent's name as its first word, and how errors become exit codes."""

from __future__ import annotations

import importlib
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trio_broker import __version__
from trio_broker.cli.error_output import print_error, print_usage_error
from trio_broker.cli.state import State
from trio_broker.errors import BrokerError, ConfigError, Misuse

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# Each command lives in a module that is imported when it is called: `--version` and `--help` stay fast.
COMMANDS = {
    "serve": ("daemon.serve", "Be the broker, in the foreground."),
    "up": ("daemon.serve", "Start the broker in the background."),
    "down": ("daemon.serve", "Stop the broker and every agent of its."),
    "status": ("daily.status", "Show what every session is doing."),
    "top": ("daily.status", "Watch every session full screen, answer and act: the dashboard."),
    "prompt": ("daily.prompt", "Send a prompt to the session of this directory (the default command)."),
    "exec": ("daily.prompt", "Send one prompt to a session of its own, which ends with it."),
    "compare": ("daily.compare", "Send the same prompt to several agents at once."),
    "cancel": ("daily.prompt", "Cancel the running turn of a session."),
    "queue": ("sessions.queue", "See and change the prompts that wait for a session."),
    "sessions": ("sessions.sessions", "Create, list, show and close sessions, and look into their past."),
    "watch": ("daily.watch", "Follow a session, from any number of its log on."),
    "wait": ("daily.watch", "Wait until a session is idle, asks, is closed, or says something."),
    "logs": ("sessions.logs", "Show an agent's stderr, and the lines it wrote that are no messages."),
    "pending": ("permissions.pending", "List what agents ask, and nobody has answered yet."),
    "allow": ("permissions.pending", "Allow what an agent asks."),
    "deny": ("permissions.pending", "Deny what an agent asks."),
    "answer": ("permissions.answer", "Fill in a form that an agent asks for."),
    "set-mode": ("sessions.set", "Put a session's agent into another mode."),
    "set": ("sessions.set", "Set, or list, the options of a session: model and the like."),
    "agents": ("agents.agents", "List the agents there are."),
    "doctor": (
        "daemon.doctor",
        "Look whether everything is as it should be, and say how to mend what is not.",
    ),
    "orphans": ("daemon.orphans", "List, and end, what brokers that are gone left behind."),
    "token": ("remote.token", "Let other people and programs in: make, list and end tokens."),
    "config": ("daemon.config", "Show or check the configuration."),
    "acp": ("remote.acp", "Be an ACP agent on stdio, for an editor."),
    "completion": ("completion", "Print what a shell needs to complete all this."),
    "check": ("testing.check", "Check whether an agent, or a broker, keeps the rules of ACP."),
    "demo": ("testing.demo", "Watch three agents share one broker."),
    "chaos": ("testing.chaos", "Let a broker of its own suffer, and see whether it keeps its promises."),
    "demo-agent": ("testing.demo", "The agent of the demo: plain ACP on stdio."),
}
CONFIG_COMMANDS = ("config", "doctor")  # these say themselves what is wrong with a configuration, or write it
AGENT_COMMANDS = (
    "prompt",
    "exec",
    "cancel",
    "queue",
    "sessions",
    "watch",
    "wait",
    "logs",
    "set-mode",
    "set",
    "acp",
)


class RootGroup(click.Group):
    """Commands imported when called; `trio-broker claude "fix it"` is `trio-broker prompt -a claude "fix it"`."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"trio_broker.cli.{COMMANDS[name][0]}")
        command: click.Command = getattr(module, name.replace("-", "_") + "_command")
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):  # from the table: help must not import them all
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        word, rest = args[0], args[1:]
        if word in COMMANDS:
            return super().resolve_command(context, args)
        if context.resilient_parsing:  # completing: an agent, whoever it is, and no complaints
            return super().resolve_command(context, _with_default_command(rest))
        if " " in word:  # no name has a space: it is a prompt
            return super().resolve_command(context, ["prompt", *args])
        return super().resolve_command(context, self._resolve_agent(context, word, rest))

    def _resolve_agent(self, context: click.Context, word: str, rest: list[str]) -> list[str]:
        import difflib  # late, as is the catalog: its config costs more than all that `status` does

        from trio_broker.agent import catalog

        state = context.ensure_object(State)
        state.config_path = context.params.get("config")
        try:
            state.agent = catalog.resolve(word, state.config, installed=state.installed).name
        except ConfigError:
            raise
        except BrokerError:
            near = difflib.get_close_matches(word, [*COMMANDS, *catalog.names(state.config)], n=3)
            one_word = " A prompt of one word wants `trio-broker prompt WORD`."
            hint = f" Did you mean {' or '.join(near)}?" if near else one_word
            raise click.UsageError(f"{word!r} is neither a command nor an agent.{hint}", context) from None
        return _with_default_command(rest)

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from trio_broker.cli.completion_values import agent_items

        found = [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items()]
        found = [item for item in found if item.value.startswith(incomplete)]
        names = [] if incomplete.startswith("-") else agent_items(context, incomplete)
        return [*found, *names, *click.Command.shell_complete(self, context, incomplete)]


def _with_default_command(words: list[str]) -> list[str]:
    """What follows an agent's name: a command that is meant for it, or the text of a prompt."""
    return words if words and words[0] in AGENT_COMMANDS else ["prompt", *words]


@click.group(
    cls=RootGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.option("--config", metavar="FILE", help="Configuration file [TRIO_BROKER_CONFIG].")
@click.option(
    "--url",
    metavar="URL",
    envvar="TRIO_BROKER_URL",
    help="A broker elsewhere, ws:// or wss:// [TRIO_BROKER_URL].",
)
@click.option(
    "--token",
    envvar="TRIO_BROKER_TOKEN",
    help="The token for it [TRIO_BROKER_TOKEN, which `ps` does not show].",
)
@click.pass_context
def cli(context: click.Context, config: str | None, url: str | None, token: str | None) -> None:
    """One daemon that owns your ACP coding agents and lets many clients share them.

    \b
      trio-broker demo                     see it work: no keys, nothing to set up
      trio-broker claude "fix the tests"   prompt an agent; starts the broker by itself
      trio-broker status                   what every session is doing
    """
    state = context.ensure_object(State)
    state.config_path, state.url, state.token = config, url or None, token or None
    if url and "://" not in url:
        raise Misuse(f"--url: {url!r} is no URL; write ws://HOST:PORT or wss://HOST:PORT")
    if (
        config
        and context.invoked_subcommand not in CONFIG_COMMANDS
        and not Path(config).expanduser().exists()
    ):
        raise ConfigError(
            f"{config}: there is no such file; `trio-broker config init` writes one", file=config
        )


def main() -> int:
    """Run the command line; returns the exit code. Every error ends in a sentence on stderr that says what to do."""
    _open_standard_files()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # agents say more than some terminals can show
    if "_TRIO_BROKER_COMPLETE" in os.environ:
        importlib.import_module("trio_broker.cli.completion")  # its bash is better than click's
    try:
        code = cli.main(prog_name="trio-broker", standalone_mode=False)
    except click.ClickException as error:
        return print_usage_error(error)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokerError as error:
        return print_error(error)
    except BrokenPipeError:  # `trio-broker … | head`: nobody reads on
        _discard_stdout()
        return 1
    except OSError as error:  # the disk that stdout goes to is full, say
        _discard_stdout()
        click.echo(f"trio-broker: {error}", err=True)
        return 1
    return code if isinstance(code, int) else 0


def _open_standard_files() -> None:
    """Those that were closed (`<&-`) are empty: else the first file or socket that is opened takes their place."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115  # for good


def _discard_stdout() -> None:
    """What is still to be written to it at our end would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
