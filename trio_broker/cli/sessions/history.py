"""The history of a session: shown, exported and imported."""

from __future__ import annotations

import time
from collections.abc import Iterator
from textwrap import shorten
from typing import Any, BinaryIO

import click

from trio_broker.cli.events import HOW, exited, session_event
from trio_broker.cli.output import ago, safe, safe_lines
from trio_broker.cli.progress import progress
from trio_broker.cli.state import State
from trio_broker.errors import Misuse
from trio_broker.wire import jsonrpc

PAGE = 500  # lines of one call
PAGE_SIZE = 1024 * 1024  # bytes of one call that brings lines: nobody's turn waits long for their writing
OVERHEAD = 256  # bytes of a call around its lines
NAMED = 60  # characters by which a prompt is named


def show_history(items: list[dict[str, Any]], *, answers_only: bool) -> None:
    """The items as text, a paragraph each; or the agent's answers alone."""
    for item in items:
        if answers_only:
            if item["kind"] == "text":
                click.echo(safe_lines(item["text"]))
            continue
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(item["at"]))
        click.echo(f"{at}  #{item['n']:<6} {item['kind']:8} {_line(item)}")


def _line(item: dict[str, Any]) -> str:
    text = " ".join(safe_lines(item["text"]).split())
    if item["kind"] == "tool":
        return f"{text} ({safe(str(item['status']))})"
    if item["kind"] == "answer":
        after = f" after {ago(item['after'])}" if item.get("after") is not None else ""
        note = f": {safe(item['note'])}" if item.get("note") else ""
        return f"{safe(str(item.get('title')))}: {text}, by {safe(str(item.get('by')))}{after}{note}"
    if item["kind"] == "end":
        how = safe(item["outcome"])
        if (unsent := item.get("prompt")) is not None:  # nothing else tells of it
            how += f" {shorten(safe(unsent), NAMED, placeholder='…')!r}"
        return f"{how}: {text}" if text else how
    if item["kind"] == "plan":
        entries = [entry for entry in item["entries"] or () if isinstance(entry, dict)]
        return "; ".join(safe(f"[{entry.get('status')}] {entry.get('content')}") for entry in entries)
    if item["kind"] == "agent" and item.get("event") == "exited":
        return f"exited (pid {item.get('pid')}): {exited(item)}"
    if item["kind"] == "agent" and item.get("event") == "resumed":
        return f"resumed: {text if item.get('note') else HOW.get(text, text)}"
    if item["kind"] == "session" and not item.get("error"):
        return session_event(item)
    return text


async def fetch_export(state: State, asked: dict[str, Any], output: BinaryIO) -> int:
    """Write a session's export page by page; the number of lines."""
    count, since = 0, 1
    async with state.connect() as client, progress("export") as shown:
        while since is not None:
            page = await client.call("_trio_broker/export", {**asked, "since": since, "limit": PAGE})
            output.writelines(line.encode() for line in page["lines"])
            count, since = count + len(page["lines"]), page["next"]
            shown.last = f"{count} lines"
    return count


async def send_import(state: State, file: BinaryIO, limit: int) -> dict[str, Any]:
    """Have an export taken in, page by page; `limit`: the bytes of a message. The session's number, and the lines."""
    taken: dict[str, Any] = {}
    count = 0
    async with state.connect() as client, progress("import") as shown:
        for lines, more in _pages(file, limit):
            asked = {**taken, "lines": lines, **({"more": True} if more else {})}
            taken = await client.call("_trio_broker/import", asked)
            count += len(lines)
            shown.last = f"{count} lines"
    return {**taken, "lines": count}


def _pages(file: BinaryIO, limit: int) -> Iterator[tuple[list[str], bool]]:
    """The lines of a file, and whether more follow. Raises Misuse for those that are no text, or go into no message."""
    page: list[str] = []
    size = OVERHEAD
    for line, length in _lines(file, limit):
        if page and size + length > min(PAGE_SIZE, limit):
            yield page, True
            page, size = [], OVERHEAD
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
        if length + OVERHEAD > limit:
            raise Misuse(
                f"line {at} of {file.name} does not go into one message, which may have {limit} bytes; "
                "raise max_line in [broker], here and where the broker is"
            )
        yield text, length


async def call_slowly(state: State, what: str, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """One call that may take long, as it reads or clears whole logs; a person sees for how long it has."""
    async with state.connect() as client, progress(what):
        result: dict[str, Any] = await client.call(method, params)
    return result
