"""One connection to an agent, as a client that writes down everything and forgives nothing."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs
import trio

from trio_broker.protocol.jsonrpc import LineTooLong
from trio_broker.testing.check.outcomes import Failed, Unsupported, Untried
from trio_broker.transport.base import Transport

T = TypeVar("T")
Json = dict[str, Any]

METHOD_NOT_FOUND, AUTH_REQUIRED = -32601, -32000
CLIENT = {"name": "trio-broker check", "version": "1"}
TOO_LONG = "a line of more than 64 MiB"
KEPT = 2000  # characters of one frame that a report keeps


class Direction(enum.StrEnum):
    """Of a frame, as a client sees it. `EVENT`: no frame, but something that happened, in words."""

    SENT = "->"
    RECEIVED = "<-"
    EVENT = "--"


@attrs.frozen
class Frame:
    """One line of a conversation, `at` seconds after its beginning."""

    at: float
    direction: Direction
    raw: bytes
    message: Any = None  # what it is as JSON; None if it is none

    def text(self) -> str:
        """The line as it went over the wire, cut if it is long. It may hold anything: clean it for a terminal."""
        text = self.raw[: KEPT + 1].decode("utf-8", "backslashreplace")
        return text if len(text) <= KEPT else f"{text[:KEPT]}… ({len(self.raw)} bytes)"


def text_blocks(text: str) -> list[Json]:
    """The content of a prompt that is only text."""
    return [{"type": "text", "text": text}]


@attrs.define(eq=False)
class Conversation:
    """What was said with an agent over one connection; every wait in it ends after `patience` seconds at the latest.

    A permission question is answered at once with `permit`'s choice among its options, None leaves it open. `serves`
    has other methods that this client serves, with what makes a result of the params; None leaves that open too. Any
    other request of the agent is refused.
    """

    link: Transport
    patience: float
    started_at: float = attrs.field(factory=trio.current_time)
    frames: list[Frame] = attrs.field(factory=list)
    ended: str = ""  # how, if it has
    session: str = ""
    agent: Json = attrs.field(factory=dict)  # what initialize was answered with
    permit: Callable[[list[Json]], str | None] | None = None
    serves: dict[str, Callable[[Json], Json | None]] = attrs.field(factory=dict)
    _next: int = 0
    _news: trio.Event = attrs.field(factory=trio.Event)
    _writing: trio.Lock = attrs.field(factory=trio.Lock)

    # what is written

    async def write(self, data: bytes) -> None:
        """Send bytes as they are; what they are is written down line by line. An agent that is gone is no error.

        Nor is one that does not read: that costs its patience once, for the link is broken then.
        """
        for line in data.splitlines() or [data]:
            self._record(Direction.SENT, line, parsed(line))
        try:
            with trio.fail_after(self.patience):
                async with self._writing:
                    await self.link.send(self.link.encode(data))
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            self.record_event("it does not read any more")

    async def send(self, message: Json) -> None:
        await self.write(line_of(message))

    async def notify(self, method: str, params: object = None) -> None:
        await self.send({"method": method, "params": {} if params is None else params})

    async def request(self, method: str, params: object = None, id: object = None) -> object:
        """Send a request; its id, at once."""
        if id is None:
            self._next += 1
            id = self._next
        await self.send({"id": id, "method": method, "params": {} if params is None else params})
        return id

    # what is waited for

    async def call(self, method: str, params: object = None, id: object = None) -> Json:
        """The reply to a request, whole. Raises Failed if there is none."""
        return await self.reply(await self.request(method, params, id), method)

    async def reply(self, id: object, method: str) -> Json:
        """The reply to the last request of that id."""
        sent = max(
            index
            for index, frame in enumerate(self.frames)
            if frame.direction is Direction.SENT and _is(frame.message, id)
        )
        try:
            return await self.wait_for(lambda: self._reply(id, sent), f"answer to {method}")
        except Failed as failure:
            raise Failed(f"{failure}{self._unexpected_response(id, sent)}") from failure

    def _unexpected_response(self, id: object, since: int) -> str:
        """Words for a response under an id that nobody has used: it is likely the one that is missed."""
        used = [
            frame.message["id"]
            for frame in self.frames
            if frame.direction is Direction.SENT and _has_id(frame.message)
        ]
        for frame in self.frames[since:]:
            if (
                frame.direction is Direction.RECEIVED
                and _has_id(frame.message)
                and "method" not in frame.message
            ):
                found = frame.message["id"]
                if found is not None and not any(same_id(found, one) for one in used):
                    return f"; a response came with id {json.dumps(found)}, and {json.dumps(id)} was asked"
        return ""

    def _reply(self, id: object, since: int) -> Json | None:
        for frame in self.frames[since:]:
            if (
                frame.direction is Direction.RECEIVED
                and _is(frame.message, id)
                and "method" not in frame.message
            ):
                found: Json = frame.message
                return found
        return None

    async def result(self, method: str, params: object = None) -> Json:
        """What a request is answered with. Raises Failed for an error, and Untried if it is that of a login."""
        return self.result_of(await self.call(method, params), method)

    def result_of(self, reply: Json, method: str) -> Json:
        if (error := reply.get("error")) is not None:
            if isinstance(error, dict) and error.get("code") == AUTH_REQUIRED:
                words = f"{method} needs a login: log in with the agent's own program, or --login METHOD"
                raise Untried(words, "--login")
            raise Failed(f"{method} was answered with an error: {error_text(error)}")
        result = reply.get("result")
        return result if isinstance(result, dict) else {}

    async def expect_error(self, method: str, params: object = None) -> Json:
        """The error that a request is answered with. Raises Failed for a result."""
        reply = await self.call(method, params)
        error = reply.get("error")
        if isinstance(error, dict):
            return error
        if error is not None:
            raise Failed(f"{method} was answered with an error that is no object: {error_text(error)}")
        raise Failed(f"{method} was answered with a result: {json.dumps(reply.get('result'))[:200]}")

    async def check_alive(self, after: str) -> None:
        """See that it still answers. Raises Failed."""
        try:
            await self.call("_trio_broker_check/alive")
        except Failed as failure:
            raise Failed(f"after {after}: {failure}") from failure

    async def wait_for(self, found: Callable[[], T | None], what: str) -> T:
        """Wait until `found` gives something; Failed when the agent is gone, or all patience."""
        with trio.move_on_after(self.patience):
            while (value := found()) is None and not self.ended:
                await self._news.wait()
            if value is not None:
                return value
            raise Failed(f"no {what}: {self.ended}")
        raise Failed(f"no {what} within {self.patience:g} s{self.stderr_tail()}")

    # the protocol

    async def initialize(self, **more: object) -> Json:
        """initialize as a client of version 1, which offers nothing by default; its result. Raises Failed."""
        params = {"protocolVersion": 1, "clientCapabilities": {}, "clientInfo": CLIENT, **more}
        self.agent = await self.result("initialize", params)
        return self.agent

    async def new_session(self, cwd: str) -> Json:
        """session/new; its result, whose id becomes `session`. Raises Failed, and Untried for want of a login."""
        result = await self.result("session/new", {"cwd": cwd, "mcpServers": []})
        session = result.get("sessionId")
        if not isinstance(session, str) or not session:
            raise Failed(f"session/new was answered without a sessionId: {json.dumps(result)[:200]}")
        self.session = session
        return result

    async def prompt(self, text: str, session: str = "") -> object:
        """Send a prompt; the id of the request, at once."""
        params = {"sessionId": session or self.session, "prompt": text_blocks(text)}
        return await self.request("session/prompt", params)

    async def stop_reason(self, prompt: object) -> str:
        """Why a turn ended. Raises Failed if it ended otherwise."""
        result = self.result_of(await self.reply(prompt, "session/prompt"), "session/prompt")
        reason = result.get("stopReason")
        if not isinstance(reason, str):
            raise Failed(f"session/prompt was answered without a stopReason: {json.dumps(result)[:200]}")
        return reason

    def capability(self, *path: str) -> Any:
        """What the agent said it can, None if it did not."""
        found: Any = self.agent.get("agentCapabilities")
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    def require_capability(self, *path: str) -> None:
        """Raises Unsupported unless the agent said that it can do this."""
        if self.capability(*path) in (None, False):
            raise Unsupported(f"initialize did not say agentCapabilities.{'.'.join(path)}")

    # what came

    def updates(self, session: str = "", since: int = 0) -> list[Json]:
        """The updates of a session, from a frame on."""
        found = [frame.message for frame in self.frames[since:] if frame.direction is Direction.RECEIVED]
        params = [one["params"] for one in found if is_message(one) and one.get("method") == "session/update"]
        session_id = session or self.session
        return [
            one["update"]
            for one in params
            if isinstance(one, dict)
            and one.get("sessionId") == session_id
            and isinstance(one.get("update"), dict)
        ]

    def agent_request(self, method: str) -> Json | None:
        """The first request of the agent that has this method."""
        for frame in self.frames:
            if frame.direction is Direction.RECEIVED and is_message(frame.message):
                found: Json = frame.message
                if found.get("method") == method:
                    return found
        return None

    def record_event(self, words: str) -> None:
        """Write down what happened."""
        self._record(Direction.EVENT, words.encode())

    def end(self, how: str) -> None:
        """It is over: nothing more will come."""
        if not self.ended:
            self.ended = how
            self.record_event(how)

    async def run_reader(self) -> None:
        """Hear the agent out. One reader a connection; ends with it."""
        try:
            while (lines := await self.link.receive()) is not None:
                for line in lines:
                    message = parsed(line)
                    self._record(Direction.RECEIVED, line, message)
                    if is_message(message) and "method" in message and "id" in message:
                        await self._answer(message)
        except LineTooLong:
            self._record(Direction.RECEIVED, TOO_LONG.encode())
        self.end(await self.end_reason())

    def stderr_lines(self) -> list[str]:
        """What it said on stderr, the last of it; only a program has one."""
        return []

    def stderr_tail(self) -> str:
        """The last line of its stderr, to be put behind a sentence; nothing if there is none."""
        lines = self.stderr_lines()
        return f"; stderr: {lines[-1][:300]}" if lines else ""

    async def end_reason(self) -> str:  # noqa: ASYNC124  # that of a process waits for its exit
        """What to say of the end of its output."""
        return f"it closed the connection{self.link.close_reason_text()}"

    async def _answer(self, message: Json) -> None:
        params = message.get("params")
        serve = self.serves.get(message["method"])
        if serve is not None:
            result = serve(params if isinstance(params, dict) else {})
            if result is not None:
                await self.send({"id": message["id"], "result": result})
            return
        if message["method"] == "session/request_permission":
            options = params.get("options") if isinstance(params, dict) else None
            chosen = (self.permit or allow)(options if isinstance(options, list) else [])
            if chosen is not None:
                await self.choose(message, chosen)
            return
        error = {"code": METHOD_NOT_FOUND, "message": f"Method not found: {message['method']}"}
        await self.send({"id": message["id"], "error": error})

    async def choose(self, request: Json, option: str) -> None:
        """Answer a permission question; "" is the answer of a client that has cancelled the turn."""
        outcome = {"outcome": "selected", "optionId": option} if option else {"outcome": "cancelled"}
        await self.send({"id": request["id"], "result": {"outcome": outcome}})

    def _record(self, direction: Direction, raw: bytes, message: Any = None) -> None:
        self.frames.append(Frame(trio.current_time() - self.started_at, direction, raw, message))
        news, self._news = self._news, trio.Event()
        news.set()


def line_of(message: Mapping[str, object]) -> bytes:
    """One message as it goes over the wire."""
    return (
        json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    )


def parsed(raw: bytes) -> Any:
    """The JSON value of a line, None if it is none; null is none too, for it is no message."""
    try:
        return json.loads(raw.decode())
    except (ValueError, RecursionError):
        return None


def is_message(value: object) -> bool:
    return isinstance(value, dict)


def _is(message: Any, id: object) -> bool:
    """Whether a message has that very id: 1 is neither "1" nor true."""
    return _has_id(message) and same_id(message["id"], id)


def _has_id(message: object) -> bool:
    return isinstance(message, dict) and "id" in message


def same_id(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


def allow(options: list[Json]) -> str | None:
    """The option that allows once, else the first one."""
    return option_of_kind(options, "allow_once") or option_of_kind(options, "")


def option_of_kind(options: list[Any], kind: str) -> str | None:
    """The id of the first option whose kind begins so."""
    for option in options:
        if isinstance(option, dict) and str(option.get("kind", "")).startswith(kind):
            found = option.get("optionId")
            return found if isinstance(found, str) else None
    return None


def error_text(error: object) -> str:
    """A JSON-RPC error in a few words."""
    if not isinstance(error, dict):
        return json.dumps(error)[:200]
    return f"{error.get('code')} {str(error.get('message', ''))[:200]}"
