"""`compare`: one prompt, several agents at once, each in a session of its own which ends with it."""

from __future__ import annotations

import signal
import time
import uuid
from typing import Any

import attrs
import click
import trio

from trio_broker.auth.policy import Policy
from trio_broker.cli.daily.prompt import timeout_option
from trio_broker.cli.daily.turn import CLOSE_TIMEOUT, DENIED, INTERRUPTED, PermissionCounts
from trio_broker.cli.daily.turn import TIMEOUT as TIMEOUT_CODE
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
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import Message


@attrs.define(eq=False)
class AgentResult:
    """What came of the prompt with one agent."""

    agent: str
    text: str = ""
    outcome: str | None = None  # the stop reason
    error: str | None = None
    usage: dict[str, Any] | None = None
    seconds: float = 0.0
    code: int = 0
    permissions: PermissionCounts = attrs.field(factory=PermissionCounts)

    def on_message(self, message: Message) -> None:
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

    def finish(self, reason: str) -> None:
        self.outcome = reason
        self.code = {"cancelled": INTERRUPTED, "refusal": 1}.get(reason, 0)
        if self.permissions.all_denied:
            self.code = self.code or DENIED
            self.error = "every permission it asked for was denied"


@click.command("compare")
@click.argument("words", nargs=-1, metavar="AGENT... TEXT")
@file_option
@click.option("--cwd", metavar="DIR", help="Work there instead of here.")
@model_option
@timeout_option
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
    targets = [find_target(state, None, agent, cwd) for agent in agents]
    ensure_broker(state, autostart=autostart)
    comparison = Comparison(state, text, policy or Policy.APPROVE_READS.value, model, timeout)
    results = run(comparison.run, targets)
    _print_results(text, results, style)
    return next((result.code for result in results if result.code), 0)


@attrs.define(eq=False)
class Comparison:
    """One prompt under way with several agents."""

    state: State
    text: str
    policy: str
    model: str | None = None
    seconds: float | None = None
    _prompt_scopes: list[trio.CancelScope] = attrs.field(factory=list)

    async def run(self, targets: list[SessionTarget]) -> list[AgentResult]:
        """All of them, in the order of `targets`. Ctrl-C ends those that still work; none of them leaves a session."""
        results = [AgentResult(str(target.agent)) for target in targets]
        async with trio.open_nursery() as signals_nursery:
            await signals_nursery.start(self._handle_signals)
            async with trio.open_nursery() as nursery:
                for target, result in zip(targets, results, strict=True):
                    nursery.start_soon(self._run_agent, target, result)
            signals_nursery.cancel_scope.cancel()
        return results

    async def _handle_signals(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                print_stderr("[cancelling] the sessions are closed")
                for scope in self._prompt_scopes:  # within their connections, which close the sessions
                    scope.cancel()

    async def _run_agent(self, target: SessionTarget, result: AgentResult) -> None:
        started = time.monotonic()
        result.error, result.code = "interrupted", INTERRUPTED  # unless it comes to something else
        try:
            await self._prompt_in_session(target, result)
        except* BrokerError as group:
            error: BrokerError = first_error(group)
            result.error, result.code = error_text(error), EXIT_CODES.get(error.code, 1)
        finally:
            result.seconds = time.monotonic() - started
            print_stderr(
                f"[{'done' if result.outcome else 'failed'}] {safe(result.agent)}, {format_duration(result.seconds)}"
            )

    async def _prompt_in_session(self, target: SessionTarget, result: AgentResult) -> None:
        target = attrs.evolve(target, key=f"compare:{target.key}#{uuid.uuid4().hex[:8]}")
        async with self.state.connect(on_message=result.on_message) as client:
            try:
                with trio.CancelScope() as prompt_scope:
                    self._prompt_scopes.append(prompt_scope)
                    await self._prompt_with_timeout(client, target, result)
            finally:
                with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                    try:
                        await client.call("_trio_broker/close", {"key": target.key})
                    except BrokerError:
                        pass  # it was never opened, or the broker is gone: the prompt's own error tells

    async def _prompt_with_timeout(self, client: Client, target: SessionTarget, result: AgentResult) -> None:
        with trio.move_on_after(float("inf") if self.seconds is None else self.seconds) as timeout_scope:
            opened = await client.call("_trio_broker/open", target.open_params(policy=self.policy))
            await set_model(client, opened, self.model)
            params = {"sessionId": opened["sessionId"], "prompt": [{"type": "text", "text": self.text}]}
            answer = await client.call("session/prompt", params)
            result.error = None
            result.finish(str(answer.get("stopReason") if isinstance(answer, dict) else None))
        if timeout_scope.cancelled_caught:
            result.error, result.code = f"timed out after {self.seconds:g} s (--timeout)", TIMEOUT_CODE


def _print_results(text: str, results: list[AgentResult], style: str) -> None:
    if style == "json":
        print_json(
            {"action": "compared", "prompt": text, "results": [attrs.asdict(result) for result in results]}
        )
        return
    for result in results:
        if style == "text":
            how = result.outcome or "failed"
            click.echo(f"== {safe(result.agent)} ({safe(how)}, {format_duration(result.seconds)})")
        answer = safe_lines(result.text).rstrip("\n")
        click.echo(answer + "\n" if answer else "", nl=False)
        if result.error is not None:
            click.echo(f"trio-broker: {safe(result.agent)}: {safe_lines(result.error)}", err=True)
        if style == "text" and result is not results[-1]:
            click.echo()
