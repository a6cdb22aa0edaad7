"""`config show | init | check | reload`, and the configuration file that `config init` writes."""

from __future__ import annotations

import enum
import os
from pathlib import Path
from typing import Any

import attrs
import click

from trio_broker.cli.options import CommandGroup
from trio_broker.cli.output import print_json, safe
from trio_broker.cli.state import State, ensure_broker, pass_state
from trio_broker.errors import Misuse

# Every setting with its default, as a comment. tests/cli/daemon/test_config.py compares it with the settings.
SAMPLE = """\
# Settings of trio-broker. Times are seconds, sizes bytes. A setting that is commented out has the value shown.
# `trio-broker config check` tells every mistake in this file; the broker reads it when it starts.

# The agent of commands that name none; `trio-broker agents list` shows all. Without it, a terminal offers those that
# are installed, and a script has to name one.
#default_agent = "claude"

[broker]
#max_sessions = 1000            # sessions that live at once
#max_starting = 8               # of them, those that start at once; the others wait their turn
#queue = 16                     # prompts that wait for one session
#idle_ttl = 0.0                 # suspends sessions that did nothing for so long; 0 is never
#quiet_after = 0.0              # an agent that said nothing for so long in its turn; 0 is never
#on_quiet = "say"               # then: say so in the log, or cancel the turn
#max_turn = 0.0                 # the longest that a turn may take; 0: as long as it takes
#max_terminals = 32             # commands that the broker runs for one session (terminal = true of an agent)
#terminal_output = 1048576      # kept of the output of each of them
#liveness = 5.0                 # how often a quiet agent's process is looked at
#cancel_grace = 30.0            # for an agent to heed a cancel, before it is ended
#close_grace = 5.0              # from the close of its stdin to SIGTERM
#term_grace = 5.0               # and from there to SIGKILL
#start_timeout = 120.0          # for an agent to get as far as a session; npx may fetch it first
#max_line = 67108864            # one message
#stderr_ring = 65536            # kept of an agent's stderr
#max_clients = 256              # connections
#restart = "lazy"               # an agent that crashed: lazy (for the next prompt), eager (at once), never

[policy]
#default = "ask"                # who answers permission questions: ask, approve-all, approve-reads, deny-all
#unattended = "hold"            # when nobody is there: hold the question, or deny
#expire = 0.0                   # refuses a question that nobody answered for so long; 0 is never
#notify = []                    # a command that is run when a question finds nobody there

# Rules come before the default; the first that fits decides. kind, title, path: all that are given have to fit.
#[[policy.rules]]
#kind = ["read", "search"]
#path = "~/projects"
#action = "allow"               # allow, deny, ask

[listen]
#websocket = "127.0.0.1:8765"   # also listen there; clients need a token: `trio-broker token new`
#insecure_bind = false          # let other machines in without TLS: their tokens can be read
#tls_cert = "/path/to/cert.pem"
#tls_key = "/path/to/key.pem"
#origins = []                   # web pages that may connect, such as "https://team.example"
#hosts = []                     # other names that this broker goes by
#compression = false
#max_per_token = 64             # connections of one token
#max_handshakes = 64            # connections that have not said who they are
#max_in_flight = 1000           # requests of one connection that are not answered yet
#initialize_timeout = 30.0      # for a connection to begin

[journal]
#durability = "turn"            # on disk before a turn's end is told; full: through a power cut too; off: some time
#keep_days = 90.0               # closed sessions are forgotten after that; 0 is never
#keep_bytes = 268435456         # of one session's log; the oldest events go first; 0 keeps everything

# An agent of your own, or a known one started otherwise. It gets HOME, PATH, USER, LANG, TERM, and what is named here.
#[agents.mine]
#command = ["my-agent", "--acp"]
#args = []
#inherit_env = ["MY_API_KEY"]   # by name, from the broker's environment
#env = { MODE = "fast" }
#cwd = "~/agents"               # default: the session's own directory
#start_timeout = 300.0
#may_answer = false             # true: commands that it runs may answer its own questions, and all that you may
#terminal = true                # the broker runs its commands (some agents ask only then); "client": whoever opened it
#fs = "client"                  # its files are read and written by the client that opened the session; false: by itself
"""


@click.group("config", cls=CommandGroup)
def config_command() -> None:
    """The configuration file and what it says."""


@config_command.command("show")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
@pass_state
def show(state: State, style: str) -> None:
    """Show where everything is and the settings in force, defaults included."""
    paths = {name: str(value) for name, value in state.paths._asdict().items() if name != "config_named"}
    settings = attrs.asdict(state.config, value_serializer=_serialize)
    if style == "json":
        print_json({"paths": paths, **settings})
        return
    for name, value in paths.items():
        click.echo(f"# {name}: {value}")
    if state.config.default_agent is not None:
        click.echo(f"default_agent = {_toml(settings['default_agent'])}")
    _show_table("broker", settings["broker"])
    _show_table("listen", {key: value for key, value in settings["listen"].items() if value is not None})
    _show_table("journal", settings["journal"])
    rules = settings["policy"].pop("rules")
    _show_table("policy", settings["policy"])
    for rule in rules:
        _show_table("[policy.rules]", {key: value for key, value in rule.items() if value is not None})
    for name, agent in settings["agents"].items():
        _show_table(f"agents.{_key(name)}", {key: value for key, value in agent.items() if value is not None})


@config_command.command("init")
@click.option(
    "--force", is_flag=True, help="Put it in the place of a file that is there; that one becomes …~."
)
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
@pass_state
def init(state: State, force: bool, style: str) -> None:
    """Write a configuration file with every setting in it, as comments: nothing changes until one is taken out.

    \b
      trio-broker config init
    """
    path = state.paths.config
    if path.exists() and not force:
        raise Misuse(f"{path} is there already; edit it, or give --force to have it replaced")
    try:
        _write_private(path, SAMPLE)
    except OSError as error:
        raise Misuse(f"{path} can't be written: {error}; name another file with --config") from error
    if style == "json":
        print_json({"action": "config_written", "path": str(path)})
    else:
        click.echo(path)
        click.echo("edit it, then `trio-broker config check`", err=True)


def _write_private(path: Path, text: str) -> None:
    """A file of mode 0600, whole or not at all, as it may come to hold keys; what was there is kept beside it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    if path.exists():
        path.replace(path.with_name(f"{path.name}~"))
    fresh.replace(path)


@config_command.command("check")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
@pass_state
def check(state: State, style: str) -> None:
    """Read the file; tell every mistake in it at once, with its key and what was expected.

    A mistake is exit code 2. A warning is none: a program or a directory that is not there may be there in time.
    """
    from trio_broker.cli.daemon.config_check import check_file
    from trio_broker.config.config import config_error

    path = state.paths.config
    checked = check_file(path, state.installed, must_exist=state.paths.config_named)
    warnings = config_error(str(path), checked.warnings).message.splitlines()
    for line in warnings if checked.errors or style == "text" else ():
        click.echo(f"trio-broker: warning: {safe(line)}", err=True)
    if checked.errors:
        raise config_error(str(path), checked.errors)
    agents = len(checked.config.agents)
    if style == "json":
        result = {
            "path": str(path),
            "ok": True,
            "exists": path.exists(),
            "agents": agents,
            "warnings": warnings,
        }
        print_json(result)
        return
    found = "" if path.exists() else " (there is none, so the defaults are in force)"
    click.echo(f"{path}: ok, {agents} agent{'' if agents == 1 else 's'} configured{found}")


@config_command.command("reload")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
@pass_state
def reload(state: State, style: str) -> None:
    """Have the running broker read the file anew; it holds for what is started from now on.

    \b
      trio-broker config check && trio-broker config reload

    A mistake in the file changes nothing. The tables [listen] and [journal] hold from the next start of the broker on.
    """
    ensure_broker(state, autostart=False)
    done = state.call("_trio_broker/reload", {})
    if style == "json":
        print_json({"action": "config_reloaded", **done})
        return
    later = " and ".join(f"[{name}]" for name in done["later"])
    wait = f"; {later} will hold from the broker's next start on" if later else ""
    click.echo(f"the broker has read its configuration anew{wait}", err=True)


def _serialize(_: Any, __: Any, value: Any) -> Any:
    return value.value if isinstance(value, enum.Enum) else value


def _show_table(name: str, table: dict[str, Any]) -> None:
    click.echo(f"\n[{name}]")
    for key, value in table.items():
        click.echo(f"{key} = {_toml(value)}")


def _toml(value: Any) -> str:
    import json

    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{_key(key)} = {_toml(item)}" for key, item in value.items()) + " }"
            if value
            else "{}"
        )
    return json.dumps(value)  # TOML's strings, numbers and arrays are JSON's


def _key(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() else _toml(name)
