"""One agent's line: the task that writes its stdin, the one that reads its stdout, the one that drains its stderr.

It moves frames and matches replies to calls; it decides nothing. The reader never waits for the writer: whatever is
to be sent goes into a bounded outbox without waiting, and a full outbox is an agent that does not read (RACES A8, A9).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import attrs
import trio

from trio_broker.agent.process import Agent
from trio_broker.errors import AgentGone, BadMessage, BrokerError, RemoteError
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.auth_methods import LoginHelp
from trio_broker.protocol.batch import UpdateBatchDecoder
from trio_broker.protocol.jsonrpc import Kind, LineSplitter, Message, lines_of
from trio_broker.protocol.pending import OnReply, PendingRequests, Reply

READ = 65536  # bytes: a pipe's default capacity on Linux; one block per scheduling turn keeps sessions fair
OUTBOX_FRAMES = 512  # far above what one turn and its controls need; beyond it the agent does not read
OUTBOX_BYTES = 2 * jsonrpc.MAX_LINE
REJECTED_KEPT = 50  # lines, cut to REJECTED_CUT bytes: enough to see what an agent prints by mistake
REJECTED_CUT = 500


class Handler(Protocol):
    """What a line tells: runs of updates of its own session, whole lines, and every other request and notification.

    `plain`: the updates are of kinds that every client can show and that change no state. `tool_calls`: some of them
    may be about a tool call.
    """

    def receive(self, message: Message) -> None: ...
    def receive_updates(
        self, count: int, lines: bytes, *, plain: bool = False, tool_calls: bool = True
    ) -> None: ...
    async def wait_for_room(self) -> None: ...


@attrs.define(eq=False)
class _Pending:
    reply: Reply | None = None
    arrived: trio.Event = attrs.field(factory=trio.Event)

    def settle(self, reply: Reply) -> None:
        self.reply = reply
        self.arrived.set()


@attrs.define(eq=False)
class AgentConnection:
    """The connection to one agent. `redact` removes secrets from all that it writes, but for commands and files.

    `stdout_closed` is set when its stdout ended, `drained` when stdout and stderr both did, `stdin_closed` when it
    closed its stdin.
    """

    agent: Agent
    max_line: int = jsonrpc.MAX_LINE
    stderr_ring: int = 65536
    redact: Callable[[bytes], bytes] = bytes
    login_help: LoginHelp = attrs.field(
        factory=LoginHelp
    )  # for its errors that demand a login; known after `initialize`
    pending: PendingRequests[OnReply] = attrs.field(factory=PendingRequests)
    rejected: deque[bytes] = attrs.field(factory=lambda: deque(maxlen=REJECTED_KEPT))
    rejected_count: int = 0
    stderr_end: int = 0  # bytes that it wrote there, as far as they may be shown
    error: BrokerError | None = None
    received_at: float = attrs.field(factory=trio.current_time)
    stdout_closed: trio.Event = attrs.field(factory=trio.Event)
    drained: trio.Event = attrs.field(factory=trio.Event)
    stdin_closed: trio.Event = attrs.field(factory=trio.Event)
    _stderr: bytearray = attrs.field(factory=bytearray)
    _outbox: tuple[trio.MemorySendChannel[bytes], trio.MemoryReceiveChannel[bytes]] = attrs.field(
        factory=lambda: trio.open_memory_channel[bytes](OUTBOX_FRAMES)
    )
    _waiting: int = 0
    _session_id: str | None = None
    _batch_decoder: UpdateBatchDecoder | None = None

    def set_session_id(self, session_id: str) -> None:
        """The session is known now: its updates are passed on in blocks."""
        self._session_id, self._batch_decoder = session_id, UpdateBatchDecoder(session_id)

    def send(self, frame: bytes) -> None:
        """Give one whole frame (with its newline) to the writer. Raises AgentGone: hung up, or it does not read."""
        if self.error is None and self._waiting + len(frame) > OUTBOX_BYTES and self._waiting:
            self._fail(AgentGone(f"the agent does not read its stdin: {self._waiting} bytes wait for it"))
        try:
            self._outbox[0].send_nowait(frame)
        except trio.WouldBlock:
            self._fail(AgentGone(f"the agent does not read its stdin: {OUTBOX_FRAMES} messages wait for it"))
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            raise self.error or AgentGone("the agent's stdin is closed: the session is ending") from None
        self._waiting += len(frame)

    def send_quietly(self, frame: bytes) -> None:
        """Send an answer, or a cancel; if the agent can't be told any more, that is the end of the matter."""
        try:
            self.send(frame)
        except AgentGone:
            pass  # the line has ended: its own watch tells everyone who waits

    def request(self, method: str, params: bytes, on_reply: OnReply) -> int:
        """Send a request; `on_reply` gets the agent's response, or the error that ended the line, exactly once.

        Returns the private number it went out under, which `calls.forget` withdraws. Raises AgentGone like `send`.
        """
        number = self.pending.open(on_reply)
        try:
            self.send(jsonrpc.request(number, method, params))
        except AgentGone:
            self.pending.forget(number)
            raise
        return number

    async def call(self, method: str, params: bytes) -> bytes:
        """Send a request and wait for its raw result. Raises RemoteError, or why the line ended.

        Cancelling it withdraws the call: a late reply is counted and ignored (RACES C10).
        """
        pending = _Pending()
        number = self.request(method, params, pending.settle)
        try:
            await pending.arrived.wait()
        finally:
            self.pending.forget(number)
        assert pending.reply is not None
        return result_of(pending.reply)

    def close_stdin(self) -> None:
        """Close the agent's stdin once what waits has been written; whoever sends after that gets AgentGone."""
        self._outbox[0].close()

    def fail_pending(self, error: BrokerError) -> None:
        """Settle every open call with `error`; for when the agent can't answer any more."""
        for on_reply in self.pending.drain():
            on_reply(error)

    def stderr_tail(self, limit: int = 4096) -> str:
        """The last words on stderr, at most `limit` bytes, as text."""
        return bytes(self._stderr[-limit:]).decode("utf-8", "replace")

    def stderr_since(self, position: int) -> str:
        """What it wrote on stderr from this position on, as far as it is kept; `stderr_end` is where it stands now."""
        return self.stderr_tail(self.stderr_end - position) if position < self.stderr_end else ""

    async def run(self, handler: Handler) -> None:
        """Read, write and drain until cancelled or both outputs ended; `handler` receives what the agent sends."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            nursery.start_soon(self._drain)
            await self._read(handler)
            self.stdout_closed.set()

    async def _write(self) -> None:
        send, receive = self._outbox
        async with self.agent.stdin as stdin:
            with receive:
                try:
                    async for frame in receive:
                        await stdin.send_all(frame)
                        self._waiting -= len(frame)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    send.close()
                    self.stdin_closed.set()

    async def _read(self, handler: Handler) -> None:
        splitter = LineSplitter(self.max_line)
        async with self.agent.stdout as stdout:
            while data := await _receive(stdout):
                self.received_at = trio.current_time()
                try:
                    self._handle_block(splitter.feed_block(data), handler)
                except jsonrpc.LineTooLong as error:
                    self.error = AgentGone(
                        f"the agent wrote a line above the limit of {self.max_line} bytes; raise max_line in [broker]",
                        limit=self.max_line,
                    )
                    self.error.__cause__ = error
                    return
                await handler.wait_for_room()

    def _handle_block(self, written: bytes, handler: Handler) -> None:
        """Sort what one read brought: neighbouring updates stay one block (DESIGN D15)."""
        block = self.redact(written)
        if block and self._batch_decoder is not None:
            batch = self._batch_decoder.classify(block)
            if batch.updates:
                handler.receive_updates(batch.updates, block, plain=batch.plain, tool_calls=batch.tool_calls)
                return
        updates: list[bytes] = []
        lines = lines_of(block)
        for line, original in zip(lines, lines if block is written else lines_of(written), strict=True):
            message = self._parse(line)
            if line is not original and message is not None and _is_for_execution(message):
                message = self._parse(original)
            if message is not None and self._is_update(message):
                updates.append(line)
                continue
            _flush_updates(updates, handler)
            if message is not None:
                self._dispatch(message, handler)
        _flush_updates(updates, handler)

    def _parse(self, line: bytes) -> Message | None:
        try:
            return jsonrpc.parse_envelope(line)
        except BadMessage:
            self.reject(line)
            return None

    def _is_update(self, message: Message) -> bool:
        ours = message.session_id is not None and message.session_id == self._session_id
        return ours and message.method == "session/update" and message.kind is Kind.NOTIFICATION

    def _dispatch(self, message: Message, handler: Handler) -> None:
        if message.kind is not Kind.RESPONSE:
            self._pass_on(message, handler)
        elif on_reply := self.pending.close(message.id):
            on_reply(message if message.error is None else self.login_help.explain(message))
        else:
            self.reject(message.raw)

    def _pass_on(self, message: Message, handler: Handler) -> None:
        """Only the envelope has been read: the parameters can have a number that Python cannot hold."""
        try:
            handler.receive(message)
        except BadMessage as error:
            self.reject(message.raw)
            if message.kind is Kind.REQUEST:
                refusal = jsonrpc.error_object(jsonrpc.INVALID_PARAMS, error.message)
                self.send_quietly(jsonrpc.error_response(message.id or b"null", refusal))

    def reject(self, line: bytes) -> None:
        """Count a line that means nothing here and keep it for `logs`; it is never answered (D13)."""
        self.rejected_count += 1
        self.rejected.append(self.redact(line)[:REJECTED_CUT])

    async def _drain(self) -> None:
        async with self.agent.stderr as stderr:
            while data := await _receive(stderr):
                words = self.redact(bytes(self._stderr + data))
                self.stderr_end += len(words) - len(self._stderr)
                self._stderr = bytearray(words[max(0, len(words) - self.stderr_ring) :])
        await self.stdout_closed.wait()
        self.drained.set()

    def _fail(self, error: AgentGone) -> None:
        self.error = error
        self.stdout_closed.set()
        raise error


def _is_for_execution(message: Message) -> bool:
    """Whether somebody runs or writes what the agent sends: with a secret replaced, it would be something else.

    The secret goes where the agent could have put it by itself. What is shown of such a request is redacted there.
    """
    return message.kind is Kind.REQUEST and (message.method or "").startswith(("fs/", "terminal/"))


def _flush_updates(updates: list[bytes], handler: Handler) -> None:
    if updates:
        handler.receive_updates(len(updates), b"\n".join(updates) + b"\n")
        updates.clear()


async def _receive(stream: trio.abc.ReceiveStream) -> bytes:
    try:
        return bytes(await stream.receive_some(READ))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return b""


def result_of(reply: Reply) -> bytes:
    """The raw result of a reply. Raises the RemoteError it carries, or the error that ended the line."""
    if isinstance(reply, BrokerError):
        raise reply
    if reply.error is not None:
        raise remote_error(reply.error)
    return reply.result or b"null"


def remote_error(raw: bytes) -> RemoteError:
    """An agent's raw JSON-RPC error as an exception, kept whole; what is no error object still says what it was."""
    error = jsonrpc.decode(raw)
    if not isinstance(error, dict) or not isinstance(error.get("code"), int):
        return RemoteError(-32603, f"the agent answered with a malformed error: {error!r}"[:500])
    message = error.get("message")
    text = message if isinstance(message, str) else "the agent gave an error without a message"
    return RemoteError(error["code"], text, error.get("data"))
