"""One prompt from the command line: what it shows, how it is interrupted, and what its exit code says."""

from __future__ import annotations

import shlex
import signal
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import attrs
import trio

from trio_broker.cli.daily.render import Renderer
from trio_broker.cli.events import EVENT, print_resumed, start_reporter
from trio_broker.cli.output import print_stderr, safe
from trio_broker.cli.permissions.terminal import ask_person
from trio_broker.cli.session_settings import set_model
from trio_broker.cli.session_target import SessionTarget, is_interactive
from trio_broker.client import Client, refuse_all
from trio_broker.errors import BrokerError, Misuse
from trio_broker.policy import Policy
from trio_broker.wire import META, jsonrpc
from trio_broker.wire.jsonrpc import Message

ENDED = ("dead", "closed")
ANSWERS = ("selected", "cancelled", "expired")  # to permissions
OK, ERROR, TIMEOUT, DENIED, INTERRUPTED = 0, 1, 3, 5, 130
CLOSE_PATIENCE = 45.0  # seconds for the session of an `exec` to end; the broker escalates before that


@attrs.define
class Permissions:
    """What became of those that an agent asked for."""

    approved: int = 0
    denied: int = 0

    def count(self, event: dict[str, Any]) -> bool | None:
        """Whether an `answer` event allows; None if it is none to a permission."""
        if event["outcome"] not in ANSWERS:
            return None
        allowed = str(event.get("optionKind") or "").startswith("allow")
        self.approved += allowed
        self.denied += not allowed
        return allowed

    @property
    def refused(self) -> bool:
        """All of them, and there were some."""
        return bool(self.denied and not self.approved)


@attrs.define(eq=False)
class Prompting:
    """Runs one prompt and counts what was answered on the way. `text` is the prompt.

    `own`: the session is this prompt's alone and ends with it (`exec`), however that comes.
    """

    connect: Callable[..., AbstractAsyncContextManager[Client]]
    scope: SessionTarget
    text: str
    renderer: Renderer
    policy: str | None = None
    seconds: float | None = None
    own: bool = False
    if_busy: str | None = None
    model: str | None = None
    prompt_id: str = attrs.field(factory=lambda: uuid.uuid4().hex)
    session_id: str = ""
    prompted: bool = False  # the prompt is on its way: what cancels before that has no turn to cancel
    outcome: str | None = None  # as the broker's log has it
    permissions: Permissions = attrs.field(factory=Permissions)
    interrupts: int = 0
    playing: bool = False  # our turn: what comes before and after it is of other prompts
    timed_out: bool = False
    typed: int = 0  # answers given here that the log has not told of yet
    unread: bool = False  # nobody reads our stdout any more
    code: int | None = None  # None: left before its end
    _all: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _starting: Any = attrs.field(factory=start_reporter)

    async def run(self) -> int:
        """Open the session, prompt, show; the exit code. Raises BrokenPipeError when nobody reads what it shows."""
        on_request = self._ask_person if self._person else refuse_all
        async with (
            self.connect(on_message=self._hear, on_request=on_request) as client,
            trio.open_nursery() as nursery,  # of its own: whoever leaves is still written to its end
        ):
            await nursery.start(self._heed_signals, client)
            if self.own:
                await self._check_free(client)
            try:
                with self._all:
                    self.code = await self._open_and_prompt(client)
            finally:
                if self.own:
                    await self._close(client)  # noqa: ASYNC102  # shielded there, and bounded
            nursery.cancel_scope.cancel()
        return self._leave()

    async def _ask_person(self, message: Message) -> object:
        answer = await ask_person(message)
        self.typed += 1
        return answer

    def _leave(self) -> int:
        if self.code is not None:
            return self.code
        print_stderr(self._why_left() + self._what_goes_on())
        if self.unread:
            raise BrokenPipeError
        return TIMEOUT if self.timed_out else INTERRUPTED

    def _why_left(self) -> str:
        if self.timed_out and not self.prompted:
            when = "" if self.session_id else ", before the session had started"
            return f"timed out after {self.seconds:g} s{when} (--timeout)"
        return "nobody reads the output" if self.unread else "detached"

    def _what_goes_on(self) -> str:
        key = shlex.quote(self.scope.key)
        if self.own:
            return "; the session has ended"
        if not self.session_id:
            return f"; it goes on starting, to end it: `trio-broker sessions close -s {key}`"
        if not self.prompted:
            return "; the prompt was not sent"
        return f": the turn goes on; to end it: `trio-broker cancel -s {key}`"

    async def _check_free(self, client: Client) -> None:
        """What ends with this prompt must not be somebody's session."""
        found = (await client.call("_trio_broker/sessions"))["sessions"]
        if any(view["key"] == self.scope.key and view["phase"] not in ENDED for view in found):
            raise Misuse(
                f"session {self.scope.key!r} is there already, and `exec` would end it; "
                "leave out -s, or use `prompt`"
            )

    async def _close(self, client: Client) -> None:
        verb = "kill" if self.interrupts > 1 else "close"
        with trio.move_on_after(CLOSE_PATIENCE, shield=True):
            try:
                await client.call(f"_trio_broker/{verb}", {"key": self.scope.key})
            except BrokerError:
                pass  # it was never opened, or the broker is gone: the prompt's own error tells

    async def _open_and_prompt(self, client: Client) -> int:
        async with trio.open_nursery() as nursery:
            if self.seconds is not None:
                nursery.start_soon(self._time_out, client, self.seconds)
            opened = await client.call("_trio_broker/open", self.scope.open_params(**self._policy()))
            print_resumed(opened)
            self.session_id = opened["sessionId"]
            await set_model(client, opened, self.model)
            result = await self._call(client)
            nursery.cancel_scope.cancel()
        reason = result.get("stopReason") if isinstance(result, dict) else None
        self.renderer.end(str(reason))
        return self._exit_code(str(reason), result)

    async def _call(self, client: Client) -> Any:
        busy = {} if self.if_busy is None else {"ifBusy": self.if_busy}
        meta = {META: {"promptId": self.prompt_id, **self._policy(), **busy}}
        blocks = [{"type": "text", "text": self.text}]
        self.prompted = True
        return await client.call(
            "session/prompt", {"sessionId": self.session_id, "prompt": blocks, "_meta": meta}
        )

    async def _time_out(self, client: Client, seconds: float) -> None:
        await trio.sleep(seconds)
        self.timed_out = True
        if self.prompted:
            await self._cancel(client)
        else:
            self._all.cancel()

    async def _heed_signals(
        self, client: Client, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """The first Ctrl-C cancels the turn, the second one leaves it."""
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                self.interrupts += 1
                if self.interrupts > 1 or not self.prompted:
                    self._all.cancel()
                    continue
                print_stderr(
                    f"\n[cancelling] once more to {'kill the agent' if self.own else 'leave the turn to itself'}"
                )
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
        refused = self.permissions.refused
        by_itself = (
            reason == "cancelled" and self.outcome == "completed"
        )  # some agents end a turn so when denied
        if reason in ("cancelled", "refusal") and not (refused and by_itself):
            meta = result.get("_meta") or {}
            note = (meta.get(META) or {}).get("note") if isinstance(meta, dict) else None
            print_stderr(f"the turn ended as {reason}" + (f": {safe(note)}" if note else ""))
            return ERROR if reason == "refusal" else INTERRUPTED
        if refused:
            print_stderr(f"every permission the agent asked for was denied{self._way_out()}")
            return DENIED
        return OK

    def _way_out(self) -> str:
        """What would have allowed more; nothing where a person decided."""
        if self._person or self.policy == Policy.ASK.value:
            return ""
        reads = "" if self.policy == Policy.APPROVE_READS.value else "--approve-reads or "
        return f"; allow with {reads}--approve-all, or have each wait for an answer with --ask"

    @property
    def _person(self) -> bool:
        """Questions are asked here, on the terminal."""
        return self.policy in (None, Policy.ASK.value) and is_interactive()

    def _policy(self) -> dict[str, str]:
        return {} if self.policy is None else {"policy": self.policy}

    def _hear(self, message: Message) -> None:
        if message.method == EVENT:
            self._event(message)
        elif message.method is None:
            if _ends_turn(message):
                self.playing = False
                self._show(message)
        elif self.playing and message.session_id == self.session_id:
            self._show(message)

    def _show(self, message: Message) -> None:
        try:
            self.renderer.message(message)
        except BrokenPipeError:
            self.unread = True
            self._all.cancel()

    def _event(self, message: Message) -> None:
        event = jsonrpc.decode(message.params)
        kind = event.get("kind")
        if kind == "starting":
            self._starting(message)
        elif kind == "queued" and event.get("promptId") == self.prompt_id:
            self._queued(event)
        elif kind == "started":
            self.playing = event["promptId"] == self.prompt_id
        elif kind == "ended" and event["promptId"] == self.prompt_id:
            self.outcome = event["outcome"]
        elif kind == "note" and self.playing:
            print_stderr(f"[note] {safe(str(event.get('text')))}")
        elif kind == "ask" and self.playing and not self._person:
            print_stderr(
                f"[waiting] {safe(str(event.get('title')))}: `trio-broker allow {event['askId']}`, or deny"
            )
        elif kind == "answer" and self.playing:
            self._answered(event)

    def _queued(self, event: dict[str, Any]) -> None:
        by = f", {event['event']} by {safe(str(event.get('by')))}" if "event" in event else ""
        print_stderr(
            f"[queued] {event['position']} before this one{by}" if event["position"] else f"[queued]{by}"
        )

    def _answered(self, event: dict[str, Any]) -> None:
        if (allowed := self.permissions.count(event)) is None:
            return
        if self._person and event.get("askId") and self.typed:
            self.typed -= 1
            return
        word = "allowed" if allowed else "denied"
        print_stderr(f"[permission] {safe(str(event.get('title')))}: {word} by {safe(str(event.get('by')))}")


def _ends_turn(reply: Message) -> bool:
    """Whether a reply is that of the prompt; the broker's own verbs succeed, and have no stop reason."""
    return reply.error is not None or b'"stopReason"' in (reply.result or b"")
