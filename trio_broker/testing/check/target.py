"""The target of the checks: a program that speaks ACP on stdio, or an endpoint that listens."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import attrs
import trio

from trio_broker.agent import process_tags
from trio_broker.errors import NoBroker, SpawnFailed
from trio_broker.testing.check.conversation import Conversation
from trio_broker.testing.check.outcomes import Failed
from trio_broker.transport.base import READ, NdjsonTransport, Transport
from trio_broker.transport.connect import connect_websocket, redact_url

STOP_GRACE = 1.0  # seconds for a program to end by itself when a check is over, and again to heed SIGTERM
DRAIN = 1.0  # seconds for the last words of one that has ended
STDERR = 2000  # bytes of its last words on stderr that are shown
MARK = "trio-broker check"


class Target(Protocol):
    """`name` is for people. Each `open` is a connection of its own, to a process of its own if it is a program."""

    @property
    def name(self) -> str: ...

    def open(self, patience: float) -> contextlib.AbstractAsyncContextManager[Conversation]: ...


@attrs.frozen
class Endpoint:
    """Something that listens: `address` is a Unix socket's path, or a ws:// or wss:// URL, which may want a token.

    `bind`: what a trio-broker on a socket is asked to use for this connection, as `{"agent": "claude"}`.
    """

    address: str
    token: str | None = None
    bind: Mapping[str, object] = attrs.field(factory=dict)

    @property
    def name(self) -> str:
        return redact_url(self.address) if "://" in self.address else self.address

    @asynccontextmanager
    async def open(self, patience: float) -> AsyncGenerator[Conversation, None]:
        """Raises NoBroker, and Misuse for a bad URL."""
        transport = (
            connect_websocket(self.address, self.token) if "://" in self.address else _socket(self.address)
        )
        async with transport as link, with_reader(Conversation(link, patience)) as conversation:
            if self.bind:
                await conversation.result("_trio_broker/bind", self.bind)
            yield conversation


@asynccontextmanager
async def _socket(path: str) -> AsyncGenerator[Transport, None]:
    try:
        stream = await trio.open_unix_socket(path)
    except OSError as error:
        raise NoBroker(f"nothing listens at {path}: {error}") from error
    async with NdjsonTransport(stream) as link:
        yield link


@asynccontextmanager
async def with_reader(conversation: Conversation) -> AsyncGenerator[Conversation, None]:
    """A conversation with its reader at work."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(conversation.run_reader)
        yield conversation
        nursery.cancel_scope.cancel()


@attrs.frozen
class Program:
    """A command that speaks ACP on stdin and stdout; a process of its own for each conversation."""

    argv: Sequence[str]
    env: Mapping[str, str] | None = None  # None: ours
    cwd: str | None = None

    @property
    def name(self) -> str:
        return shlex.join(self.argv)

    @asynccontextmanager
    async def open(self, patience: float) -> AsyncGenerator[ProcessConversation, None]:
        """Raises SpawnFailed. Afterwards nothing that it started is left, what has left its group included (Linux)."""
        mark = process_tags.new_instance_tag(MARK)
        process = await self._spawn(mark)
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        link = NdjsonTransport(trio.StapledStream(process.stdin, process.stdout))
        conversation = ProcessConversation(link, patience, process=process, mark=mark)
        try:
            async with with_reader(conversation), trio.open_nursery() as nursery:
                nursery.start_soon(conversation.watch)
                nursery.start_soon(conversation.read_stderr)
                yield conversation
                await conversation.stop()
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):  # bounded: SIGKILL can't be refused
                conversation.kill()
                await process.wait()
                for stream in (process.stdin, process.stdout, process.stderr):
                    await trio.aclose_forcefully(stream)

    async def _spawn(self, mark: str) -> trio.Process:
        env = {**(os.environ if self.env is None else self.env), process_tags.INSTANCE: mark}
        try:
            return await trio.lowlevel.open_process(
                list(self.argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=env,
                cwd=self.cwd,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise SpawnFailed(
                f"{self.name} could not be started: {error}; check the command and PATH"
            ) from error


@attrs.define(eq=False)
class ProcessConversation(Conversation):
    """A conversation with a process of our own, whose end is a part of it."""

    process: trio.Process = attrs.field(kw_only=True)
    mark: str = attrs.field(kw_only=True)
    exited: trio.Event = attrs.field(factory=trio.Event)
    stderr: bytes = b""

    async def hang_up(self) -> None:
        """Close its stdin."""
        self.record_event("its stdin is closed")
        assert self.process.stdin is not None
        await self.process.stdin.aclose()

    async def wait_exit(self, seconds: float, after: str) -> float:
        """Wait for its exit; how long that took. Raises Failed."""
        begun = trio.current_time()
        with trio.move_on_after(seconds):
            await self.exited.wait()
            return trio.current_time() - begun
        raise Failed(f"it still runs {seconds:g} s after {after}")

    async def watch(self) -> None:
        await self.process.wait()
        with trio.move_on_after(DRAIN):
            await self.wait_for(lambda: self.ended or None, "end")
        self.exited.set()
        if self.ended != self.exit_text():
            self.ended = self.exit_text()
            self.record_event(self.ended)

    async def end_reason(self) -> str:
        """The exit tells more than the end of stdout, and is hardly ever later."""
        with trio.move_on_after(DRAIN):
            await self.process.wait()
        return "it closed its stdout" if self.process.returncode is None else self.exit_text()

    def exit_text(self) -> str:
        """How the process ended, and its last words."""
        code = self.process.returncode
        if code is None:
            return "it runs"
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"the process ended with {how}{self.stderr_tail()}"

    def stderr_lines(self) -> list[str]:
        return self.stderr.decode("utf-8", "replace").strip().splitlines()

    async def read_stderr(self) -> None:
        assert self.process.stderr is not None
        try:
            while data := await self.process.stderr.receive_some(READ):
                self.stderr = (self.stderr + data)[-STDERR:]
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it has ended

    async def stop(self) -> None:
        """Close its stdin, and end it in good order if it does not end by itself."""
        assert self.process.stdin is not None
        await self.process.stdin.aclose()
        with trio.move_on_after(STOP_GRACE):
            await self.exited.wait()
            return
        self.signal(signal.SIGTERM)
        with trio.move_on_after(STOP_GRACE):
            await self.exited.wait()

    def signal(self, number: signal.Signals) -> None:
        """To its process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        process_tags.end_all(lambda process: process.instance == self.mark, STOP_GRACE)

    def remaining_processes(self) -> list[process_tags.TaggedProcess]:
        """The processes that it started and that live, itself included."""
        return process_tags.find(lambda process: process.instance == self.mark)
