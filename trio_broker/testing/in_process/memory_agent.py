"""An agent without a process, for tests in virtual time: ten minutes of silence cost nothing on an autojump clock.

`MemoryAgents(nursery).spawn` goes where a broker wants its `spawn`. What an agent does in a turn is written in the
prompt, in some of the words of `testing.agent`: acts, separated by `;`, and other text is answered by "echo: TEXT".

    say TEXT · wait S · hang · hang-hard (hears no cancel) · ask TITLE · die CODE · close-stdout · late N
    run COMMAND (in a terminal of the broker)
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import attrs
import trio
import trio.testing

from trio_broker.agent.lifecycle import SessionSettings
from trio_broker.agent.process import Ladder
from trio_broker.model import Exit

Json = dict[str, Any]
SIGKILL, SIGPIPE, SIGTERM = 9, 13, 15
FIRST_PID = 4_000_000  # above what Linux gives: nobody's process is ended by mistake
OPTIONS = [
    {"optionId": "allow", "name": "Allow", "kind": "allow_once"},
    {"optionId": "reject", "name": "Reject", "kind": "reject_once"},
]


@attrs.frozen
class Habits:
    """What the agents of a test do and leave undone. `start`: seconds until `initialize` is answered."""

    start: float = 0.0
    never_starts: bool = False
    ignores_eof: bool = False
    ignores_term: bool = False
    # Reads nothing after session/new until `reading_resumed` is set; its stdin holds nothing either.
    stops_reading: bool = False
    dies: int | None = None  # exits with this code instead of answering `initialize`
    load: bool = False  # can session/load, and replays one thing that was said before
    resume: bool = False  # can session/resume
    modes: Json | None = None
    forgets: bool = False  # refuses both, though it says that it can
    version: int = 1  # of ACP
    session_id: str = ""  # what every one of them calls its session; else each has an id of its own
    mute: frozenset[str] = frozenset()  # methods it leaves to the test to answer


@attrs.define(eq=False)
class MemoryAgents:
    """Spawns agents into `nursery`; `spawned` has all of them, in order, and `most` the most that lived at once."""

    nursery: trio.Nursery
    habits: Habits = Habits()
    spawned: list[MemoryAgent] = attrs.field(factory=list)
    most: int = 0

    async def spawn(self, settings: SessionSettings) -> MemoryAgent:
        await trio.lowlevel.checkpoint()
        agent = MemoryAgent(FIRST_PID + len(self.spawned), settings, self.habits)
        self.spawned.append(agent)
        self.most = max(self.most, sum(agent.alive() for agent in self.spawned))
        self.nursery.start_soon(agent.run)
        return agent

    def alive(self) -> list[MemoryAgent]:
        return [agent for agent in self.spawned if agent.alive()]


def _pipe() -> tuple[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]:
    return trio.testing.memory_stream_one_way_pair()


@attrs.define(eq=False)
class MemoryCommand:
    """A command that an agent in memory has the broker run: `sleep S` does, and whatever else writes its own words."""

    pid: int
    argv: tuple[str, ...]
    exit: Exit | None = None
    _exited: trio.Event = attrs.field(factory=trio.Event)
    _out: tuple[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream] = attrs.field(factory=_pipe)

    @property
    def stdout(self) -> trio.abc.ReceiveStream:
        return self._out[1]

    def read_nowait(self) -> bytes:
        return b""

    async def run(self) -> None:
        with trio.move_on_after(float(self.argv[1]) if self.argv[0] == "sleep" else 0):
            await self._exited.wait()
        if self.exit is None:
            await self._out[0].send_all(" ".join(self.argv).encode())
            self._finish(Exit(code=0))

    async def wait_exit(self) -> Exit:
        await self._exited.wait()
        return self.exit or Exit()

    async def end(self, ladder: Ladder, close_stdin: Callable[[], None]) -> None:
        await trio.lowlevel.checkpoint()
        self._finish(Exit(signal=SIGTERM))

    def _finish(self, exit: Exit) -> None:
        self.exit = self.exit or exit
        self._out[0].close()
        self._exited.set()


@attrs.define(eq=False)
class MemoryAgent:
    """One agent: the broker's side is `process.Agent`.

    `received` has what it was sent, `sent_updates` its updates in this life, `signals` what ended it.
    """

    pid: int
    settings: SessionSettings
    habits: Habits = Habits()
    exit: Exit | None = None
    exited: trio.Event = attrs.field(factory=trio.Event)
    received: list[Json] = attrs.field(factory=list)
    sent_updates: list[Json] = attrs.field(factory=list)
    signals: list[int] = attrs.field(factory=list)
    reading_resumed: trio.Event = attrs.field(factory=trio.Event)
    session_id: str = ""
    turns: dict[object, trio.Event] = attrs.field(factory=dict)
    env: dict[str, str] = attrs.field(factory=dict)
    _nursery: trio.Nursery | None = None
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _writing: trio.Lock = attrs.field(factory=trio.Lock)
    _answers: dict[object, tuple[trio.Event, Json]] = attrs.field(factory=dict)
    _in: tuple[Any, Any] = attrs.field(init=False)
    _out: tuple[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream] = attrs.field(factory=_pipe)
    _err: tuple[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream] = attrs.field(factory=_pipe)

    def __attrs_post_init__(self) -> None:
        self._in = trio.testing.lockstep_stream_one_way_pair() if self.habits.stops_reading else _pipe()
        self.session_id = self.habits.session_id or f"memory-{self.pid}"

    # The broker's side

    @property
    def stdin(self) -> trio.abc.SendStream:
        stream: trio.abc.SendStream = self._in[0]
        return stream

    @property
    def stdout(self) -> trio.abc.ReceiveStream:
        return self._out[1]

    @property
    def stderr(self) -> trio.abc.ReceiveStream:
        return self._err[1]

    def alive(self) -> bool:
        return self.exit is None

    def unreaped_pids(self) -> set[int]:
        return {self.pid} if self.exit is None else set()

    async def start_command(self, argv: Sequence[str], cwd: str, env: Mapping[str, str]) -> MemoryCommand:
        await trio.lowlevel.checkpoint()
        command = MemoryCommand(self.pid + 1, tuple(argv))
        assert self._nursery is not None
        self._nursery.start_soon(command.run)
        return command

    async def watch(self) -> None:
        await self.exited.wait()

    async def end(self, ladder: Ladder, hang_up: Callable[[], None]) -> None:
        hang_up()
        await self._wait_exit(ladder.close_grace)
        if not self.habits.ignores_term:
            self.kill(SIGTERM)
        await self._wait_exit(ladder.term_grace)
        self.kill(SIGKILL)
        await self.exited.wait()

    async def _wait_exit(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self.exited.wait()

    # What a test does to it

    def kill(self, number: int = SIGKILL) -> None:
        """End it by a signal, at once; one that has ended already stays as it is."""
        if self.exit is None:
            self.signals.append(number)
            self._exit(Exit(signal=number))

    def _exit(self, exit: Exit) -> None:
        self.exit = exit
        self._scope.cancel()  # first: it is not to hear of its own closed pipes
        self._out[0].close()
        self._err[0].close()
        self._in[1].close()
        self.exited.set()

    async def send(self, message: Json) -> None:
        await self.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    async def write(self, data: bytes) -> None:
        """Any bytes on its stdout."""
        async with self._writing:
            await self._out[0].send_all(data)

    async def write_stderr(self, text: str) -> None:
        """A line on its stderr."""
        await self._err[0].send_all(text.encode() + b"\n")

    async def update(self, tag: str, **fields: Any) -> None:
        update = {"sessionUpdate": tag, **fields}
        await self.send(
            {"method": "session/update", "params": {"sessionId": self.session_id, "update": update}}
        )
        self.sent_updates.append(update)

    async def say(self, text: str) -> None:
        await self.update("agent_message_chunk", content={"type": "text", "text": text})

    async def request(self, method: str, params: Json, id: object = None, *, of_session: bool = True) -> Json:
        """Ask the broker something, under an id of the agent's own choice; the response, whole."""
        id = f"ask-{len(self._answers) + len(self.received)}" if id is None else id
        event, response = self._answers[id] = trio.Event(), {}
        session = {"sessionId": self.session_id} if of_session else {}
        await self.send({"id": id, "method": method, "params": {**session, **params}})
        await event.wait()
        return response

    async def ask(self, title: str, kind: str = "execute", id: object = None) -> Json:
        """Ask for a permission; the response, whole."""
        tool = {"toolCallId": f"call {title}", "title": title, "kind": kind}
        return await self.request("session/request_permission", {"toolCall": tool, "options": OPTIONS}, id)

    async def answer(self, id: object, **result: Any) -> None:
        """Answer a request of the broker, whether it is open or not."""
        await self.send({"id": id, "result": result})

    async def refuse(self, id: object, error: object) -> None:
        """Answer a request of the broker with an error, or with what is none."""
        await self.send({"id": id, "error": error})

    def got(self, method: str) -> list[Json]:
        """The messages of that method that it was sent, in order."""
        return [one for one in self.received if one.get("method") == method]

    def prompts(self) -> list[str]:
        """The texts of the prompts it was sent, in order."""
        return [message["params"]["prompt"][0]["text"] for message in self.got("session/prompt")]

    def methods(self) -> list[str]:
        """The methods it was sent, in order; "" for a response."""
        return [message.get("method", "") for message in self.received]

    # Its life

    async def run(self) -> None:
        """Read and answer until it is ended, or its stdin is and it heeds that."""
        with self._scope:
            try:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    await self._read(nursery)
                    if self.habits.ignores_eof:
                        await trio.sleep_forever()
                    nursery.cancel_scope.cancel()
            except* trio.ClosedResourceError:
                if self.exit is None:  # else it was killed at its work, and its pipes with it
                    raise
            except* trio.BrokenResourceError:  # nobody reads what it says
                self.kill(SIGPIPE)
        if self.exit is None:
            self._exit(Exit(code=0))

    async def _read(self, nursery: trio.Nursery) -> None:
        rest = b""
        while data := await self._in[1].receive_some(65536):
            *lines, rest = (rest + bytes(data)).split(b"\n")
            for line in lines:
                await self._receive(json.loads(line), nursery)

    async def _receive(self, message: Json, nursery: trio.Nursery) -> None:
        self.received.append(message)
        method = message.get("method")
        if method is None:
            event, response = self._answers.pop(message["id"])
            response.update(message)
            event.set()
        elif method in self.habits.mute:
            return
        elif method == "session/prompt":
            self.turns[message["id"]] = trio.Event()
            nursery.start_soon(self._turn, message)
        elif method == "session/cancel":
            for cancelled in self.turns.values():
                cancelled.set()
        elif answer := HANDLERS.get(method):
            await answer(self, message)
        elif "id" in message:
            error = {"code": -32601, "message": "Method not found"}
            await self.send({"id": message["id"], "error": error})

    async def _initialize(self, message: Json) -> None:
        if self.habits.never_starts:
            await trio.sleep_forever()
        if self.habits.dies is not None:
            self._exit(Exit(code=self.habits.dies))
        await trio.sleep(self.habits.start)
        of_sessions: Json = {"close": {}} | ({"resume": {}} if self.habits.resume else {})
        capabilities = {"loadSession": self.habits.load, "sessionCapabilities": of_sessions}
        result = {
            "protocolVersion": self.habits.version,
            "agentCapabilities": capabilities,
            "authMethods": [],
        }
        await self.send({"id": message["id"], "result": result})

    async def _new(self, message: Json) -> None:
        await self.send({"id": message["id"], "result": {"sessionId": self.session_id, **self._modes()}})
        if self.habits.stops_reading:
            await self.reading_resumed.wait()

    async def _load_or_resume(self, message: Json) -> None:
        if self.habits.forgets:
            error = {"code": -32002, "message": "Session not found"}
            await self.send({"id": message["id"], "error": error})
            return
        self.session_id = message["params"]["sessionId"]
        if message["method"] == "session/load":
            await self.say("said before")
            self.sent_updates.clear()  # nothing of it is new
        await self.send({"id": message["id"], "result": self._modes()})

    def _modes(self) -> Json:
        return {} if self.habits.modes is None else {"modes": self.habits.modes}

    async def _set_mode(self, message: Json) -> None:
        await self.send({"id": message["id"], "result": {}})

    async def _turn(self, message: Json) -> None:
        cancelled = self.turns[message["id"]]
        text = " ".join(block.get("text", "") for block in message["params"]["prompt"])
        late: list[str] = []
        for piece in filter(None, map(str.strip, text.split(";"))):
            await self._run_action(piece, cancelled, late)
            if cancelled.is_set():
                break
        reason = "cancelled" if cancelled.is_set() else "end_turn"
        del self.turns[message["id"]]
        await self.send({"id": message["id"], "result": {"stopReason": reason}})
        for words in late:
            await self.say(words)

    async def _run_action(self, piece: str, cancelled: trio.Event, late: list[str]) -> None:
        word, _, rest = piece.partition(" ")
        if word == "say":
            await self.say(rest)
        elif word in ("wait", "hang"):
            with trio.move_on_after(float(rest or "inf")):
                await cancelled.wait()
        elif word == "hang-hard":
            await trio.sleep_forever()
        elif word == "ask":
            outcome = (await self.ask(rest)).get("result", {}).get("outcome", {})
            await self.say(outcome.get("optionId") or outcome.get("outcome") or "no answer")
        elif word == "run":
            await self.say(await self._run_command(*rest.split()))
        elif word == "die":
            self._exit(Exit(code=int(rest)))
        elif word == "close-stdout":
            self._out[0].close()
        elif word == "late":
            late += [f"late {number}" for number in range(int(rest))]
        else:
            await self.say(f"echo: {piece}")

    async def _run_command(self, program: str, *args: str) -> str:
        made = await self.request("terminal/create", {"command": program, "args": args})
        await self.request("terminal/wait_for_exit", made["result"])
        output = await self.request("terminal/output", made["result"])
        await self.request("terminal/release", made["result"])
        return str(output["result"]["output"])


HANDLERS: dict[str, Callable[[MemoryAgent, Json], Awaitable[None]]] = {
    "initialize": MemoryAgent._initialize,
    "session/new": MemoryAgent._new,
    "session/load": MemoryAgent._load_or_resume,
    "session/resume": MemoryAgent._load_or_resume,
    "session/set_mode": MemoryAgent._set_mode,
}
