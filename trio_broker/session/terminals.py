"""The terminals of one run of an agent, which the broker serves itself (`terminal/…` of ACP; DESIGN D5, D12).

Some agents ask for permission only where their client runs the commands. The agent and the broker are on one machine,
so the broker can: each command is a process in a group of its own, with the environment of the agent, its tags
included, in the directory of the session unless the agent names another. It has no terminal device: stdin is empty, and
stdout and stderr are one pipe, so that their order is kept.

Nothing waits here but the tasks of the commands. `terminal/wait_for_exit`, `kill` and `release` are answered when the
command has exited, by its task; the reader of the agent's line goes on meanwhile.

A command that exits leaves its group alone: what it started in the background runs on until the terminal is killed or
released, as it would in an editor's terminal. When the run of the agent ends, every group gets SIGTERM at once, and
SIGKILL after `term_grace`; what has left its group is found by its tags then.

`command` is the program and `args` are its arguments, says the protocol. Several agents put a whole line for a shell
into `command` and send no `args`, because editors run it in a shell anyway. Where there are no `args`, no such program
is found and the text is not one plain word, `/bin/sh -c` runs it.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import trio

from trio_broker.agent.connection import AgentConnection
from trio_broker.agent.lifecycle import SessionSettings
from trio_broker.agent.process import PIPE_CAPACITY, Command, Ladder
from trio_broker.auth import policy
from trio_broker.auth.call import Call
from trio_broker.auth.policy import Policy
from trio_broker.errors import BadMessage, BrokerError, CallCancelled, Forbidden, SessionOver
from trio_broker.model import Exit
from trio_broker.protocol import acp, jsonrpc
from trio_broker.protocol.codec import structure
from trio_broker.protocol.jsonrpc import Message
from trio_broker.protocol.terminal_output import (
    CALL,
    EMBEDS,
    Output,
    ToolCallContent,
    content_of,
    output_text,
    with_content,
)

RESOURCE_NOT_FOUND = -32002
PLAIN_WORD = re.compile(r"[\w./+:@%,=-]+")  # no shell does anything with it but run it
FLOOD_PAUSE = (
    0.001  # seconds: a command that fills the pipe all the time leaves the broker time for all others
)
OPTIONS = [{"optionId": "allow", "kind": "allow_once"}, {"optionId": "deny", "kind": "reject_once"}]
REMEMBERED = 50  # texts of terminals, and tool calls
HOME = os.path.expanduser("~")


@attrs.define(eq=False)
class Terminal:
    """A command that runs, or has run. `line` is how people would write it; `exit` says how it ended."""

    id: str
    line: str
    command: Command
    output: Output
    exit: Exit | None = None
    _ending: trio.Event = attrs.field(factory=trio.Event)
    _over: bool = False
    _on_exit: list[Callable[[], None]] = attrs.field(factory=list)
    _on_over: list[Callable[[], None]] = attrs.field(factory=list)

    async def run(self, grace: float) -> None:
        """Keep what it writes, until `end` is called; then end its group. Cancelled, it kills the group at once."""
        async with self.command.stdout as stdout:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read, stdout)
                    nursery.start_soon(self._watch)
                    await self._ending.wait()
                    await self.command.end(Ladder(0, grace), _nothing)
                    nursery.cancel_scope.cancel()
            finally:
                with trio.CancelScope(shield=True):  # bounded: no grace, and SIGKILL can't be refused
                    await self.command.end(Ladder(0, 0), _nothing)
                self._exited(self.command.exit)
                self._over = True
                _call_all(self._on_over)

    def end(self) -> None:
        """Begin to end what is left of its group: SIGTERM, and SIGKILL after the grace. Twice is once."""
        self._ending.set()

    def when_exited(self, then: Callable[[], None]) -> None:
        """Call `then` when the command has exited, and all that it wrote is in `output`."""
        self._on_exit.append(then)
        if self.exit is not None:
            _call_all(self._on_exit)

    def when_over(self, then: Callable[[], None]) -> None:
        """Call `then` when its process has been reaped, and what was left of its group killed."""
        self._on_over.append(then)
        if self._over:
            _call_all(self._on_over)

    @property
    def text(self) -> str:
        """What clients see of it."""
        return output_text(self.line, self.output.text)

    def exit_status(self) -> dict[str, Any] | None:
        """ACP's TerminalExitStatus; None while it runs."""
        return None if self.exit is None else self.exit.details()

    async def _read(self, stdout: trio.abc.ReceiveStream) -> None:
        try:
            while data := await stdout.receive_some(PIPE_CAPACITY):
                self.output.add(bytes(data))
                if len(data) == PIPE_CAPACITY:
                    await trio.sleep(FLOOD_PAUSE)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # as good as its end
        self.output.add(b"", final=True)

    async def _watch(self) -> None:
        self._exited(await self.command.wait_exit())

    def _exited(self, exit: Exit | None) -> None:
        if self.exit is None:
            # What it wrote is in the pipe, if not read yet. The end of the pipe can't be waited for: what it has left
            # in the background may hold it open for ever.
            self.output.add(self.command.read_nowait())
            self.exit = exit
            _call_all(self._on_exit)


@attrs.define(eq=False)
class Terminals:
    """Answers the `terminal/…` requests of one run of an agent. `policy` gives that of the turn, or of the session.

    `on_refused` is called with a sentence about a command that was not run because the policy denies it. `publish` is
    called with an update for clients: a tool call that shows a terminal shows its output when the command has exited.
    """

    connection: AgentConnection
    settings: SessionSettings
    policy: Callable[[], Policy]
    on_refused: Callable[[str], None] = lambda _: None
    publish: Callable[[dict[str, Any]], None] = lambda _: None
    open: dict[str, Terminal] = attrs.field(factory=dict)
    closed: bool = False
    _texts: dict[str, str] = attrs.field(
        factory=dict
    )  # the last ones that were released, as clients see them
    _shown: dict[str, ToolCallContent] = attrs.field(
        factory=dict
    )  # tool calls that show a terminal, by their ids
    _starting: int = 0
    _waits: dict[object, bytes] = attrs.field(
        factory=dict
    )  # requests without an answer, by the key of their id
    _nursery: trio.Nursery | None = None
    _early: list[Callable[[], Any]] = attrs.field(factory=list)  # commands that were asked for before `run`

    async def run(self) -> None:
        """Run the commands, until cancelled: that kills them."""
        async with trio.open_nursery() as self._nursery:
            for body in self._early:
                self._nursery.start_soon(body)
            await trio.sleep_forever()

    def receive(self, message: Message) -> None:
        """Answer a request, now or when its command has got so far."""
        self._waits[_key(message.id)] = message.id or b"null"
        try:
            self._dispatch(message)
        except BrokerError as error:
            self._fail(message, error)

    def withdraw(self, id: bytes) -> bool:
        """The agent takes back a request: it is answered so, and the command runs on. False if it is not open here."""
        if (token := self._waits.pop(_key(id), None)) is None:
            return False
        error = CallCancelled("Request cancelled")
        self.connection.send_quietly(jsonrpc.exception_response(token, error))
        return True

    def close(self) -> None:
        """The run ends: begin to end every command, and start none any more. Twice is once."""
        self.closed = True
        for terminal in self.open.values():
            terminal.end()

    def for_clients(self, lines: bytes) -> bytes:
        """Updates of the agent with the output of its terminals in their place, of which clients know nothing."""
        if EMBEDS not in lines and not (self._shown and CALL in lines):
            return lines
        return b"".join(self._for_clients(line) + b"\n" for line in lines.rstrip(b"\n").split(b"\n"))

    def _for_clients(self, line: bytes) -> bytes:
        content = content_of(line, self._text_of) if CALL in line else None
        if content is None:
            return line
        self._shown.pop(content.tool_call_id, None)
        if not content.terminals:
            return line
        if any(one.exit is None for id, one in self.open.items() if id in content.terminals):
            self._shown = dict([*self._shown.items()][-REMEMBERED:]) | {content.tool_call_id: content}
        return self.connection.redact(with_content(line, content.as_text(self._text_of)))

    def _text_of(self, id: str) -> str | None:
        terminal = self.open.get(id)
        return self._texts.get(id) if terminal is None else terminal.text

    def _publish(self, terminal: Terminal) -> None:
        """Its command has exited: the tool calls that show it show the whole output."""
        if terminal.id in self._texts:
            self._texts[terminal.id] = terminal.text
        for content in [one for one in self._shown.values() if terminal.id in one.terminals]:
            items = content.as_text(self._text_of)
            update = {
                "sessionUpdate": "tool_call_update",
                "toolCallId": content.tool_call_id,
                "content": items,
            }
            self.publish(jsonrpc.decode(self.connection.redact(jsonrpc.encode(update))))

    def _dispatch(self, message: Message) -> None:
        if self.closed:
            raise SessionOver("the session is ending: it runs no commands any more")
        if message.method == "terminal/create":
            self._create(message, structure(message.params, acp.CreateTerminalRequest))
            return
        act = {
            "terminal/output": self._output,
            "terminal/wait_for_exit": self._wait_for_exit,
            "terminal/kill": self._kill,
            "terminal/release": self._release,
        }.get(message.method or "")
        if act is None:
            text = f"Method not found: {message.method}"
            raise BadMessage(text, rpc_code=jsonrpc.METHOD_NOT_FOUND)
        id = structure(message.params, acp.TerminalOutputRequest).terminal_id
        if (terminal := self.open.get(id)) is None:
            text = f"there is no terminal {id!r}: it was released, or is another session's"
            raise BadMessage(text, rpc_code=RESOURCE_NOT_FOUND, terminalId=id)
        act(message, terminal)

    def _output(self, message: Message, terminal: Terminal) -> None:
        output = terminal.output
        facts = {"output": output.text, "truncated": output.truncated, "exitStatus": terminal.exit_status()}
        self._answer(message, facts)

    def _wait_for_exit(self, message: Message, terminal: Terminal) -> None:
        terminal.when_exited(lambda: self._answer(message, terminal.exit_status() or {}))

    def _kill(self, message: Message, terminal: Terminal) -> None:
        terminal.end()
        terminal.when_over(partial(self._answer, message, {}))

    def _release(self, message: Message, terminal: Terminal) -> None:
        del self.open[terminal.id]
        self._texts = dict([*self._texts.items()][-REMEMBERED:]) | {terminal.id: terminal.text}
        terminal.end()
        terminal.when_over(partial(self._answer, message, {}))

    def _create(self, message: Message, asked: acp.CreateTerminalRequest) -> None:
        limit = self.settings.max_terminals
        if len(self.open) + self._starting >= limit:
            raise BadMessage(
                f"{limit} terminals of this session are not released, the limit; release some, or raise max_terminals "
                "in [broker]",
                rpc_code=jsonrpc.INTERNAL_ERROR,
                limit=limit,
            )
        cwd, env = self._directory(asked), _environment(asked)
        line = shlex.join([asked.command, *asked.args]) if asked.args else asked.command
        if (by := denied_by(self.settings, self.policy(), line, asked)) is not None:
            self.on_refused(f"not run, denied by {by}: {line}")
            raise Forbidden(f"the command was not run: {by} denies it", by=by)
        self._starting += 1
        body = partial(self._run, message, asked, line, cwd, env)
        if self._nursery is None:
            self._early.append(body)
        else:
            self._nursery.start_soon(body)

    async def _run(
        self, message: Message, asked: acp.CreateTerminalRequest, line: str, cwd: str, env: dict[str, str]
    ) -> None:
        agent = self.connection.agent
        most = self.settings.terminal_output
        keep = most if asked.output_byte_limit is None else min(most, asked.output_byte_limit)
        try:
            command = await agent.start_command(self._words(asked, cwd, env), cwd, env)
        except (OSError, ValueError) as error:
            self._fail(message, _start_failure(asked, cwd, error))
            return
        finally:
            self._starting -= 1
        # No await from here to the `try` of `Terminal.run`: a command that was started always has an owner.
        terminal = Terminal(f"terminal-{secrets.token_hex(6)}", line, command, Output(keep))
        if self.closed:
            terminal.end()
        self.open[terminal.id] = terminal
        terminal.when_exited(partial(self._publish, terminal))  # before anybody is told that it has exited
        self._answer(message, {"terminalId": terminal.id})
        await terminal.run(self.settings.ladder.term_grace)

    def _words(self, asked: acp.CreateTerminalRequest, cwd: str, env: dict[str, str]) -> list[str]:
        """The command line: what was asked for, or a shell for a line that is meant for one (see above)."""
        if asked.args or PLAIN_WORD.fullmatch(asked.command):
            return [asked.command, *asked.args]
        path = {**self.connection.agent.env, **env}.get("PATH")
        name = os.path.join(cwd, asked.command) if "/" in asked.command else asked.command
        return [asked.command] if shutil.which(name, path=path) else ["/bin/sh", "-c", asked.command]

    def _directory(self, asked: acp.CreateTerminalRequest) -> str:
        cwd = self.settings.cwd if asked.cwd is None else asked.cwd
        if not os.path.isabs(cwd) or "\0" in cwd:
            text = f"params.cwd: expected an absolute path, not {cwd!r}"
            raise BadMessage(text, rpc_code=jsonrpc.INVALID_PARAMS)
        return cwd

    def _answer(self, message: Message, result: dict[str, Any]) -> None:
        if (id := self._waits.pop(_key(message.id), None)) is not None:
            self.connection.send_quietly(jsonrpc.response(id, jsonrpc.encode(result)))

    def _fail(self, message: Message, error: BrokerError) -> None:
        if (id := self._waits.pop(_key(message.id), None)) is not None:
            self.connection.send_quietly(jsonrpc.exception_response(id, error))


def denied_by(
    settings: SessionSettings, default: Policy, line: str, asked: acp.CreateTerminalRequest
) -> str | None:
    """What forbids this command outright, such as `policy rule 2`; None if it is allowed, or people are to be asked.

    They are asked by the agent, which sends a permission request first. That is the protocol: what an agent runs here
    without asking, it could run by itself, too.
    """
    given = {"command": line, "args": asked.args, "cwd": asked.cwd or settings.cwd}
    tool_call = {"kind": "execute", "title": line, "rawInput": given}
    call = Call(tool_call, settings.spec.name, settings.key, settings.cwd, HOME)
    decision = policy.decide(settings.asking.rules, default, call, OPTIONS)
    return decision.by if decision.option_id == "deny" and not decision.ask else None


def _environment(asked: acp.CreateTerminalRequest) -> dict[str, str]:
    if (limit := asked.output_byte_limit) is not None and limit < 0:
        text = f"params.outputByteLimit: expected 0 or more, not {limit}"
        raise BadMessage(text, rpc_code=jsonrpc.INVALID_PARAMS)
    for number, variable in enumerate(asked.env):
        if not variable.name or "=" in variable.name or "\0" in variable.name + variable.value:
            text = f"params.env.{number}: no process can get a variable {variable.name!r}, or its value"
            raise BadMessage(text, rpc_code=jsonrpc.INVALID_PARAMS)
    if not asked.command or "\0" in "".join([asked.command, *asked.args]):
        text = "params.command: expected a program, without NUL in its words"
        raise BadMessage(text, rpc_code=jsonrpc.INVALID_PARAMS)
    return {variable.name: variable.value for variable in asked.env}


def _start_failure(asked: acp.CreateTerminalRequest, cwd: str, error: Exception) -> BadMessage:
    what, code = str(error), jsonrpc.INTERNAL_ERROR
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        code = RESOURCE_NOT_FOUND
        what = (
            "it is not in the PATH of the agent" if "/" not in asked.command else "there is no such program"
        )
        if not os.path.isdir(cwd):
            what = f"its directory {cwd} does not exist"
    text = f"the command {asked.command!r} could not be started: {what}"
    return BadMessage(text, rpc_code=code)


def _call_all(calls: list[Callable[[], None]]) -> None:
    due, calls[:] = calls[:], []
    for call in due:
        call()


def _key(id: bytes | None) -> tuple[type, object]:
    return jsonrpc.id_key(id or b"null")


def _nothing() -> None:
    """A command has no stdin to close."""
