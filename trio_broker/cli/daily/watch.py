"""`watch`, `wait`."""

from __future__ import annotations

import re
from typing import Any

import click

from trio_broker.cli.options import POSITIVE, format_option, session_options
from trio_broker.cli.output import print_json, safe
from trio_broker.cli.session_target import resolve_session
from trio_broker.cli.state import State, pass_state, run
from trio_broker.errors import Misuse

TIMEOUT_CODE = 3


def compile_pattern(match: str) -> re.Pattern[str]:
    """Raises Misuse for what is no regular expression."""
    try:
        return re.compile(match, re.MULTILINE)
    except (re.error, RecursionError, OverflowError) as error:
        raise Misuse(f"--match: {match!r} is no regular expression: {error}") from error


@click.command("watch")
@session_options
@click.option("--since", type=int, metavar="N", help="From this number of its log on; 1 is the beginning.")
@format_option
@pass_state
def watch_command(
    state: State, session: str | None, agent: str | None, cwd: str | None, since: int | None, style: str
) -> None:
    """Follow a session until it is closed, or Ctrl-C: what the agent says, and what others ask of it.

    \b
      trio-broker watch -s review --since 1
    """
    target = resolve_session(state, session, agent, cwd)
    run(_watch, state, target.key, since, style)


async def _watch(state: State, key: str, since: int | None, style: str) -> None:
    import trio

    from trio_broker.cli.daily.render import renderer
    from trio_broker.cli.events import EVENT
    from trio_broker.protocol import jsonrpc
    from trio_broker.protocol.jsonrpc import Message

    turn_renderer, closed = renderer(style), trio.Event()

    def on_message(message: Message) -> None:
        if closed.is_set():  # what came with it is not shown: it is there or not, as it happens
            return
        if message.method != EVENT:
            if message.method is not None:
                turn_renderer.message(message)
            return
        event = jsonrpc.decode(message.params)
        if style == "json":
            print_json(event)
        elif style == "text":
            _print_event(event)
        if event["kind"] == "ended":
            why = event.get("note") or event.get("error")
            turn_renderer.end(
                str(event.get("stopReason") or (f"{event['outcome']}: {why}" if why else event["outcome"]))
            )
        if event["kind"] == "session" and event.get("event") == "closed":
            closed.set()

    async with state.connect(on_message=on_message) as client:
        await client.call("_trio_broker/attach", {"key": key} | ({} if since is None else {"since": since}))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when, closed, nursery.cancel_scope)
            nursery.start_soon(_cancel_when, client.disconnected, nursery.cancel_scope)
        if not closed.is_set():
            client.check_connected()


async def _cancel_when(event: Any, scope: Any) -> None:
    await event.wait()
    scope.cancel()


def _print_event(event: dict[str, Any]) -> None:
    from trio_broker.cli.events import (  # late, as above
        RESUMED,
        answer_text,
        ask_text,
        child_text,
        exit_text,
        session_event_text,
    )

    kind = event["kind"]
    if kind == "queued" and "event" in event:
        click.echo(
            f"[queue] {safe(event['promptId'])} {event['event']} by {safe(str(event['by']))}", err=True
        )
    elif kind == "started":
        texts = [block.get("text", "") for block in event.get("prompt") or () if isinstance(block, dict)]
        click.echo(f"[prompt] {safe(' '.join(texts))}", err=True)
    elif kind == "answer":
        click.echo(
            f"[permission] {safe(str(event.get('title')))}: {answer_text(event)} by {safe(str(event.get('by')))}",
            err=True,
        )
    elif kind == "ask":
        click.echo(f"[ask] {ask_text(event)}", err=True)
    elif kind == "child" and (text := child_text(event)) is not None:
        click.echo(f"[child] {text}", err=True)
    elif kind in ("agent", "session", "note", "gap"):
        text = event.get("note") or event.get("text") or event.get("why") or event.get("error") or ""
        what = session_event_text(event) if kind == "session" else event.get("event", "")
        if event.get("event") == "exited":
            text = exit_text(event)
        if event.get("event") == "resumed":
            text = text or RESUMED.get(event["how"], event["how"])
        click.echo(f"[{kind}] {what} {safe(str(text))}".rstrip(), err=True)


@click.command("wait")
@session_options
@click.option(
    "--until",
    type=click.Choice(["idle", "ask", "closed", "text"]),
    help="For what [default: idle, or text with --match].",
)
@click.option("--match", metavar="RE", help="For text: what the agent is to say, a regular expression.")
@click.option(
    "--since", type=click.IntRange(min=1), metavar="N", help="For text: from this number of its log on."
)
@click.option("--prompt-id", metavar="ID", help="Until this prompt has ended.")
@click.option("--timeout", type=POSITIVE, metavar="S", help="Give up after S seconds (exit code 3).")
@format_option
@pass_state
def wait_command(
    state: State,
    session: str | None,
    agent: str | None,
    cwd: str | None,
    until: str | None,
    match: str | None,
    since: int | None,
    prompt_id: str | None,
    timeout: float | None,
    style: str,
) -> int:
    """Wait until a session is idle (nothing runs, nothing is queued), asks something, is closed, or says something.

    \b
      trio-broker wait -s review && echo done
      trio-broker wait --until ask --timeout 60
      trio-broker wait --match "tests? passed" --since 1

    A match is looked for in what the agent says, not in its thoughts; it may span lines. Without --since, what was
    said before does not count. Exit code 3 after --timeout, 1 if the session ends before it says that.
    """
    if (until == "text" or match is not None) != (match is not None and until in (None, "text")):
        raise Misuse("--until text and --match RE go together")
    params = {"key": resolve_session(state, session, agent, cwd).key, "until": until or "idle"}
    if match is not None:
        found = run(_wait_text, state, params["key"], compile_pattern(match), since, timeout)
    else:
        found = run(_wait, state, params | ({} if prompt_id is None else {"promptId": prompt_id}), timeout)
    if found is None:
        click.echo(
            f"trio-broker: it has not come to that within {timeout:g} s; see `trio-broker status`", err=True
        )
        return TIMEOUT_CODE
    if style == "json":
        print_json(found)
    elif style == "text":
        how = f"said {safe(found['match'])}" if match is not None else f"is {found['phase']}"
        click.echo(f"session {safe(params['key'])} {how}", err=True)
    return 0


async def _wait_text(
    state: State,
    key: str,
    pattern: re.Pattern[str],
    since: int | None,
    timeout: float | None,  # noqa: ASYNC109  # the option
) -> dict[str, Any] | None:
    import trio

    from trio_broker.cli.daily.text_match import TextMatcher

    matcher = TextMatcher(pattern)
    async with state.connect(on_message=matcher.on_message) as client:
        params = {"key": key, "role": "observer"} | ({} if since is None else {"since": since})
        with trio.move_on_after(float("inf") if timeout is None else timeout):
            await client.call("_trio_broker/attach", params)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_when, matcher.done, nursery.cancel_scope)
                nursery.start_soon(_cancel_when, client.disconnected, nursery.cancel_scope)
            return matcher.result(key)
    return None


async def _wait(state: State, params: dict[str, Any], timeout: float | None) -> dict[str, Any] | None:  # noqa: ASYNC109  # the option
    import trio

    async with state.connect() as client:
        with trio.move_on_after(float("inf") if timeout is None else timeout):
            found: dict[str, Any] = await client.call("_trio_broker/wait", params)
            return found
    return None
