"""Questions of agents on a terminal: a form is filled in field by field and confirmed as a whole, a URL is shown.

Nothing is sent before the person has confirmed it, and what was typed before a question, or in the half second after
it has appeared, does not count. A URL is never opened by this program.
"""

from __future__ import annotations

import sys
import termios
from typing import Any
from urllib.parse import urlsplit

import trio

from trio_broker.cli.output import print_stderr, safe, safe_lines
from trio_broker.cli.permissions.keyboard import FOREGROUND_INTERVAL, GUARD, in_foreground
from trio_broker.errors import Misuse
from trio_broker.protocol.elicitation.field import Field, value_text
from trio_broker.protocol.elicitation.form import ACCEPT, CANCEL, DECLINE, URL, Form

Object = dict[str, Any]


async def answer_elicitation(params: Object) -> Object:
    """The result of an `elicitation/create` with these parameters. Cancelled when no answer is needed any more."""
    message = params.get("message")
    _print_block("\n[question] ", message if isinstance(message, str) else "the agent asks")
    try:
        await _wait_foreground()
        await trio.sleep(GUARD)
        _discard_typed_ahead()
        if params.get("mode") == URL:
            return await _answer_url(params.get("url"))
        return await _answer_form(Form.of(params.get("requestedSchema")))
    except trio.Cancelled:
        print_stderr("  (no answer is needed any more)")
        raise


async def _answer_form(form: Form) -> Object:
    for text in (form.title, form.description):
        if text:
            _print_block("  ", text)
    content: Object | None = form.defaults()
    while True:
        content = await _fill_in(form, content or form.defaults())
        action = await _confirm(form, content)
        if action is not None:
            return {"action": action} | ({"content": content} if action == ACCEPT else {})


async def _fill_in(form: Form, before: Object) -> Object | None:
    """The values of all fields; None if the person ended the input. `before`: the values that Enter takes."""
    content: Object = {}
    for field in form.fields:
        try:
            value = await _ask_field(field, before.get(field.name))
        except EOFError:
            print_stderr("")
            return None
        if value is not None:
            content[field.name] = value
    return content


async def _ask_field(field: Field, before: Any) -> Any:
    """A value that fits; None for an optional field that is left out. Raises EOFError."""
    required = ", required" if field.required else ""
    print_stderr(f"  {safe(field.title)} ({safe(field.expected)}{required})")
    if field.description:
        _print_block("    ", field.description)
    for number, choice in enumerate(field.choices, 1):
        more = f": {choice.description}" if choice.description else ""
        print_stderr(f"    {number}) {safe(choice.title + more)}")
    shown = "" if before is None else f" [{safe(value_text(before))}]"
    while True:
        line = await _read_line(f"  {safe(field.name)}{shown}: ")
        if not line.strip():
            if before is not None or not field.required:
                return before
            print_stderr(f"  field {safe(field.name)!r} is required")
            continue
        try:
            return field.parse_line(line)
        except Misuse as error:
            print_stderr(f"  {safe(error.message)}")


async def _confirm(form: Form, content: Object | None) -> str | None:
    """The action that the person chooses; None to edit the form again. `content`: None if it is not filled in."""
    for name, value in (content or {}).items():
        print_stderr(f"  {safe(name)} = {safe(value_text(value))}")
    choices = (
        {"d": DECLINE} | ({} if content is None else {"a": ACCEPT}) | ({"e": None} if form.fields else {})
    )
    words = {"a": "a = accept", "d": "d = decline", "e": "e = edit again"}
    offered = ", ".join(text for key, text in words.items() if key in choices)
    return await _choose(f"  {offered}, Ctrl-D = dismiss: ", choices)


async def _answer_url(url: object) -> Object:
    text = url if isinstance(url, str) else ""
    print_stderr(f"  {safe(text)}\n  host: {safe(_host(text))}")
    print_stderr("  Open it yourself if you trust that host.")
    choices: dict[str, str | None] = {"y": ACCEPT, "d": DECLINE}
    return {"action": await _choose("  y = opened, d = decline, Ctrl-D = dismiss: ", choices)}


def _host(url: str) -> str:
    """Where a URL leads, whatever stands before an @ in it; in ASCII, so that letters that look alike differ."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna").decode()
    except ValueError:
        return "none: this is not a URL"
    return (
        host
        if host and parts.scheme in ("http", "https")
        else f"{host or 'none'}, by {parts.scheme or 'no scheme'}"
    )


async def _choose(question: str, choices: dict[str, str | None]) -> str | None:
    """The choice of a key; `cancel` at the end of the input. Enter alone repeats the question."""
    _discard_typed_ahead()
    try:
        while (key := (await _read_line(question)).strip().lower()) not in choices:
            pass
    except EOFError:
        print_stderr("")
        return CANCEL
    return choices[key]


async def _read_line(question: str) -> str:
    """A line of the terminal, which gives whole lines. It waits without a thread, so it can be cancelled.

    Raises EOFError.
    """
    sys.stderr.write(question)
    sys.stderr.flush()
    await trio.lowlevel.wait_readable(sys.stdin)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.removesuffix("\n")


async def _wait_foreground() -> None:
    if not in_foreground(sys.stdin.fileno()):
        print_stderr("  bring this job to the foreground (`fg`) to answer here")
    while not in_foreground(sys.stdin.fileno()):  # noqa: ASYNC110  # the kernel sends no event for it
        await trio.sleep(FOREGROUND_INTERVAL)


def _discard_typed_ahead() -> None:
    """Forget the lines that were typed before the question: they answer something else."""
    try:
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
    except termios.error:
        pass  # the terminal is gone: reading says so


def _print_block(indent: str, text: str) -> None:
    """Lines of an agent, each of them indented: none looks like one of ours."""
    first, *others = safe_lines(text).split("\n")
    print_stderr("\n".join([f"{indent}{first}", *(f"  | {line}" for line in others)]))
