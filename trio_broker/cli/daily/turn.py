"""One prompt from the command line: what it shows, how it is interrupted, and what its exit code says."""

from __future__ import annotations

import shlex
import signal
import sys
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import attrs
import trio

from trio_broker.auth.policy import Policy
from trio_broker.cli.daily.render import Renderer
from trio_broker.cli.events import (
    ELICITATION,
    EVENT,
    answer_text,
    ask_text,
    child_text,
    print_resumed,
    start_reporter,
)
from trio_broker.cli.output import print_stderr, safe
from trio_broker.cli.permissions.terminal import Questions
from trio_broker.cli.session_settings import set_model
from trio_broker.cli.session_target import SessionTarget, is_interactive
from trio_broker.client import Client, refuse_all
from trio_broker.errors import BrokerError, Misuse
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.extensions import META_KEY
from trio_broker.protocol.jsonrpc import Message

PERMISSION = "session/request_permission"
SHOWN: dict[str, Any] = {
    "elicitation": {"form": {}, "url": {}}
}  # what a person at a terminal is asked besides permissions
ENDED_PHASES = ("dead", "closed")
PERMISSION_OUTCOMES = ("selected", "cancelled", "expired")  # to permissions
OK, ERROR, TIMEOUT, DENIED, INTERRUPTED = 0, 1, 3, 5, 130
MAX_HELD = 500  # messages
CLOSE_TIMEOUT = 45.0  # seconds for the session of an `exec` to end; the broker escalates before that


@attrs.define
class PermissionCounts:
    """What became of those that an agent asked for."""

    approved: int = 0
    denied: int = 0

    def count(self, event: dict[str, Any]) -> bool | None:
        """Whether an `answer` event allows; None if it is none to a permission."""
        if event.get("method", PERMISSION) != PERMISSION or event["outcome"] not in PERMISSION_OUTCOMES:
            return None
        allowed = str(event.get("optionKind") or "").startswith("allow")
        self.approved += allowed
        self.denied += not allowed
        return allowed

    @property
    def all_denied(self) -> bool:
        """All of them, and there were some."""
        return bool(self.denied and not self.approved)


@attrs.define(eq=False)
class PromptTurn:
    """Runs one prompt and counts what was answered on the way. `text` is the prompt.

    `owns_session`: the session is this prompt's alone and ends with it (`exec`), however that comes.
    """

    connect: Callable[..., AbstractAsyncContextManager[Client]]
    target: SessionTarget
    text: str
    renderer: Renderer
    policy: str | None = None
    seconds: float | None = None
    owns_session: bool = False
    if_busy: str | None = None
    model: str | None = None
    prompt_id: str = attrs.field(factory=lambda: uuid.uuid4().hex)
    session_id: str = ""
    prompt_sent: bool = False  # the prompt is on its way: what cancels before that has no turn to cancel
    outcome: str | None = None  # as the broker's log has it
    permissions: PermissionCounts = attrs.field(factory=PermissionCounts)
    interrupts: int = 0
    turn_running: bool = False  # our turn: what comes before and after it is of other prompts
    timed_out: bool = False
    answered_here: int = 0  # answers given here that the log has not told of yet
    output_closed: bool = False  # nobody reads our stdout any more
    exit_code: int | None = None  # None: left before its end
    questions: Questions = attrs.field(factory=Questions)
    _held: list[Message] = attrs.field(factory=list, init=False)  # not shown yet: a question is open
    _client: Client | None = attrs.field(default=None, init=False)
    _prompt_scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _report_start: Any = attrs.field(factory=start_reporter)

    async def run(self) -> int:
        """Open the session, prompt, show; the exit code. Raises BrokenPipeError when nobody reads what it shows."""
        on_request = self._answer_request if self._interactive else refuse_all
        async with (
            self.connect(on_message=self._on_message, on_request=on_request) as client,
            trio.open_nursery() as nursery,  # of its own: whoever leaves is still written to its end
        ):
            self._client = client
            await nursery.start(self._handle_signals, client)
            if self.owns_session:
                await self._check_key_is_free(client)
            try:
                with self._prompt_scope:
                    self.exit_code = await self._open_and_prompt(client)
            finally:
                if self.owns_session:
                    await self._close(client)  # noqa: ASYNC102  # shielded there, and bounded
            nursery.cancel_scope.cancel()
        return self._finish()

    async def _answer_request(self, message: Message) -> object:
        try:
            answer = await self.questions.answer(message, self._waiting_asks)
        finally:
            self._show_held()
        self.answered_here += 1
        return answer

    async def _waiting_asks(self) -> list[dict[str, Any]]:
        """The questions of this session; none if the broker does not tell."""
        assert self._client is not None, "it has asked"
        try:
            found: list[dict[str, Any]] = (
                await self._client.call("_trio_broker/asks", {"key": self.target.key})
            )["asks"]
        except BrokerError:
            return []
        return found

    def _finish(self) -> int:
        if self.exit_code is not None:
            return self.exit_code
        print_stderr(self._detach_reason() + self._detach_note())
        if self.output_closed:
            raise BrokenPipeError
        return TIMEOUT if self.timed_out else INTERRUPTED

    def _detach_reason(self) -> str:
        if self.timed_out and not self.prompt_sent:
            when = "" if self.session_id else ", before the session had started"
            return f"timed out after {self.seconds:g} s{when} (--timeout)"
        return "nobody reads the output" if self.output_closed else "detached"

    def _detach_note(self) -> str:
        key = shlex.quote(self.target.key)
        if self.owns_session:
            return "; the session has ended"
        if not self.session_id:
            return f"; it goes on starting, to end it: `trio-broker sessions close -s {key}`"
        if not self.prompt_sent:
            return "; the prompt was not sent"
        return f": the turn goes on; to end it: `trio-broker cancel -s {key}`"

    async def _check_key_is_free(self, client: Client) -> None:
        """What ends with this prompt must not be somebody's session."""
        found = (await client.call("_trio_broker/sessions"))["sessions"]
        if any(view["key"] == self.target.key and view["phase"] not in ENDED_PHASES for view in found):
            raise Misuse(
                f"session {self.target.key!r} is there already, and `exec` would end it; "
                "leave out -s, or use `prompt`"
            )

    async def _close(self, client: Client) -> None:
        verb = "kill" if self.interrupts > 1 else "close"
        with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
            try:
                await client.call(f"_trio_broker/{verb}", {"key": self.target.key})
            except BrokerError:
                pass  # it was never opened, or the broker is gone: the prompt's own error tells

    async def _open_and_prompt(self, client: Client) -> int:
        async with trio.open_nursery() as nursery:
            if self.seconds is not None:
                nursery.start_soon(self._time_out, client, self.seconds)
            more = {"clientCapabilities": SHOWN} if self._interactive else {}
            opened = await client.call(
                "_trio_broker/open", self.target.open_params(**self._policy_params(), **more)
            )
            print_resumed(opened)
            self.session_id = opened["sessionId"]
            await set_model(client, opened, self.model)
            result = await self._call(client)
            nursery.cancel_scope.cancel()
        self._show_held()
        reason = result.get("stopReason") if isinstance(result, dict) else None
        self.renderer.end(str(reason))
        return self._exit_code(str(reason), result)

    async def _call(self, client: Client) -> Any:
        busy = {} if self.if_busy is None else {"ifBusy": self.if_busy}
        meta = {META_KEY: {"promptId": self.prompt_id, **self._policy_params(), **busy}}
        blocks = [{"type": "text", "text": self.text}]
        self.prompt_sent = True
        return await client.call(
            "session/prompt", {"sessionId": self.session_id, "prompt": blocks, "_meta": meta}
        )

    async def _time_out(self, client: Client, seconds: float) -> None:
        await trio.sleep(seconds)
        self.timed_out = True
        if self.prompt_sent:
            await self._cancel(client)
        else:
            self._prompt_scope.cancel()

    async def _handle_signals(
        self, client: Client, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """The first Ctrl-C cancels the turn, the second one leaves it."""
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                self.interrupts += 1
                if self.interrupts > 1 or not self.prompt_sent:
                    self._prompt_scope.cancel()
                    continue
                effect = "kill the agent" if self.owns_session else "leave the turn to itself"
                print_stderr(f"\n[cancelling] once more to {effect}")
                await self._cancel(client)

    async def _cancel(self, client: Client) -> None:
        try:
            await client.call(
                "_trio_broker/cancel", {"sessionId": self.session_id, "promptId": self.prompt_id}
            )
        except BrokerError as error:  # the turn's own outcome tells the rest
            print_stderr(f"could not cancel: {error.message}")

    def _exit_code(self, reason: str, result: Any) -> int:
        if self.timed_out:
            how = "" if reason == "cancelled" else f", which its agent answered with {safe(reason)}"
            print_stderr(f"timed out after {self.seconds:g} s; the turn was cancelled{how} (--timeout)")
            return TIMEOUT
        if self.interrupts:
            return INTERRUPTED
        all_denied = self.permissions.all_denied
        by_itself = (
            reason == "cancelled" and self.outcome == "completed"
        )  # some agents end a turn so when denied
        if reason in ("cancelled", "refusal") and not (all_denied and by_itself):
            meta = result.get("_meta") or {}
            note = (meta.get(META_KEY) or {}).get("note") if isinstance(meta, dict) else None
            print_stderr(f"the turn ended as {reason}" + (f": {safe(note)}" if note else ""))
            return ERROR if reason == "refusal" else INTERRUPTED
        if all_denied:
            print_stderr(f"every permission the agent asked for was denied{self._policy_hint()}")
            return DENIED
        return OK

    def _policy_hint(self) -> str:
        """What would have allowed more; nothing where a person decided."""
        if self._interactive or self.policy == Policy.ASK.value:
            return ""
        reads = "" if self.policy == Policy.APPROVE_READS.value else "--approve-reads or "
        return f"; allow with {reads}--approve-all, or have each wait for an answer with --ask"

    @property
    def _interactive(self) -> bool:
        """Questions are asked here, on the terminal."""
        return self.policy in (None, Policy.ASK.value) and is_interactive()

    def _policy_params(self) -> dict[str, str]:
        return {} if self.policy is None else {"policy": self.policy}

    def _on_message(self, message: Message) -> None:
        if message.method == EVENT:
            self._on_event(message)
        elif message.method is None:
            if _ends_turn(message):
                self.turn_running = False
                self._show(message)
        elif self.turn_running and message.session_id == self.session_id:
            self._show(message)

    def _show(self, message: Message) -> None:
        """Show a message; while a question is open at this terminal, after it, as its text would cover the question."""
        if self.questions.is_open and sys.stdout.isatty():
            self._held.append(message)
            if len(self._held) < MAX_HELD:
                return
            self.questions.covered = True
            self._show_held()
            return
        self._render(message)

    def _show_held(self) -> None:
        held, self._held = self._held, []
        for message in held:
            self._render(message)

    def _render(self, message: Message) -> None:
        try:
            self.renderer.message(message)
        except BrokenPipeError:
            self.output_closed = True
            self._prompt_scope.cancel()

    def _on_event(self, message: Message) -> None:
        event = jsonrpc.decode(message.params)
        kind = event.get("kind")
        if kind == "starting":
            self._report_start(message)
        elif kind == "queued" and event.get("promptId") == self.prompt_id:
            self._on_queued(event)
        elif kind == "started":
            self.turn_running = event["promptId"] == self.prompt_id
        elif kind == "ended" and event["promptId"] == self.prompt_id:
            self.outcome = event["outcome"]
        elif kind == "note" and self.turn_running:
            print_stderr(f"[note] {safe(str(event.get('text')))}")
        elif kind == "ask" and self.turn_running and not self._interactive:
            print_stderr(f"[waiting] {ask_text(event)}")
        elif kind == "child" and self.turn_running and (text := child_text(event)) is not None:
            print_stderr(f"[child] {text}")
        elif kind == "answer" and self.turn_running:
            self._on_answer(event)

    def _on_queued(self, event: dict[str, Any]) -> None:
        by = f", {event['event']} by {safe(str(event.get('by')))}" if "event" in event else ""
        print_stderr(
            f"[queued] {event['position']} before this one{by}" if event["position"] else f"[queued]{by}"
        )

    def _on_answer(self, event: dict[str, Any]) -> None:
        if (allowed := self.permissions.count(event)) is not None:
            verb = "allowed" if allowed else "denied"
            what = "permission"
        elif event.get("method") == ELICITATION:
            verb, what = answer_text(event), "question"
        else:
            return
        if self._interactive and event.get("askId") and self.answered_here:
            self.answered_here -= 1
            return
        why = f": {safe(str(event['note']))}" if event.get("note") else ""
        print_stderr(f"[{what}] {safe(str(event.get('title')))}: {verb} by {safe(str(event.get('by')))}{why}")


def _ends_turn(reply: Message) -> bool:
    """Whether a reply is that of the prompt; the broker's own verbs succeed, and have no stop reason."""
    return reply.error is not None or b'"stopReason"' in (reply.result or b"")
