"""`sessions new | ensure | list | show | close`. The id of a session stands alone on stdout, prose on stderr."""

from __future__ import annotations

from typing import Any

import click

from trio_broker.cli.completion_values import agent_names
from trio_broker.cli.events import RESUMED, start_reporter
from trio_broker.cli.options import (
    CommandGroup,
    autostart_option,
    command_option,
    format_option,
    model_option,
    policy_options,
    session_options,
)
from trio_broker.cli.output import print_json, safe, sessions_table
from trio_broker.cli.session_target import (
    SessionTarget,
    check_directory,
    choose_missing_agent,
    find_target,
    resolve_session,
    work_tree,
)
from trio_broker.cli.sessions.history import delete, export, history, import_, prune
from trio_broker.cli.state import State, ensure_broker, pass_state, run
from trio_broker.errors import Misuse

LABELS = {
    "foreign": "updates of other sessions",
    "rejected_lines": "lines that are no messages",
}  # for people


@click.group("sessions", cls=CommandGroup)
def sessions_command() -> None:
    """Create, list, show and close sessions. Without -s it is the one of this work tree."""


def _open_session(
    state: State, target: SessionTarget, action: str, style: str, model: str | None, **extra: Any
) -> None:
    opened = run(_open_and_configure, state, target.open_params(**extra), model)
    if style == "json":
        found = {name: opened[name] for name in ("created", "sessionId", "key", "agent", "cwd", "phase")}
        print_json({"action": action, **found})
        return
    click.echo(opened["sessionId"])
    if style == "text":
        state_text = "created" if opened["created"] else "there already"
        click.echo(
            f"session {safe(opened['key'])} of {safe(opened['agent'])} in {safe(opened['cwd'])}: {state_text}",
            err=True,
        )


@sessions_command.command("new")
@session_options
@command_option
@model_option
@policy_options
@autostart_option
@format_option
@pass_state
def new(
    state: State,
    session: str | None,
    agent: str | None,
    cwd: str | None,
    command: str | None,
    model: str | None,
    policy: str | None,
    autostart: bool,
    style: str,
) -> None:
    """Create a session; one that is there under this key is closed first.

    \b
      trio-broker sessions new -s review -a claude --model opus
    """
    target = find_target(state, session, agent, cwd, command)
    ensure_broker(state, autostart=autostart)
    target = choose_missing_agent(state, target, replace=True)
    _open_session(state, target, "session_created", style, model, fresh=True, **_policy_params(policy))


@sessions_command.command("ensure")
@session_options
@command_option
@model_option
@policy_options
@autostart_option
@format_option
@pass_state
def ensure(
    state: State,
    session: str | None,
    agent: str | None,
    cwd: str | None,
    command: str | None,
    model: str | None,
    policy: str | None,
    autostart: bool,
    style: str,
) -> None:
    """Create a session unless it is there. One that is, and that -a, --cwd or a policy do not fit, is an error.

    \b
      trio-broker sessions ensure -s review -a claude
    """
    target = find_target(state, session, agent, cwd, command)
    ensure_broker(state, autostart=autostart)
    check_directory(state, target)
    target = choose_missing_agent(state, target)
    _open_session(state, target, "session_ensured", style, model, **_policy_params(policy))


async def _open_and_configure(state: State, params: dict[str, Any], model: str | None) -> dict[str, Any]:
    from trio_broker.cli.session_settings import set_model

    async with state.connect(on_message=start_reporter()) as client:
        opened: dict[str, Any] = await client.call("_trio_broker/open", params)
        _check_policy(opened, params.get("policy"))
        await set_model(client, opened, model)
    return opened


def _check_policy(opened: dict[str, Any], policy: str | None) -> None:
    """Raises Misuse if the session was there, with another policy than was asked for."""
    if policy is not None and not opened["created"] and opened["policy"] != policy:
        raise Misuse(
            f"session {opened['key']!r} is there already, with the policy {opened['policy']}; give --{policy} with its "
            "prompts, or replace it by `sessions new`"
        )


def _policy_params(policy: str | None) -> dict[str, str]:
    return {} if policy is None else {"policy": policy}


@sessions_command.command("list")
@click.option("-a", "--agent", metavar="NAME", help="Only this agent's.", shell_complete=agent_names)
@click.option("--cwd", metavar="DIR", help="Only those that work there.")
@format_option
@pass_state
def list_sessions(state: State, agent: str | None, cwd: str | None, style: str) -> None:
    """List the sessions, those that died included.

    \b
      trio-broker sessions list --cwd . --format json
    """
    params = {"agent": agent or state.agent, "cwd": cwd and work_tree(cwd)}
    found = state.call("_trio_broker/sessions", {key: value for key, value in params.items() if value})
    if agent and not found["sessions"] and state.url is None:
        from trio_broker.agent import catalog

        # It raises for a name that no session's agent can have.
        catalog.resolve(agent, state.config, installed=state.installed)
    if style == "json":
        print_json(found)
    elif style == "quiet":
        click.echo(
            "".join(f"{view['sessionId']}\n" for view in found["sessions"] if view["sessionId"]), nl=False
        )
    else:
        click.echo(sessions_table(found["sessions"]) if found["sessions"] else "no sessions")


@sessions_command.command("show")
@session_options
@format_option
@pass_state
def show(state: State, session: str | None, agent: str | None, cwd: str | None, style: str) -> None:
    """Show one session: what it does, what waits in its queue, and its agent's last words.

    \b
      trio-broker sessions show -s review
    """
    target = resolve_session(state, session, agent, cwd)
    view = run(_show, state, target.key)
    if style == "json":
        print_json(view)
    elif style == "quiet":
        click.echo(view["sessionId"] or "")
    else:
        how = view.get("resumed")
        shown = view | ({"resumed": f"{how}: {RESUMED[how]}"} if how in RESUMED else {})
        click.echo(
            "\n".join(f"{LABELS.get(name, name)}: {_format_value(value)}" for name, value in shown.items())
        )


def _format_value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, list):
        return "; ".join(_format_value(item) for item in value) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{name}={_format_value(item)}" for name, item in value.items())
    return "-" if value is None else safe(str(value))


async def _show(state: State, key: str) -> dict[str, Any]:
    async with state.connect() as client:
        logs = await client.call("_trio_broker/logs", {"key": key})
        found = await client.call("_trio_broker/sessions")
    view = next((view for view in found["sessions"] if view["key"] == key), {"sessionId": None, "key": key})
    return {**view, "stderr": logs["stderr"].strip().split("\n")[-10:], "rejected": logs["rejected"]}


@sessions_command.command("close")
@session_options
@click.option("--kill", is_flag=True, help="Do not ask the agent: SIGKILL its whole group.")
@format_option
@pass_state
def close(
    state: State, session: str | None, agent: str | None, cwd: str | None, kill: bool, style: str
) -> None:
    """End a session, and wait until no process of its agent is left.

    \b
      trio-broker sessions close -s review
    """
    target = resolve_session(state, session, agent, cwd)
    closed = state.call("_trio_broker/kill" if kill else "_trio_broker/close", {"key": target.key})
    if style == "json":
        print_json({"action": "session_closed", "key": closed["key"], "exit": closed["exit"]})
    elif style == "text":
        click.echo(f"session {safe(target.key)} is closed", err=True)


@sessions_command.command("restart")
@session_options
@click.option("--kill", is_flag=True, help="Do not ask the agent: SIGKILL its whole group.")
@format_option
@pass_state
def restart(
    state: State, session: str | None, agent: str | None, cwd: str | None, kill: bool, style: str
) -> None:
    """Have another process take up the conversation; the turn that runs fails, what is queued goes on.

    \b
      trio-broker sessions restart -s review --kill
    """
    params = {"key": resolve_session(state, session, agent, cwd).key, "kill": kill}
    done = state.call("_trio_broker/restart", params)
    if style == "json":
        print_json({"action": "session_restarted", **done})
    elif style == "text":
        how = RESUMED.get(done["resumed"], done["resumed"])
        click.echo(f"session {safe(done['key'])} has a new process (pid {done['pid']}): {how}", err=True)


for command in (history, export, import_, prune, delete):
    sessions_command.add_command(command)
