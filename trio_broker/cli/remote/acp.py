"""`acp`: an ACP agent on stdio for the editor that starts it, and a pump to the broker behind."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import click

from trio_broker.cli.options import autostart_option, policy_options
from trio_broker.cli.remote.bridge import Bridge
from trio_broker.cli.remote.socket_pump import SocketPump
from trio_broker.cli.state import State, ensure_broker, pass_state, run
from trio_broker.protocol.auth_methods import LOGIN_VARIABLE


@click.command("acp")
@click.option(
    "-a", "--agent", metavar="NAME", help="The agent [default: default_agent of the configuration]."
)
@click.option("-s", "--session", metavar="KEY", help="The key of the session that session/new gets.")
@click.option("--cwd", metavar="DIR", help="Where the agent is started to log in; a session brings its own.")
@policy_options
@autostart_option
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@pass_state
def acp_command(
    state: State,
    agent: str | None,
    session: str | None,
    cwd: str | None,
    policy: str | None,
    autostart: bool,
    command: tuple[str, ...],
) -> int:
    """Be an ACP agent on stdin and stdout. With `-- COMMAND…` that command is the agent behind the broker.

    The end of stdin, or of the editor, detaches: a turn that runs goes on, and its session stays. What is answered
    within five seconds of the end of stdin is still told. A session that is there under -s KEY keeps its directory and
    policy.

    A broker that goes is waited for, and started again when the editor asks for something: its sessions go on there.

    \b
      trio-broker acp -a claude
      trio-broker --url wss://build.example:8765 acp      # a broker elsewhere; TRIO_BROKER_TOKEN has the token
    """
    if (method := os.environ.pop(LOGIN_VARIABLE, None)) is not None:
        return _login(state, agent or state.agent, command, method)
    ensure_broker(state, autostart=autostart)
    bind_params: dict[str, Any] = {
        "agent": agent or state.agent,
        "command": list(command) or None,
        "key": session,
        "cwd": os.path.abspath(os.path.expanduser(cwd)) if cwd else None,
        "policy": policy,
    }
    bind_params = {name: value for name, value in bind_params.items() if value is not None}
    if state.url is not None:
        from trio_broker.cli.remote.websocket_pump import run_websocket_pump

        return run(run_websocket_pump, state.url, state.token, bind_params)
    ensure = partial(ensure_broker, state, autostart=autostart)
    return SocketPump(str(state.paths.socket), ensure, Bridge(bind_params)).run()


def _login(state: State, agent: str | None, command: tuple[str, ...], method: str) -> int:
    """Run a login in the terminal of the editor that started us with LOGIN_VARIABLE (see `protocol/auth_methods`)."""
    from trio_broker.agent import catalog
    from trio_broker.cli.agents.login import login, require_here

    require_here(state)
    if command:
        return login(state, catalog.from_command(command), method)
    if (name := agent or state.config.default_agent) is None:
        raise catalog.no_default_agent(catalog.installed_names(state.config, installed=state.installed))
    return login(state, catalog.resolve(name, state.config, installed=state.installed), method)
