"""`logs`: what an agent says beside the protocol."""

from __future__ import annotations

import sys
from typing import Any

import click

from trio_broker.cli.options import format_option, session_options
from trio_broker.cli.output import print_json, safe, safe_lines
from trio_broker.cli.session_target import resolve_session
from trio_broker.cli.state import State, pass_state, run

POLL_INTERVAL = 0.3  # seconds between two looks


@click.command("logs")
@session_options
@click.option("--follow", is_flag=True, help="Go on until Ctrl-C, over restarts of the agent.")
@format_option
@pass_state
def logs_command(
    state: State, session: str | None, agent: str | None, cwd: str | None, follow: bool, style: str
) -> None:
    """Show the last words of a session's agent on stderr, then the lines it wrote that are no messages.

    \b
      trio-broker logs -s review
      trio-broker logs --follow

    quiet leaves those lines out. How much is kept: stderr_ring in [broker].
    """
    key = resolve_session(state, session, agent, cwd).key
    if follow:
        run(_follow, state, key, style)
        return
    found = state.call("_trio_broker/logs", {"key": key})
    if style == "json":
        print_json({"key": key, **found})
    else:
        _print_logs(found["stderr"], found["rejected"], style)


def _print_logs(stderr: str, rejected: list[str], style: str) -> None:
    if style == "json":
        if stderr or rejected:
            print_json({"stderr": stderr, "rejected": rejected})
        return
    sys.stdout.write(safe_lines(stderr))
    if rejected and style == "text":
        sys.stdout.write("\n" if stderr and not stderr.endswith("\n") else "")
        sys.stdout.write("".join(f"[rejected] {safe(line)}\n" for line in rejected))
    sys.stdout.flush()


async def _follow(state: State, key: str, style: str) -> None:
    import trio

    async with state.connect() as client:
        last: dict[str, Any] = {"pid": None, "end": 0, "rejectedCount": 0}
        while True:
            now = await client.call("_trio_broker/logs", {"key": key, "since": last["end"]})
            if now["pid"] is None:  # the next one is not there yet
                await trio.sleep(POLL_INTERVAL)
                continue
            if now["pid"] != last["pid"] and last["pid"] is not None:  # its positions begin anew
                click.echo(f"[agent] another process: {now['pid']}", err=True)
                last = {"pid": now["pid"], "end": 0, "rejectedCount": 0}
                continue
            new_lines = min(now["rejectedCount"] - last["rejectedCount"], len(now["rejected"]))
            _print_logs(now["stderr"], now["rejected"][-new_lines:] if new_lines else [], style)
            last = now
            await trio.sleep(POLL_INTERVAL)
