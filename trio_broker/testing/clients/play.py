"""A play: a written exchange with an agent or a broker, acted out over a stream of lines.

    session = Blank("the session's id")
    play = Play()
    play.feed(request(1, "initialize", protocolVersion=1, clientCapabilities={}))
    play.expect({"id": 1, "result": {"protocolVersion": 1}})
    play.feed(request(2, "session/new", cwd="/tmp", mcpServers=[]))
    play.until({"id": 2, "result": {"sessionId": session}})
    play.feed(request(3, "session/prompt", sessionId=session, prompt=[{"type": "text", "text": "hello"}]))
    play.until({"id": 3, "result": {"stopReason": "end_turn"}})
    play.expect_nothing(1.0)
    await play.act(stream)

What is expected names the members that matter; others may be there. `...` stands for any value. A `Blank` does so too,
where it is met first; from then on it stands for that value. When something else comes, or nothing does, the play
fails, and shows itself up to there.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

import attrs
import trio

Json = dict[str, Any]
CUT = 300  # characters of a message that are shown
SENT, RECEIVED, FAILED = ">>", "<<", "!!"


class Unplayed(AssertionError):
    """Something else was heard than is written, or nothing, or the play never came to its end."""


@attrs.define(eq=False)
class Blank:
    """A value that the other side chooses; it is filled in when it is heard first."""

    name: str = "a value"
    value: Any = ...

    def __repr__(self) -> str:
        return f"<{self.name}>" if self.value is ... else f"<{self.name}: {self.value!r}>"


def request(id: object, method: str, /, **params: Any) -> Json:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def notification(method: str, /, **params: Any) -> Json:
    return {"jsonrpc": "2.0", "method": method, "params": params}


@attrs.frozen
class _Step:
    """`kind` is the method of Play that wrote it."""

    kind: str
    what: Any = None
    seconds: float = 0.0

    def __str__(self) -> str:
        if self.kind == "expect_nothing":
            return f"nothing for {self.seconds:g} s"
        if self.kind == "expect_end":
            return "the end of the stream"
        words = {"feed": "", "expect": "", "until": "some time "}[self.kind]
        return words + (repr(self.what) if isinstance(self.what, bytes) else to_text(self.what))


@attrs.define(eq=False)
class Play:
    """Written by its methods, then acted out once by `act`. `patience`: seconds for each thing that is expected."""

    patience: float = 10.0
    title: str = "play"
    received: list[Any] = attrs.field(factory=list)
    failed: bool = False
    _steps: list[_Step] = attrs.field(factory=list)
    _transcript: list[str] = attrs.field(factory=list)
    _at: int = 0
    _buffer: bytes = b""

    # How it is written

    def feed(self, message: Json | bytes) -> Play:
        """Say this, with what the Blanks in it stand for; bytes go as they are, so any nonsense can be said."""
        return self._write(_Step("feed", message))

    def expect(self, message: Any) -> Play:
        """The very next message is like this."""
        return self._write(_Step("expect", message))

    def until(self, message: Any) -> Play:
        """A message like this comes, maybe after others."""
        return self._write(_Step("until", message))

    def expect_nothing(self, seconds: float = 1.0) -> Play:
        """For so long nothing is heard; the end of the stream would be something."""
        return self._write(_Step("expect_nothing", seconds=seconds))

    def expect_end(self) -> Play:
        """The other side hangs up next."""
        return self._write(_Step("expect_end"))

    def _write(self, step: _Step) -> Play:
        self._steps.append(step)
        return self

    # How it is acted out

    @property
    def finished(self) -> bool:
        return self._at == len(self._steps)

    def check_finished(self) -> None:
        """Raises Unplayed if it was never acted out, or not to its end."""
        if not self.finished:
            self._fail("the play was left unfinished here")

    async def act(self, stream: trio.abc.Stream) -> list[Any]:
        """Act it out to its end; everything that was heard. Raises Unplayed. The stream stays open."""
        while self._at < len(self._steps):
            step = self._steps[self._at]
            await getattr(self, f"_{step.kind}")(stream, step)
            self._at += 1
        return self.received

    async def _feed(self, stream: trio.abc.Stream, step: _Step) -> None:
        data = (
            step.what if isinstance(step.what, bytes) else json.dumps(fill_blanks(step.what)).encode() + b"\n"
        )
        try:
            with trio.fail_after(self.patience):
                await stream.send_all(data)
        except trio.TooSlowError:
            self._fail(f"the other side did not take it within {self.patience:g} s")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._fail("the other side has hung up")
        self._transcript.append(
            f"{SENT} {step if isinstance(step.what, bytes) else to_text(fill_blanks(step.what))}"
        )

    async def _expect(self, stream: trio.abc.Stream, step: _Step) -> None:
        message = await self._message(stream)
        if why := mismatch(step.what, message):
            self._fail(why)
        bind(step.what, message)

    async def _until(self, stream: trio.abc.Stream, step: _Step) -> None:
        while mismatch(step.what, message := await self._message(stream)):
            pass
        bind(step.what, message)

    async def _expect_nothing(self, stream: trio.abc.Stream, step: _Step) -> None:
        with trio.move_on_after(step.seconds):
            line = await self._line(stream)
            self._fail("the stream ended" if line is None else f"this came: {to_text(parse_line(line))}")
        self._transcript.append(f"{RECEIVED} {step}")

    async def _expect_end(self, stream: trio.abc.Stream, step: _Step) -> None:
        if (line := await self._line_in_time(stream)) is not None:
            self._fail(f"this came: {to_text(parse_line(line))}")
        self._transcript.append(f"{RECEIVED} {step}")

    async def _message(self, stream: trio.abc.Stream) -> Any:
        if (line := await self._line_in_time(stream)) is None:
            self._fail("the stream ended")
        message = parse_line(line)
        self.received.append(message)
        self._transcript.append(f"{RECEIVED} {to_text(message)}")
        return message

    async def _line_in_time(self, stream: trio.abc.Stream) -> bytes | None:
        line = None
        with trio.move_on_after(self.patience) as waiting:
            line = await self._line(stream)
        if waiting.cancelled_caught:
            self._fail(f"nothing came for {self.patience:g} s")
        return line

    async def _line(self, stream: trio.abc.Stream) -> bytes | None:
        """The next line; None at the end. Cancelling it loses nothing."""
        while b"\n" not in self._buffer:
            try:
                data = bytes(await stream.receive_some(65536))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _fail(self, why: str) -> NoReturn:
        self.failed = True
        pending = [f"   {_arrow(step)} {step}" for step in self._steps[self._at + 1 :]]
        here = self._steps[self._at]
        script = [
            *(f"   {line}" for line in self._transcript),
            f"{FAILED} {_arrow(here)} {here}",
            f"{FAILED}    {why}",
            *pending,
        ]
        headline = f"{self.title}: step {self._at + 1} of {len(self._steps)}: {why}"
        raise Unplayed("\n".join([headline, *script])) from None


def _arrow(step: _Step) -> str:
    return SENT if step.kind == "feed" else RECEIVED


def parse_line(line: bytes) -> Any:
    """A line as JSON; the line itself if it is none."""
    try:
        return json.loads(line)
    except ValueError:
        return line


def fill_blanks(value: Any) -> Any:
    """A value with each Blank replaced by what it stands for. Raises ValueError for one that stands for nothing yet."""
    if isinstance(value, Blank):
        if value.value is ...:
            raise ValueError(f"{value} has not been heard yet: expect it before it is fed")
        return value.value
    if isinstance(value, dict):
        return {name: fill_blanks(member) for name, member in value.items()}
    return [fill_blanks(item) for item in value] if isinstance(value, list) else value


def mismatch(pattern: Any, value: Any, where: str = "") -> str:
    """Why a value is not like the pattern, as a sentence; nothing if it is."""
    pattern = pattern.value if isinstance(pattern, Blank) else pattern
    if pattern is ...:
        return ""
    if isinstance(pattern, dict) and isinstance(value, dict):
        for name, member in pattern.items():
            inside = f"{where}.{name}".lstrip(".")
            if name not in value:
                return f"it has no {inside}"
            if why := mismatch(member, value[name], inside):
                return why
        return ""
    if isinstance(pattern, list) and isinstance(value, list) and len(pattern) == len(value):
        found = (
            mismatch(*pair, f"{where}[{number}]")
            for number, pair in enumerate(zip(pattern, value, strict=True))
        )
        return next(filter(None, found), "")
    # In Python True == 1 == 1.0; in JSON they are three values.
    if type(pattern) is type(value) and pattern == value:
        return ""
    return f"{where or 'it'} is {to_text(value)}, not {to_text(pattern)}"


def bind(pattern: Any, value: Any) -> None:
    """Fill in the Blanks of a pattern from a value that is like it."""
    if isinstance(pattern, Blank):
        pattern.value = value
    elif isinstance(pattern, dict):
        for name, member in pattern.items():
            bind(member, value[name])
    elif isinstance(pattern, list):
        for pair in zip(pattern, value, strict=True):
            bind(*pair)


def to_text(value: Any) -> str:
    """A message in one line, not too long."""
    text = json.dumps(value, default=lambda it: "..." if it is ... else repr(it), ensure_ascii=False)
    return text if len(text) <= CUT else f"{text[:CUT]}… ({len(text)} characters)"
