"""`queue list | move | edit | remove`: the prompts that wait for a session."""

from __future__ import annotations

import sys
from typing import Any

import click

from trio_broker.cli.options import CommandGroup, file_option, format_option, read_prompt, session_options
from trio_broker.cli.output import format_duration, print_json, safe, safe_lines, table
from trio_broker.cli.session_target import resolve_session
from trio_broker.cli.state import State, pass_state
from trio_broker.errors import BrokerError

_id_argument = click.argument("prompt_id", metavar="ID")
MAX_TEXT = 60  # characters of a prompt in the list


@click.group("queue", cls=CommandGroup)
def queue_command() -> None:
    """See and change what waits for a session. Without -s it is the one of this work tree.

    \b
      trio-broker queue list
      trio-broker queue move 4f1c 1          run it next
      trio-broker queue edit 4f1c "say it differently"
      trio-broker queue remove 4f1c

    ID is a prompt's id, or the beginning of it. Only its author and admins may change a prompt; the author is told.
    """


@queue_command.command("list")
@session_options
@format_option
@pass_state
def list_queue(state: State, session: str | None, agent: str | None, cwd: str | None, style: str) -> None:
    """List what runs (place 0) and what waits, in order.

    \b
      trio-broker queue list -s review
    """
    found = _fetch_queue(state, session, agent, cwd)
    turns = ([found["running"]] if found["running"] else []) + found["queued"]
    if style == "json":
        print_json(found)
    elif style == "quiet":
        click.echo("".join(f"{safe(turn['promptId'])}\n" for turn in found["queued"]), nl=False)
    elif turns:
        click.echo(table(("", "ID", "AUTHOR", "FOR", "PROMPT"), [_row(turn) for turn in turns]))
    else:
        click.echo(f"nothing runs and nothing waits in session {safe(found['key'])}")


def _row(turn: dict[str, Any]) -> tuple[str, ...]:
    text = safe(" ".join(turn["text"].split()))
    short = text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
    edited = f" (edited by {safe(turn['editedBy'])})" if turn["editedBy"] else ""
    running = format_duration(turn["for"]) if turn["position"] == 0 else "-"
    author = safe(turn["author"] or "-")
    return (str(turn["position"]), safe(turn["promptId"]), author, running, short + edited)


@queue_command.command("move")
@session_options
@_id_argument
@click.argument("position", type=click.IntRange(min=1))
@format_option
@pass_state
def move(
    state: State,
    session: str | None,
    agent: str | None,
    cwd: str | None,
    prompt_id: str,
    position: int,
    style: str,
) -> None:
    """Have a waiting prompt run as number POSITION; 1 is next.

    \b
      trio-broker queue move 4f1c 1
    """
    _change(state, session, agent, cwd, prompt_id, style, position=position)


@queue_command.command("edit")
@session_options
@_id_argument
@click.argument("text", nargs=-1)
@file_option
@format_option
@pass_state
def edit(
    state: State,
    session: str | None,
    agent: str | None,
    cwd: str | None,
    prompt_id: str,
    text: tuple[str, ...],
    file: str | None,
    style: str,
) -> None:
    """Have a waiting prompt say something else. Without TEXT, at a terminal, $EDITOR opens with what it says.

    \b
      trio-broker queue edit 4f1c "fix the tests, not the code"
      trio-broker queue edit 4f1c -f prompt.md
    """
    in_editor = not text and file is None and sys.stdin.isatty()
    if in_editor:
        text = (_edit_in_editor(state, session, agent, cwd, prompt_id),)
    blocks = [{"type": "text", "text": read_prompt(text, file)}]
    try:
        _change(state, session, agent, cwd, prompt_id, style, prompt=blocks)
    except BrokerError:
        if in_editor:  # it stands nowhere else: the editor's file is gone
            click.echo(f"what you wrote:\n{safe_lines(text[0])}", err=True)
        raise


def _edit_in_editor(
    state: State, session: str | None, agent: str | None, cwd: str | None, prompt_id: str
) -> str:
    found = _fetch_queue(state, session, agent, cwd)
    params = {"key": found["key"], "promptId": _complete_id(found, prompt_id)}
    blocks = state.call("_trio_broker/queue", params)["prompt"]
    before = "\n".join(block["text"] for block in blocks if isinstance(block.get("text"), str))
    return (click.edit(before, extension=".md") or "").rstrip("\n")  # an editor ends its last line


@queue_command.command("remove")
@session_options
@_id_argument
@format_option
@pass_state
def remove(
    state: State, session: str | None, agent: str | None, cwd: str | None, prompt_id: str, style: str
) -> None:
    """Take a waiting prompt out; who waits for it is told that it was cancelled, and by whom.

    \b
      trio-broker queue remove 4f1c
    """
    _change(state, session, agent, cwd, prompt_id, style, remove=True)


def _fetch_queue(state: State, session: str | None, agent: str | None, cwd: str | None) -> dict[str, Any]:
    key = resolve_session(state, session, agent, cwd).key
    found: dict[str, Any] = state.call("_trio_broker/queue", {"key": key})
    return found


def _complete_id(found: dict[str, Any], prompt_id: str) -> str:
    """The only id that begins so; else what was given, of which the broker tells what became."""
    ids = [turn["promptId"] for turn in found["queued"]]
    fitting = [id for id in ids if id.startswith(prompt_id)]
    return fitting[0] if len(fitting) == 1 and prompt_id not in ids else prompt_id


def _change(
    state: State,
    session: str | None,
    agent: str | None,
    cwd: str | None,
    prompt_id: str,
    style: str,
    **change: Any,
) -> None:
    found = _fetch_queue(state, session, agent, cwd)
    params = {"key": found["key"], "promptId": _complete_id(found, prompt_id)}
    changed = state.call("_trio_broker/queue_edit", params | change)
    if style == "json":
        print_json({"action": f"prompt_{changed.pop('done')}", **changed})
    elif style == "text":
        place = f", number {changed['position']} of those that wait" if changed["position"] else ""
        click.echo(f"{safe(changed['promptId'])} is {changed['done']}{place}", err=True)
