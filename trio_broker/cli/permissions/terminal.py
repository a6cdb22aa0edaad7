"""Permission questions on a terminal: the person at it is asked, with the options the agent gave."""

from __future__ import annotations

import sys
from typing import Any

import trio

from trio_broker.cli.output import print_stderr, safe
from trio_broker.errors import RemoteError
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import Message


async def answer_request(message: Message) -> dict[str, Any]:
    """Answer a permission request, or an elicitation, from the terminal. Cancelled when that is not needed any more."""
    if message.method == "elicitation/create":
        from trio_broker.cli.permissions.form import answer_elicitation  # late, as below

        return await answer_elicitation(jsonrpc.decode(message.params))
    if message.method != "session/request_permission":
        raise RemoteError(jsonrpc.METHOD_NOT_FOUND, f"Method not found: {message.method}")
    # Late: most prompts ask nothing.
    from trio_broker.protocol import acp
    from trio_broker.protocol.codec import structure

    request = structure(message.params, acp.RequestPermissionRequest)
    print_stderr(f"\n[permission] {safe(str(request.tool_call.get('title') or 'the agent asks'))}")
    for number, option in enumerate(request.options, 1):
        print_stderr(f"  {number}) {safe(option.name)}")
    try:
        chosen = await _read_choice(len(request.options))
    except trio.Cancelled:
        print_stderr("  (no answer is needed any more)")
        raise
    outcome = acp.CANCELLED if chosen is None else acp.selected(request.options[chosen].option_id)
    return {"outcome": outcome}


async def _read_choice(count: int) -> int | None:
    """The index of the chosen option; None for an empty line, `c`, or the end of the input."""
    while True:
        sys.stderr.write(f"  1-{count}, or Enter to dismiss it for everybody: ")
        sys.stderr.flush()
        line = (await _read_line()).strip()
        if line in ("", "c"):
            return None
        if line.isdigit() and 1 <= int(line) <= count:
            return int(line) - 1
        print_stderr(f"  {safe(line)!r} is none of 1 to {count}")


async def _read_line() -> str:
    """A line of the terminal, which gives whole lines; waits without a thread, so it can be cancelled."""
    await trio.lowlevel.wait_readable(sys.stdin)
    return sys.stdin.readline()
