"""JSON-RPC over stdin and stdout with threads: what the scripted agent and the demo's agent have in common.

Standard library only, and only what starts fast.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

Json = dict[str, Any]

METHOD_NOT_FOUND, INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR = -32601, -32602, -32600, -32700
AUTH_REQUIRED, NOT_FOUND = -32000, -32002


class RpcError(Exception):
    """Answers the request that is being handled with a JSON-RPC error."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.error: Json = {"code": code, "message": message} | ({} if data is None else {"data": data})


class PendingResponse:
    """The response to a request of ours, as soon as it is `answered`."""

    def __init__(self) -> None:
        self.answered = threading.Event()
        self.message: Json = {}

    def wait(self) -> Json:
        """The response, whole; blocks this thread until it is here."""
        self.answered.wait()
        return self.message


class StdioConnection:
    """JSON-RPC over stdin and stdout: one thread reads, any thread writes and asks."""

    def __init__(self, log: str | None = None) -> None:
        self.written = 0
        self.stopped_reading = False
        self.on_chunk: Callable[[], None] = lambda: None
        self._writing = threading.Lock()
        self._pending: dict[str, PendingResponse] = {}
        self._next = 0
        self._log = log

    def write(self, data: bytes, step: int | None = None) -> None:
        """All of `data` on stdout, `step` bytes at a time; ends the process if nobody reads there any more."""
        with self._writing:
            self.written += len(data)
            try:
                for start in range(0, len(data), step or len(data) or 1):
                    write_all(1, data[start : start + (step or len(data))])
            except BrokenPipeError:
                os._exit(1)

    def send(self, message: Json) -> None:
        self.write(json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode() + b"\n")

    def notify(self, method: str, params: Json) -> None:
        self.send({"method": method, "params": params})

    def update(self, session: str, tag: str, /, **fields: Any) -> None:
        self.notify("session/update", {"sessionId": session, "update": {"sessionUpdate": tag, **fields}})

    def reply(self, id: object, result: object) -> None:
        self.send({"id": id, "result": result})

    def fail(self, id: object, error: Json) -> None:
        self.send({"id": id, "error": error})

    def request(self, method: str, params: Json, id: object = None) -> Json:
        """The response to a request of ours, whole; blocks this thread until it is here."""
        return self.begin_request(method, params, id).wait()

    def begin_request(self, method: str, params: Json, id: object = None) -> PendingResponse:
        """Send a request; its response can be waited for later."""
        if id is None:
            id, self._next = self._next, self._next + 1
        pending = self._pending[json.dumps(id)] = PendingResponse()
        self.send({"id": id, "method": method, "params": params})
        return pending

    def serve(self, handle: Callable[[Json], object], background: Callable[[Json], bool]) -> None:
        """Handle each line of stdin until its end.

        A request is answered with what `handle` returns, unless `background` took it: it answers for itself.
        """
        for line in self._lines():
            self._log_line(line)
            try:
                message = json.loads(line)
            except ValueError as error:
                self.fail(None, {"code": PARSE_ERROR, "message": f"Parse error: {error}"})
                continue
            if not isinstance(message, dict):
                self.fail(None, {"code": INVALID_REQUEST, "message": "no JSON-RPC message"})
            elif "method" not in message:
                self._receive_response(message)
            elif not background(message):
                self._handle(message, handle)

    def _handle(self, message: Json, handle: Callable[[Json], object]) -> None:
        try:
            result = handle(message)
        except RpcError as error:
            if "id" in message:
                self.fail(message["id"], error.error)
        else:
            if "id" in message and result is not None:
                self.reply(message["id"], result)

    def _receive_response(self, message: Json) -> None:
        if found := self._pending.pop(json.dumps(message.get("id")), None):
            found.message.update(message)
            found.answered.set()

    def _lines(self) -> Iterator[bytes]:
        parts: list[bytes] = []
        while chunk := os.read(0, 65536):
            if self.stopped_reading:
                break
            self.on_chunk()
            *lines, rest = chunk.split(b"\n")
            for line in lines:
                whole = b"".join([*parts, line])
                parts.clear()
                if whole.strip():
                    yield whole
            parts.append(rest)
        if self.stopped_reading:
            sleep_forever()

    def _log_line(self, line: bytes) -> None:
        if self._log:
            with open(self._log, "ab", buffering=0) as file:
                file.write(b"%d %s\n" % (os.getpid(), line))


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def text_block(text: str) -> Json:
    return {"type": "text", "text": text}


def prompt_text(params: Json) -> str:
    """The text blocks of a prompt, one below the other."""
    return "\n".join(
        str(block.get("text", "")) for block in params.get("prompt", ()) if block.get("type") == "text"
    )


def new_session_id() -> str:
    """The hex digits of a UUID of version 4, without the cost of importing uuid."""
    digits = os.urandom(16).hex()
    return f"{digits[:12]}4{digits[13:16]}a{digits[17:]}"


def sleep_forever() -> None:
    while True:
        signal.pause()


def open_fds() -> dict[str, str]:
    """Number to what it is, of this process."""
    found = {}
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the one that listed them
            continue
    return found


def start_sleeping_child(own_session: bool) -> int:
    """Start a child that sleeps for a day, with our stdout and stderr; its pid."""
    no_stdin = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    return os.posix_spawnp(
        "sleep", ["sleep", "86400"], os.environ, file_actions=[no_stdin], setsid=own_session
    )
