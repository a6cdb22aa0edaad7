"""`pending`, `allow`, `deny`: the questions that wait for an answer, and an answer to one of them."""

from __future__ import annotations

from typing import Any

import click

from trio_broker.cli.completion_values import request_ids
from trio_broker.cli.options import format_option
from trio_broker.cli.output import format_duration, print_json, safe, table
from trio_broker.cli.state import State, pass_state
from trio_broker.errors import Misuse, NoAsk

_id_argument = click.argument("ask_id", metavar="[ID]", required=False, shell_complete=request_ids)


@click.command("pending")
@format_option
@pass_state
def pending_command(state: State, style: str) -> None:
    """List the questions of all agents that wait for an answer, the oldest first.

    \b
      trio-broker pending
      trio-broker allow 3-17
    """
    found = state.call("_trio_broker/asks")
    if style == "json":
        print_json(found)
    elif style == "quiet":
        click.echo("".join(f"{ask['askId']}\n" for ask in found["asks"]), nl=False)
    else:
        click.echo(_requests_table(found["asks"]) if found["asks"] else "nothing waits for an answer")


def _requests_table(asks: list[dict[str, Any]]) -> str:
    rows = [
        (
            ask["askId"],
            safe(ask["key"]),
            safe(ask["agent"]),
            format_duration(ask["since"]),
            safe(ask["kind"] or "-"),
            safe(", ".join(option["optionId"] for option in ask["options"]) or "-"),
            safe(ask["title"].split("\n")[0][:80]),
        )
        for ask in asks
    ]
    return table(("ID", "SESSION", "AGENT", "FOR", "KIND", "OPTIONS", ""), rows)


@click.command("allow")
@_id_argument
@click.option("--always", is_flag=True, help="Now and from now on, where the agent offers that.")
@click.option("--option", "option_id", metavar="OPTION", help="Choose this option, as `pending` names it.")
@format_option
@pass_state
def allow_command(state: State, ask_id: str | None, always: bool, option_id: str | None, style: str) -> None:
    """Allow what an agent asks; without ID, the only thing that any of them asks.

    \b
      trio-broker allow 3-17
      trio-broker allow 3-17 --always

    A command that an agent runs can't answer, unless [agents.NAME] in the configuration has may_answer = true. This
    stops mistakes, not an attacker: a program with your user id can get around it.
    """
    if always and option_id is not None:
        raise Misuse("give --always or --option, not both")
    params = {"answer": "allow", "always": always} if option_id is None else {"optionId": option_id}
    _answer(state, ask_id, params, style)


@click.command("deny")
@_id_argument
@click.option("--always", is_flag=True, help="Now and from now on, where the agent offers that.")
@format_option
@pass_state
def deny_command(state: State, ask_id: str | None, always: bool, style: str) -> None:
    """Deny what an agent asks; without ID, the only thing that any of them asks.

    \b
      trio-broker deny 3-17
    """
    _answer(state, ask_id, {"answer": "deny", "always": always}, style)


def _answer(state: State, ask_id: str | None, params: dict[str, Any], style: str) -> None:
    id = ask_id or _single_request(state.call("_trio_broker/asks")["asks"])
    answered = state.call("_trio_broker/answer", {"askId": id, **params})
    if style == "json":
        print_json({"action": "answered", **answered})
    elif style == "text":
        how = answered["option"] or answered["outcome"]
        click.echo(f"{answered['askId']} {safe(answered['title'])}: {safe(how)}", err=True)


def _single_request(asks: list[dict[str, Any]]) -> str:
    if not asks:
        raise NoAsk("nothing waits for an answer; `trio-broker status` shows what every session is doing")
    if len(asks) > 1:
        raise Misuse(
            f"{len(asks)} questions wait for an answer: say which, by its ID\n{_requests_table(asks)}"
        )
    id: str = asks[0]["askId"]
    return id
