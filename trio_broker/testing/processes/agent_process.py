"""A blocking client of one agent's stdin and stdout, for tests of agents themselves: no broker, no trio."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, Self

Json = dict[str, Any]

SCRIPTED_AGENT = (sys.executable, "-m", "trio_broker.testing.agent")  # coverage sees it, which -S keeps out
BRIEFLY = 0.5  # seconds for an agent that may ignore the end of its stdin
LIMIT = 20.0  # seconds for each single step: far more than it takes, far less than a hanging test would


class AgentProcess:
    """`with AgentProcess(argv) as talk:` an agent's process and its lines, read as they come; its group is killed."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str] | None = None, **popen: Any) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            argv, stdin=pipe, stdout=pipe, stderr=pipe, env=env, start_new_session=True, **popen
        )
        self.lines: queue.Queue[bytes] = queue.Queue()
        self.stderr = b""
        self.session = ""
        self._next = 0
        self._threads = [
            threading.Thread(target=self._read_stdout),
            threading.Thread(target=self._read_stderr),
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):  # the whole group is gone
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(LIMIT)
        for thread in self._threads:
            thread.join(LIMIT)
        for pipe in (self._stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    @property
    def _stdin(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    def _read_stdout(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(b"")

    def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        self.stderr = self.process.stderr.read()

    def line(self, seconds: float = LIMIT) -> bytes:
        """The next line; b"" at the end of stdout; raises queue.Empty if nothing comes in time."""
        return self.lines.get(timeout=seconds)

    def message(self) -> Any:
        return json.loads(self.line())

    def write(self, data: bytes) -> None:
        self._stdin.write(data)
        self._stdin.flush()

    def send(self, **message: Any) -> None:
        self.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def notify(self, method: str, **params: Any) -> None:
        self.send(method=method, params=params)

    def request(self, method: str, **params: Any) -> int:
        """Send it and return its id at once."""
        self._next += 1
        self.send(id=self._next, method=method, params=params)
        return self._next

    def call(self, method: str, **params: Any) -> Json:
        """The response to a request, whole; what comes before it is dropped."""
        return self.until(self.request(method, **params))[-1]

    def until(self, id: int) -> list[Json]:
        """Every message up to the response of that id."""
        seen: list[Json] = []
        while not seen or seen[-1].get("id") != id or "method" in seen[-1]:
            seen.append(self.message())
        return seen

    def start(self, cwd: str = "/tmp", capabilities: Json | None = None) -> Json:
        """initialize, as a client with these capabilities, and session/new; returns the latter's result."""
        assert self.call("initialize", protocolVersion=1, clientCapabilities=capabilities or {})["result"]
        result: Json = self.call("session/new", cwd=cwd, mcpServers=[])["result"]
        self.session = result["sessionId"]
        return result

    def prompt(self, text: str) -> int:
        blocks = [{"type": "text", "text": text}]
        return self.request("session/prompt", sessionId=self.session, prompt=blocks)

    def turn(self, text: str) -> list[Json]:
        """A whole turn in which the agent asks nothing: every message, the response last."""
        return self.until(self.prompt(text))

    def exchange(self, text: str, answer: Callable[[Json], Json]) -> tuple[list[Json], list[Json]]:
        """A whole turn: every message, the response last, and the agent's requests among them.

        `answer` makes the `result` or the `error` of the response to each request.
        """
        messages: list[Json] = []
        prompt = self.prompt(text)
        while not messages or messages[-1].get("id") != prompt or "method" in messages[-1]:
            messages.append(self.message())
            if "method" in messages[-1] and "id" in messages[-1]:
                self.send(id=messages[-1]["id"], **answer(messages[-1]))
        return messages, [one for one in messages if "method" in one and "id" in one]

    def cancel(self) -> None:
        self.notify("session/cancel", sessionId=self.session)

    def hang_up(self, seconds: float = LIMIT) -> int:
        """Close the agent's stdin; its exit code. Raises TimeoutExpired if it does not end in time."""
        self._stdin.close()
        return self.process.wait(seconds)

    @property
    def hung_up(self) -> bool:
        return self._stdin.closed


@contextlib.contextmanager
def open_scripted_agent(*flags: str, **popen: Any) -> Iterator[AgentProcess]:
    """The scripted agent with these flags. Leaving ends it by the end of its stdin first: a kill loses its coverage."""
    with AgentProcess([*SCRIPTED_AGENT, *flags], **popen) as agent:
        yield agent
        if not agent.hung_up:
            with contextlib.suppress(subprocess.TimeoutExpired):
                agent.hang_up(BRIEFLY)


def updates(messages: Iterable[Json]) -> list[Json]:
    """The `update` of every session/update, in order."""
    return [message["params"]["update"] for message in messages if message.get("method") == "session/update"]


def said(messages: Iterable[Json]) -> str:
    """The agent's words, put together."""
    chunks = [one for one in updates(messages) if one["sessionUpdate"] == "agent_message_chunk"]
    return "".join(chunk["content"]["text"] for chunk in chunks)


def stop_reason(messages: Sequence[Json]) -> object:
    """Why the turn ended whose messages these are."""
    return messages[-1]["result"]["stopReason"]
