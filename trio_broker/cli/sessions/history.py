"""`sessions history | export | import | prune | delete`: what the journal holds of a session, a closed one too.

Exports and imports go page by page, so that neither the broker nor a turn waits long for one of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from textwrap import shorten
from typing import Any, BinaryIO

import click

from trio_broker.cli.events import RESUMED, exit_text, session_event_text
from trio_broker.cli.options import format_option, parse_duration, session_options
from trio_broker.cli.output import format_duration, print_json, progress, safe, safe_lines
from trio_broker.cli.session_target import resolve_session
from trio_broker.cli.state import State, ensure_broker, pass_state, run
from trio_broker.errors import Misuse
from trio_broker.protocol import jsonrpc

PAGE_LINES = 500  # lines of one call
PAGE_BYTES = 1024 * 1024  # bytes of one call that brings lines: nobody's turn waits long for their writing
FRAME_OVERHEAD = 256  # bytes of a call around its lines
MAX_PROMPT = 60  # characters by which a prompt is named


@click.command("history")
@session_options
@click.option("--id", "id", metavar="ID", help="The session of this id, a closed one too.")
@click.option("--since", type=int, metavar="N", help="From this number on.")
@format_option
@pass_state
def history(
    state: State,
    session: str | None,
    agent: str | None,
    cwd: str | None,
    id: str | None,
    since: int | None,
    style: str,
) -> None:
    """Show what was said and done, over all restarts: prompts, answers, tools, questions, ends.

    \b
      trio-broker sessions history -s review --format quiet
    """
    params = _session_params(state, session, agent, cwd, id)
    more = {} if since is None else {"since": since}
    found = run(call_with_progress, state, "replay", "_trio_broker/history", params | more)
    if style == "json":
        for item in found["items"]:
            print_json(item)
    else:
        show_history(found["items"], answers_only=style == "quiet")


@click.command("export")
@session_options
@click.option("--id", "id", metavar="ID", help="The session of this id, a closed one too.")
@click.option("-o", "--output", type=click.File("wb"), default="-", help="The file; - is stdout.")
@pass_state
def export(
    state: State, session: str | None, agent: str | None, cwd: str | None, id: str | None, output: BinaryIO
) -> None:
    """Write a session, with its whole log, as one file of NDJSON.

    \b
      trio-broker sessions export -s review -o review.ndjson
    """
    count = run(fetch_export, state, _session_params(state, session, agent, cwd, id), output)
    click.echo(f"{count} lines", err=True)


@click.command("import")
@click.argument("file", type=click.File("rb"))
@format_option
@pass_state
def import_(state: State, file: BinaryIO, style: str) -> None:
    """Take in an exported session, as a closed one: `sessions history --id` shows it. All of it, or nothing.

    \b
      trio-broker sessions import review.ndjson
    """
    ensure_broker(state, autostart=True)
    done = run(send_import, state, file, state.config.broker.max_line)
    _print_result(style, {"action": "session_imported", **done}, f"{done['lines']} lines imported")


@click.command("prune")
@click.option(
    "--older-than", required=True, metavar="30d", help="Closed for longer than so many s, m, h or d."
)
@format_option
@pass_state
def prune(state: State, older_than: str, style: str) -> None:
    """Forget sessions that were closed long ago, and what logs hold above keep_bytes.

    \b
      trio-broker sessions prune --older-than 30d
    """
    older_than_seconds = parse_duration(older_than)
    ensure_broker(state, autostart=True)
    pruned = run(call_with_progress, state, "prune", "_trio_broker/prune", {"olderThan": older_than_seconds})
    _print_result(style, {"action": "sessions_pruned", **pruned}, f"{pruned['deleted']} sessions forgotten")


@click.command("delete")
@session_options
@click.option("--id", "id", metavar="ID", help="The session of this id, a closed one too.")
@format_option
@pass_state
def delete(
    state: State, session: str | None, agent: str | None, cwd: str | None, id: str | None, style: str
) -> None:
    """End a session, and forget it with its log.

    \b
      trio-broker sessions delete -s review
    """
    params = _session_params(state, session, agent, cwd, id)
    state.call("_trio_broker/forget", params)
    _print_result(
        style, {"action": "session_forgotten", **params}, f"session {safe(id or params['key'])} is forgotten"
    )


def _session_params(
    state: State, session: str | None, agent: str | None, cwd: str | None, id: str | None
) -> dict[str, str]:
    """A session by its id, or the one that is meant; at a broker that is there, a closed one too."""
    if id is None:
        return {"key": resolve_session(state, session, agent, cwd, autostart=True).key}
    if session or agent or cwd:
        raise Misuse("--id names the session: leave out -s, -a and --cwd beside it")
    ensure_broker(state, autostart=True)
    return {"sessionId": id}


def _print_result(style: str, done: dict[str, Any], text: str) -> None:
    if style == "json":
        print_json(done)
    elif style == "text":
        click.echo(text, err=True)


def show_history(items: list[dict[str, Any]], *, answers_only: bool) -> None:
    """The items as text, a paragraph each; or the agent's answers alone."""
    for item in items:
        if answers_only:
            if item["kind"] == "text":
                click.echo(safe_lines(item["text"]))
            continue
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(item["at"]))
        click.echo(f"{at}  #{item['n']:<6} {item['kind']:8} {_item_text(item)}")


def _item_text(item: dict[str, Any]) -> str:
    if item["kind"] == "child":
        child = safe(str(item.get("childSessionId")))
        return f"{child}: {item.get('what')}: {_item_text(item | {'kind': item.get('what')})}"
    text = " ".join(safe_lines(item["text"]).split())
    if item["kind"] == "tool":
        return f"{text} ({safe(str(item['status']))})"
    if item["kind"] == "notice":
        return f"{safe(item['severity'])}: {text}" if isinstance(item["severity"], str) else text
    if item["kind"] == "answer":
        after = f" after {format_duration(item['after'])}" if item.get("after") is not None else ""
        note = f": {safe(item['note'])}" if item.get("note") else ""
        return f"{safe(str(item.get('title')))}: {text}, by {safe(str(item.get('by')))}{after}{note}"
    if item["kind"] == "end":
        how = safe(item["outcome"])
        if (prompt := item.get("prompt")) is not None:  # nothing else tells of it
            how += f" {shorten(safe(prompt), MAX_PROMPT, placeholder='…')!r}"
        return f"{how}: {text}" if text else how
    if item["kind"] == "plan":
        entries = [entry for entry in item["entries"] or () if isinstance(entry, dict)]
        return "; ".join(safe(f"[{entry.get('status')}] {entry.get('content')}") for entry in entries)
    if item["kind"] == "agent" and item.get("event") == "exited":
        return f"exited (pid {item.get('pid')}): {exit_text(item)}"
    if item["kind"] == "agent" and item.get("event") == "resumed":
        return f"resumed: {text if item.get('note') else RESUMED.get(text, text)}"
    if item["kind"] == "session" and not item.get("error"):
        return session_event_text(item)
    return text


async def fetch_export(state: State, params: dict[str, Any], output: BinaryIO) -> int:
    """Write a session's export page by page; the number of lines."""
    count, since = 0, 1
    async with state.connect() as client, progress("export") as shown:
        while since is not None:
            page = await client.call("_trio_broker/export", {**params, "since": since, "limit": PAGE_LINES})
            output.writelines(line.encode() for line in page["lines"])
            count, since = count + len(page["lines"]), page["next"]
            shown.last = f"{count} lines"
    return count


async def send_import(state: State, file: BinaryIO, limit: int) -> dict[str, Any]:
    """Have an export taken in, page by page; `limit`: the bytes of a message. The session's number, and the lines."""
    imported: dict[str, Any] = {}
    count = 0
    async with state.connect() as client, progress("import") as shown:
        for lines, more in _pages(file, limit):
            params = {**imported, "lines": lines, **({"more": True} if more else {})}
            imported = await client.call("_trio_broker/import", params)
            count += len(lines)
            shown.last = f"{count} lines"
    return {**imported, "lines": count}


def _pages(file: BinaryIO, limit: int) -> Iterator[tuple[list[str], bool]]:
    """The lines of a file, and whether more follow. Raises Misuse for those that are no text, or go into no message."""
    page: list[str] = []
    size = FRAME_OVERHEAD
    for line, length in _lines(file, limit):
        if page and size + length > min(PAGE_BYTES, limit):
            yield page, True
            page, size = [], FRAME_OVERHEAD
        page.append(line)
        size += length
    yield page, False


def _lines(file: BinaryIO, limit: int) -> Iterator[tuple[str, int]]:
    """Each line, which only a newline ends, and the bytes that it takes in a message."""
    at = 0
    while line := file.readline(limit):
        at += 1
        try:
            text = line.removesuffix(b"\n").decode()
        except UnicodeDecodeError as error:
            raise Misuse(
                f"{file.name} is not what `sessions export` writes: it is no UTF-8: line {at}: {error}"
            ) from error
        length = len(jsonrpc.encode(text)) + 1
        if length + FRAME_OVERHEAD > limit:
            raise Misuse(
                f"line {at} of {file.name} does not go into one message, which may have {limit} bytes; "
                "raise max_line in [broker], here and where the broker is"
            )
        yield text, length


async def call_with_progress(state: State, what: str, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """One call that may take long, as it reads or clears whole logs; a person sees for how long it has."""
    async with state.connect() as client, progress(what):
        result: dict[str, Any] = await client.call(method, params)
    return result
