"""`compare`: one prompt, several agents at once, each in a session of its own which ends with it."""

from __future__ import annotations

import signal
import time
import uuid
from typing import Any

import attrs
import click
import trio

from trio_broker.cli.daily.prompt import TIMEOUT
from trio_broker.cli.daily.turn import CLOSE_PATIENCE, DENIED, INTERRUPTED, Permissions
from trio_broker.cli.daily.turn import TIMEOUT as TIMED_OUT
from trio_broker.cli.error_output import EXIT_CODES, error_text
from trio_broker.cli.events import EVENT, content_text, session_update
from trio_broker.cli.options import (
    autostart_option,
    file_option,
    format_option,
    model_option,
    policy_options,
    read_prompt,
)
from trio_broker.cli.output import format_duration, print_json, print_stderr, safe, safe_lines
from trio_broker.cli.session_settings import set_model
from trio_broker.cli.session_target import SessionTarget, find_target
from trio_broker.cli.state import State, ensure_broker, first_error, pass_state, run
from trio_broker.client import Client
from trio_broker.errors import BrokerError, Misuse
from trio_broker.policy import Policy
from trio_broker.wire import jsonrpc
from trio_broker.wire.jsonrpc import Message


@attrs.define(eq=False)
class Run:
    """What came of the prompt with one agent."""

    agent: str
    text: str = ""
    outcome: str | None = None  # the stop reason
    error: str | None = None
    usage: dict[str, Any] | None = None
    seconds: float = 0.0
    code: int = 0
    permissions: Permissions = attrs.field(factory=Permissions)

    def hear(self, message: Message) -> None:
        if message.method == EVENT:
            event = jsonrpc.decode(message.params)
            if event["kind"] == "answer":
                self.permissions.count(event)
            return
        update = session_update(message)
        if update.get("sessionUpdate") == "agent_message_chunk":
            self.text += content_text(update.get("content"))
        elif update.get("sessionUpdate") == "usage_update":
            self.usage = {name: update[name] for name in ("used", "size", "cost") if name in update}

    def end(self, reason: str) -> None:
        self.outcome = reason
        self.code = {"cancelled": INTERRUPTED, "refusal": 1}.get(reason, 0)
        if self.permissions.refused:
            self.code = self.code or DENIED
            self.error = "every permission it asked for was denied"


@click.command("compare")
@click.argument("words", nargs=-1, metavar="AGENT... TEXT")
@file_option
@click.option("--cwd", metavar="DIR", help="Work there instead of here.")
@model_option
@TIMEOUT
@policy_options
@format_option
@autostart_option
@pass_state
def compare_command(
    state: State,
    words: tuple[str, ...],
    file: str | None,
    cwd: str | None,
    model: str | None,
    timeout: float | None,
    policy: str | None,
    style: str,
    autostart: bool,
) -> int:
    """Send the same prompt to several agents at once, and show their answers one after the other.

    \b
      trio-broker compare claude codex "is there a race in pool.py?"
      trio-broker compare claude gemini -f question.md --format json

    Each works in a session of its own, in the same directory: ask for words, not for changes. Reads are approved,
    the rest is denied, unless an option says otherwise; with --ask, questions wait for `trio-broker allow`.

    Exit code: 0 if all are done, else that of the first agent, as they are named, that is not; it is 5 where every
    permission was denied.
    """
    agents, text = (
        (words, read_prompt((), file)) if file is not None else (words[:-1], read_prompt(words[-1:], None))
    )
    if not agents:
        raise Misuse('name the agents, then the prompt: `trio-broker compare claude codex "…"`')
    scopes = [find_target(state, None, agent, cwd) for agent in agents]
    ensure_broker(state, autostart=autostart)
    comparing = Comparing(state, text, policy or Policy.APPROVE_READS.value, model, timeout)
    runs = run(comparing.run, scopes)
    _show(text, runs, style)
    return next((one.code for one in runs if one.code), 0)


@attrs.define(eq=False)
class Comparing:
    """One prompt under way with several agents."""

    state: State
    text: str
    policy: str
    model: str | None = None
    seconds: float | None = None
    _prompting: list[trio.CancelScope] = attrs.field(factory=list)

    async def run(self, scopes: list[SessionTarget]) -> list[Run]:
        """All of them, in the order of `scopes`. Ctrl-C ends those that still work; none of them leaves a session."""
        runs = [Run(str(scope.agent)) for scope in scopes]
        async with trio.open_nursery() as heeding:
            await heeding.start(self._heed_signals)
            async with trio.open_nursery() as nursery:
                for scope, one in zip(scopes, runs, strict=True):
                    nursery.start_soon(self._run_one, scope, one)
            heeding.cancel_scope.cancel()
        return runs

    async def _heed_signals(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                print_stderr("[cancelling] the sessions are closed")
                for scope in self._prompting:  # within their connections, which close the sessions
                    scope.cancel()

    async def _run_one(self, scope: SessionTarget, one: Run) -> None:
        begun = time.monotonic()
        one.error, one.code = "interrupted", INTERRUPTED  # unless it comes to something else
        try:
            await self._in_a_session(scope, one)
        except* BrokerError as group:
            error: BrokerError = first_error(group)
            one.error, one.code = error_text(error), EXIT_CODES.get(error.code, 1)
        finally:
            one.seconds = time.monotonic() - begun
            print_stderr(
                f"[{'done' if one.outcome else 'failed'}] {safe(one.agent)}, {format_duration(one.seconds)}"
            )

    async def _in_a_session(self, scope: SessionTarget, one: Run) -> None:
        scope = attrs.evolve(scope, key=f"compare:{scope.key}#{uuid.uuid4().hex[:8]}")
        async with self.state.connect(on_message=one.hear) as client:
            try:
                with trio.CancelScope() as prompting:
                    self._prompting.append(prompting)
                    await self._in_time(client, scope, one)
            finally:
                with trio.move_on_after(CLOSE_PATIENCE, shield=True):
                    try:
                        await client.call("_trio_broker/close", {"key": scope.key})
                    except BrokerError:
                        pass  # it was never opened, or the broker is gone: the prompt's own error tells

    async def _in_time(self, client: Client, scope: SessionTarget, one: Run) -> None:
        with trio.move_on_after(float("inf") if self.seconds is None else self.seconds) as patience:
            opened = await client.call("_trio_broker/open", scope.open_params(policy=self.policy))
            await set_model(client, opened, self.model)
            asked = {"sessionId": opened["sessionId"], "prompt": [{"type": "text", "text": self.text}]}
            result = await client.call("session/prompt", asked)
            one.error = None
            one.end(str(result.get("stopReason") if isinstance(result, dict) else None))
        if patience.cancelled_caught:
            one.error, one.code = f"timed out after {self.seconds:g} s (--timeout)", TIMED_OUT


def _show(text: str, runs: list[Run], style: str) -> None:
    if style == "json":
        print_json({"action": "compared", "prompt": text, "results": [attrs.asdict(one) for one in runs]})
        return
    for one in runs:
        if style == "text":
            how = one.outcome or "failed"
            click.echo(f"== {safe(one.agent)} ({safe(how)}, {format_duration(one.seconds)})")
        answer = safe_lines(one.text).rstrip("\n")
        click.echo(answer + "\n" if answer else "", nl=False)
        if one.error is not None:
            click.echo(f"trio-broker: {safe(one.agent)}: {safe_lines(one.error)}", err=True)
        if style == "text" and one is not runs[-1]:
            click.echo()
