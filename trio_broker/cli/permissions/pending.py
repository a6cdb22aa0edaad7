"""`pending`, `allow`, `deny`: the questions that wait for an answer, and an answer to one of them."""

from __future__ import annotations

from typing import Any

import click

from trio_broker.cli.completion_values import request_ids
from trio_broker.cli.options import format_option
from trio_broker.cli.output import format_duration, print_json, print_stderr, safe, table
from trio_broker.cli.session_target import is_interactive
from trio_broker.cli.state import State, pass_state, run
from trio_broker.errors import Misuse, NoAsk

MAX_FACT = 100  # characters of the line below a question

_id_argument = click.argument("ask_id", metavar="[ID]", required=False, shell_complete=request_ids)


@click.command("pending")
@_id_argument
@click.option("-v", "--verbose", is_flag=True, help="Each question in full, as with its ID.")
@format_option
@pass_state
def pending_command(state: State, ask_id: str | None, verbose: bool, style: str) -> None:
    """List the questions of all agents that wait for an answer, the oldest first; with ID, all of one question.

    \b
      trio-broker pending
      trio-broker pending 3-17
      trio-broker allow 3-17
    """
    if ask_id is not None:
        return _print_one(_find(state, ask_id), style)
    found = state.call("_trio_broker/asks")
    if style == "json":
        print_json(found)
    elif style == "quiet":
        click.echo("".join(f"{ask['askId']}\n" for ask in found["asks"]), nl=False)
    elif not found["asks"]:
        click.echo("nothing waits for an answer")
    elif verbose:
        from trio_broker.cli.permissions import screen

        screen.page("\n".join(screen.whole_request(ask) for ask in found["asks"]))
    else:
        click.echo(_requests_table(found["asks"]))
    return None


def _find(state: State, ask_id: str) -> dict[str, Any]:
    """The question of this id. Raises NoAsk."""
    asks: list[dict[str, Any]] = state.call("_trio_broker/asks", {"askId": ask_id})["asks"]
    if not asks:
        raise NoAsk(f"no question {safe(ask_id)!r} waits; `trio-broker pending` lists those that wait")
    return asks[0]


def _print_one(ask: dict[str, Any], style: str) -> None:
    if style == "json":
        print_json(ask)
    elif style == "quiet":
        click.echo(ask["askId"])
    else:
        from trio_broker.cli.permissions import screen

        screen.page(screen.whole_request(ask))


def _requests_table(asks: list[dict[str, Any]]) -> str:
    """A row for each question; below it the command, URL or path, where the title is something else."""
    from trio_broker.client.request_text import summary  # late: nothing waits, as a rule

    rows = [
        (
            ask["askId"],
            safe(ask["key"]),
            safe(ask["agent"]),
            format_duration(ask["since"]),
            safe(ask["kind"] or "-"),
            safe(", ".join(option["optionId"] for option in ask["options"]) or "-"),
            _short(safe(ask["title"].split("\n")[0]), 80),
        )
        for ask in asks
    ]
    head, *lines = table(("ID", "SESSION", "AGENT", "FOR", "KIND", "OPTIONS", ""), rows).split("\n")
    shown = [head]
    for ask, line in zip(asks, lines, strict=True):
        fact = summary(ask)
        shown += [line] if fact == safe(ask["title"]) else [line, f"  │ {_short(fact, MAX_FACT)}"]
    return "\n".join(shown)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


@click.command("allow")
@_id_argument
@click.option("--always", is_flag=True, help="Now and from now on, where the agent offers that.")
@click.option("--option", "option_id", metavar="OPTION", help="Choose this option, as `pending` names it.")
@format_option
@pass_state
def allow_command(state: State, ask_id: str | None, always: bool, option_id: str | None, style: str) -> None:
    """Allow what an agent asks.

    Without ID, a terminal shows what waits, and asks which one to allow; a script allows the only thing that waits.

    \b
      trio-broker allow 3-17
      trio-broker allow 3-17 --always

    A command that an agent runs can't answer, unless [agents.NAME] in the configuration has may_answer = true. This
    stops mistakes, not an attacker: a program with your user id can get around it.
    """
    if always and option_id is not None:
        raise Misuse("give --always or --option, not both")
    params = {"answer": "allow", "always": always} if option_id is None else {"optionId": option_id}
    _answer(state, ask_id, params, style, "allow")


@click.command("deny")
@_id_argument
@click.option("--always", is_flag=True, help="Now and from now on, where the agent offers that.")
@format_option
@pass_state
def deny_command(state: State, ask_id: str | None, always: bool, style: str) -> None:
    """Deny what an agent asks.

    Without ID, a terminal shows what waits, and asks which one to deny; a script denies the only thing that waits.

    \b
      trio-broker deny 3-17
    """
    _answer(state, ask_id, {"answer": "deny", "always": always}, style, "deny")


def _answer(state: State, ask_id: str | None, params: dict[str, Any], style: str, verb: str) -> None:
    person = style == "text" and is_interactive()
    if ask_id is None:
        ask_id = choose_request(state, verb, params, person=person)
    elif person and verb == "allow":
        from trio_broker.cli.permissions.screen import show_request

        if asks := state.call("_trio_broker/asks", {"askId": ask_id})[
            "asks"
        ]:  # else the answer says why there is none
            show_request(asks[0])
    send_answer(state, ask_id, params, style)


def send_answer(state: State, ask_id: str, params: dict[str, Any], style: str) -> None:
    """Answer an ask and print what became of it. Raises as the broker does."""
    answered = state.call("_trio_broker/answer", {"askId": ask_id, **params})
    if style == "json":
        print_json({"action": "answered", **answered})
    elif style == "text":
        how = answered["option"] or answered["outcome"]
        click.echo(f"{answered['askId']} {safe(answered['title'])}: {safe(how)}", err=True)


def choose_request(state: State, verb: str, params: dict[str, Any], *, person: bool) -> str:
    """The id of the only ask, or of the one that the person at the terminal chooses; exits where that is none.

    Raises NoAsk, and Misuse with a table where there are several and no person.
    """
    asks = state.call("_trio_broker/asks")["asks"]
    ask = _choose(asks, verb, params) if person and asks else _single_request(asks)
    if ask is None:
        print_stderr("nothing is answered")
        click.get_current_context().exit(1)
    return str(ask["askId"])


def _choose(asks: list[dict[str, Any]], verb: str, params: dict[str, Any]) -> dict[str, Any] | None:
    """The question that the person at the terminal chooses and confirms; None if none."""
    from trio_broker.cli.permissions.chooser import choose

    for_ever = " always" if params.get("always") else ""
    option = f" with option {safe(params['optionId'])}" if "optionId" in params else ""
    chosen: dict[str, Any] | None = run(choose, asks, f"{verb}{for_ever}{option}")
    return chosen


def _single_request(asks: list[dict[str, Any]]) -> dict[str, Any]:
    if not asks:
        raise NoAsk("nothing waits for an answer; `trio-broker status` shows what every session is doing")
    if len(asks) > 1:
        raise Misuse(
            f"{len(asks)} questions wait for an answer: say which, by its ID\n{_requests_table(asks)}"
        )
    return asks[0]
