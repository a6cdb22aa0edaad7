"""`prompt`, `exec`, `cancel`."""

from __future__ import annotations

import uuid
from typing import Any

import attrs
import click

from trio_broker.cli.options import (
    POSITIVE,
    autostart_option,
    command_option,
    file_option,
    format_option,
    model_option,
    policy_options,
    read_prompt,
    session_options,
)
from trio_broker.cli.output import print_json, safe
from trio_broker.cli.session_target import (
    SessionTarget,
    check_directory,
    choose_missing_agent,
    choose_policy,
    find_target,
    resolve_session,
)
from trio_broker.cli.state import State, ensure_broker, pass_state, run
from trio_broker.errors import Misuse

text_argument = click.argument("text", nargs=-1)
timeout_option = click.option("--timeout", type=POSITIVE, metavar="S", help="Cancel after S seconds.")


@click.command("prompt")
@text_argument
@file_option
@session_options
@command_option
@model_option
@click.option("--no-wait", is_flag=True, help="Queue it, and do not wait for the answer.")
@click.option("--prompt-id", metavar="ID", help="Your name for it: sent twice under one name, it runs once.")
@click.option(
    "--if-busy",
    type=click.Choice(["queue", "reject", "interrupt"]),
    help="If another turn runs: wait behind it [default], fail at once, or cancel it and run next.",
)
@timeout_option
@policy_options
@format_option
@autostart_option
@pass_state
def prompt_command(
    state: State,
    text: tuple[str, ...],
    file: str | None,
    session: str | None,
    agent: str | None,
    cwd: str | None,
    command: str | None,
    model: str | None,
    no_wait: bool,
    prompt_id: str | None,
    if_busy: str | None,
    timeout: float | None,
    policy: str | None,
    style: str,
    autostart: bool,
) -> int:
    """Send a prompt and show the turn as it goes. The words may also come with -f, or on stdin.

    \b
      trio-broker prompt "fix the tests"
      trio-broker claude -s review -f prompt.md --format json
      trio-broker prompt --if-busy interrupt "stop that, and look at main.py first"

    The session is that of agent and work tree, or -s KEY; it is created when there is none. One that is there keeps its
    agent and directory: -a, --command and --cwd have to fit. A prompt for a busy session is queued. Ctrl-C cancels the
    turn, a second one leaves it to itself.

    Exit code: 0 done, 1 error, 2 usage, 3 timeout, 4 no session, 5 permissions denied, or the token does not allow it,
    6 no broker, 130 interrupted.
    """
    if no_wait and timeout is not None:
        raise Misuse("--timeout is for a prompt that is waited for; leave it out, or leave out --no-wait")
    target = find_target(state, session, agent, cwd, command)
    words = read_prompt(text, file)
    chosen = choose_policy(state, policy)
    ensure_broker(state, autostart=autostart)
    check_directory(state, target)
    target = choose_missing_agent(state, target)
    if no_wait:
        extra = {"model": model, "promptId": prompt_id, "ifBusy": if_busy, "policy": chosen}
        return _submit(state, target, words, style, {name: value for name, value in extra.items() if value})
    return _prompt(
        state,
        target,
        words,
        chosen,
        style,
        timeout,
        owns_session=False,
        prompt_id=prompt_id,
        if_busy=if_busy,
        model=model,
    )


@click.command("exec")
@text_argument
@file_option
@session_options
@command_option
@model_option
@timeout_option
@policy_options
@format_option
@autostart_option
@pass_state
def exec_command(
    state: State,
    text: tuple[str, ...],
    file: str | None,
    session: str | None,
    agent: str | None,
    cwd: str | None,
    command: str | None,
    model: str | None,
    timeout: float | None,
    policy: str | None,
    style: str,
    autostart: bool,
) -> int:
    """Send one prompt to a session of its own, which ends with it. Options and exit codes as `prompt`.

    \b
      trio-broker exec "what changed in the last commit?" --format quiet
    """
    target = find_target(state, session, agent, cwd, command)
    target = attrs.evolve(target, key=session or f"exec:{target.key}#{uuid.uuid4().hex[:8]}")
    words = read_prompt(text, file)
    chosen = choose_policy(state, policy)
    ensure_broker(state, autostart=autostart)
    target = choose_missing_agent(state, target)
    return _prompt(state, target, words, chosen, style, timeout, owns_session=True, model=model)


def _prompt(
    state: State,
    target: SessionTarget,
    text: str,
    policy: str | None,
    style: str,
    timeout: float | None,
    *,
    owns_session: bool,
    prompt_id: str | None = None,
    if_busy: str | None = None,
    model: str | None = None,
) -> int:
    from trio_broker.cli.daily.render import renderer
    from trio_broker.cli.daily.turn import PromptTurn

    turn = PromptTurn(state.connect, target, text, renderer(style), policy, timeout, owns_session)
    turn.prompt_id, turn.if_busy = prompt_id or turn.prompt_id, if_busy
    turn.model = model
    return run(turn.run)


def _submit(state: State, target: SessionTarget, text: str, style: str, extra: dict[str, str]) -> int:
    submitted = run(_open_and_submit, state, target, text, extra)
    if style == "json":
        print_json({"action": "prompt_queued", **submitted})
    else:
        click.echo(submitted["promptId"])
        if style == "text":
            position = f"{submitted['position']} before it" if submitted["position"] else "it runs next"
            if "ended" in submitted:
                position = f"it has run already: {submitted['ended']['outcome']}"
            click.echo(f"queued in session {target.key}: {position}", err=True)
    return 0


async def _open_and_submit(
    state: State, target: SessionTarget, text: str, extra: dict[str, str]
) -> dict[str, Any]:
    from trio_broker.cli.events import print_resumed, start_reporter
    from trio_broker.cli.session_settings import set_model

    chosen = {"policy": extra["policy"]} if "policy" in extra else {}
    async with state.connect(on_message=start_reporter()) as client:
        opened = await client.call("_trio_broker/open", target.open_params(**chosen))
        print_resumed(opened)
        await set_model(client, opened, extra.pop("model", None))
        params = {"sessionId": opened["sessionId"], "prompt": [{"type": "text", "text": text}], **extra}
        submitted: dict[str, Any] = await client.call("_trio_broker/submit", params)
    return submitted | {"sessionId": opened["sessionId"], "key": opened["key"]}


@click.command("cancel")
@session_options
@click.option(
    "--prompt-id", metavar="ID", help="This prompt, running or queued, rather than the running turn."
)
@format_option
@pass_state
def cancel_command(
    state: State, session: str | None, agent: str | None, cwd: str | None, prompt_id: str | None, style: str
) -> int:
    """Cancel the running turn of a session; what is queued behind it runs on.

    \b
      trio-broker cancel -s review
    """
    target = resolve_session(state, session, agent, cwd)
    params = {"key": target.key} | ({} if prompt_id is None else {"promptId": prompt_id})
    cancelled = run(_cancel, state, params)
    if style == "json":
        print_json({"action": "cancelled", "key": target.key, **cancelled})
    elif style == "text":
        nothing = "nothing runs there: nothing to cancel"
        if prompt_id is not None:
            shown = "`trio-broker queue list` shows those that do"
            nothing = f"prompt {safe(prompt_id)!r} neither runs nor waits there; {shown}"
        words = {"turn": "the running turn is cancelled", "queued": "the queued prompt is withdrawn"}
        click.echo(words.get(cancelled["cancelled"], nothing), err=True)
    return 0


async def _cancel(state: State, params: dict[str, Any]) -> dict[str, Any]:
    async with state.connect() as client:
        cancelled: dict[str, Any] = await client.call("_trio_broker/cancel", params)
    return cancelled
