"""A scripted ACP agent for tests: what it does in a turn is written in the prompt itself.

    python -m trio_broker.testing.agent [--name X] [flags]        (or by the path of this file, with -S -E)

A prompt's text is a list of acts, separated by `;` or newlines; other text is answered by "echo: TEXT". The
acts are the methods `act_…` of `Turn`, their arguments stand in `ACTS`, the flags in `FLAGS`. An act whose
arguments do not fit is taken for other text ("wait for me" is no `wait`).

Standard library only, and only what starts fast: two hundred of these are started in one test. One file,
though a long one, because it is also run by its path, where no package is there to import from. The main
thread reads stdin and answers at once; each turn has its own thread, so that a cancel is seen in mid-turn.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

Json = dict[str, Any]

METHOD_NOT_FOUND, INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR = -32601, -32602, -32600, -32700
AUTH_REQUIRED, NOT_FOUND = -32000, -32002
KINDS = ("read", "edit", "delete", "move", "search", "execute", "think", "fetch")
LATE = 1024 * 1024 + 128 * 1024  # 1 MiB has been consumed once this is written: a pipe holds 64 KiB

FLAGS = {
    "--name": "X: the agent's name in initialize",
    "--slow-start": "S: sleeps before it reads anything",
    "--no-start": "never answers initialize",
    "--exit-at-start": "CODE: exits before it reads anything",
    "--banner": "a line of text on stdout before anything else",
    "--protocol": "N: answers this protocol version",
    "--load": "can session/load",
    "--ignore-eof": "lives on after the end of stdin",
    "--ignore-term": "ignores SIGTERM",
    "--auth": "session/new fails with -32000 until authenticate",
    "--deaf": "never reads stdin after session/new",
    "--log": "FILE: appends each line received, after its pid",
    "--stderr": "TEXT: a line on stderr at the start",
    "--early-update": "available_commands_update before the reply to session/new",
    "--read-late": "after session/new: reads on only when 1 MiB of its stdout was consumed",
    "--ask-late": "the same, and asks for a permission half-way, while nobody reads",
    "--error-on-cancel": "answers a cancelled prompt with an error",
}


class RpcError(Exception):
    """Answers the request that is being handled with a JSON-RPC error."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.error: Json = {"code": code, "message": message} | ({} if data is None else {"data": data})


class Link:
    """JSON-RPC over stdin and stdout: one thread reads, any thread writes and asks."""

    def __init__(self, log: str | None = None) -> None:
        self.written = 0
        self.on_chunk: Callable[[], None] = lambda: None
        self._writing = threading.Lock()
        self._open: dict[str, tuple[threading.Event, Json]] = {}
        self._next = 0
        self._log = log

    def write(self, data: bytes) -> None:
        """All of `data` on stdout, in one piece; ends the process if nobody reads there any more."""
        with self._writing:
            self.written += len(data)
            try:
                write_all(1, data)
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
        if id is None:
            id, self._next = self._next, self._next + 1
        answered, response = self._open[json.dumps(id)] = (threading.Event(), {})
        self.send({"id": id, "method": method, "params": params})
        answered.wait()
        return response

    def serve(self, handle: Callable[[Json], object], background: Callable[[Json], bool]) -> None:
        """Handle each line of stdin until its end.

        A request is answered with what `handle` returns, unless `background` took it: it answers for itself.
        """
        for line in self._lines():
            self._record(line)
            try:
                message = json.loads(line)
            except ValueError as error:
                self.fail(None, {"code": PARSE_ERROR, "message": f"Parse error: {error}"})
                continue
            if not isinstance(message, dict):
                self.fail(None, {"code": INVALID_REQUEST, "message": "no JSON-RPC message"})
            elif "method" not in message:
                self._answered(message)
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

    def _answered(self, message: Json) -> None:
        if found := self._open.pop(json.dumps(message.get("id")), None):
            answered, response = found
            response.update(message)
            answered.set()

    def _lines(self) -> Iterator[bytes]:
        parts: list[bytes] = []
        while chunk := os.read(0, 65536):
            self.on_chunk()
            *lines, rest = chunk.split(b"\n")
            for line in lines:
                whole = b"".join([*parts, line])
                parts.clear()
                if whole.strip():
                    yield whole
            parts.append(rest)

    def _record(self, line: bytes) -> None:
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


class Session:
    def __init__(self, params: Json) -> None:
        self.id = new_session_id()
        self.params = params
        self.mode = "ask"
        self.model = "small"
        self.turn: Turn | None = None

    def modes(self) -> Json:
        modes = [{"id": "ask", "name": "Ask"}, {"id": "code", "name": "Code"}]
        return {"currentModeId": self.mode, "availableModes": modes}

    def options(self) -> list[Json]:
        values = [{"value": "small", "name": "Small"}, {"value": "large", "name": "Large"}]
        model = {"id": "model", "name": "Model", "category": "model", "type": "select"}
        return [{**model, "currentValue": self.model, "options": values}]

    def state(self) -> Json:
        return {"modes": self.modes(), "configOptions": self.options()}


class Stop(Exception):
    """The turn is over before its last act."""


class Turn:
    """One prompt: its acts, in a thread of its own."""

    def __init__(self, link: Link, session: Session, message: Json, answered: list[object]) -> None:
        self.link, self.session, self.id = link, session, message["id"]
        self.params: Json = message.get("params") or {}
        self.text = prompt_text(self.params)
        self.cancelled = threading.Event()
        self.stop_reason = "end_turn"
        self.error_on_cancel = False
        self.error: Json | None = None
        self.after: list[Callable[[], None]] = []
        self.answered = answered  # ids of earlier prompts
        self.calls = 0

    def run(self) -> None:
        try:
            for act in self._acts():
                act()
                if self.cancelled.is_set():
                    break
        except Stop:
            pass
        self.session.turn = None
        self.answer()
        self.answered.append(self.id)
        for after in self.after:
            after()

    def answer(self) -> None:
        if self.cancelled.is_set() and self.error_on_cancel:
            self.error = {"code": -32603, "message": "the turn was aborted"}
        if self.error is not None:
            self.link.fail(self.id, self.error)
        else:
            reason = "cancelled" if self.cancelled.is_set() else self.stop_reason
            self.link.reply(self.id, {"stopReason": reason})

    def _acts(self) -> list[Callable[[], object]]:
        pieces = [piece.strip() for piece in self.text.replace("\n", ";").split(";")]
        acts = [(self._act(piece), piece) for piece in pieces if piece]
        if not any(act for act, _ in acts):
            return [partial(self.say, f"echo: {self.text}")]
        return [act or partial(self.say, f"echo: {piece}") for act, piece in acts]

    def _act(self, piece: str) -> Callable[[], object] | None:
        word, _, rest = piece.partition(" ")
        pattern = ACTS.get(word)
        if pattern is None or not re.fullmatch(pattern, rest.strip()):
            return None
        return partial(getattr(self, "act_" + word.replace("-", "_")), rest.strip())

    def update(self, tag: str, /, **fields: Any) -> None:
        self.link.update(self.session.id, tag, **fields)

    def say(self, text: str) -> None:
        self.update("agent_message_chunk", content=text_block(text))

    def wait(self, seconds: float | None = None) -> None:
        if self.cancelled.wait(seconds):
            raise Stop

    # what it says

    act_say = act_echo = say

    def act_think(self, text: str) -> None:
        self.update("agent_thought_chunk", content=text_block(text))

    def act_plan(self, _: str) -> None:
        states = ("completed", "in_progress", "pending")
        entries = [
            {"content": f"step {n}", "priority": "medium", "status": state} for n, state in enumerate(states)
        ]
        self.update("plan", entries=entries)

    def act_tool(self, rest: str) -> None:
        """`tool TITLE [SECONDS]`: quiet for so long; a cancel fails it."""
        title, _, seconds = rest.rpartition(" ")
        if not title or not re.fullmatch(NUMBER, seconds):
            title, seconds = rest, "0"
        call = self._tool_call(title)
        self.update("tool_call", **call)
        self.update("tool_call_update", toolCallId=call["toolCallId"], status="in_progress")
        stopped = self.cancelled.wait(float(seconds))
        status = "failed" if stopped else "completed"
        content = [{"type": "content", "content": text_block(f"{title}: {status}")}]
        self.update("tool_call_update", toolCallId=call["toolCallId"], status=status, content=content)

    def _tool_call(self, title: str) -> Json:
        self.calls += 1
        first = title.split()[0].lower()
        kind = first if first in KINDS else "execute"
        return {"toolCallId": f"call-{self.calls}", "title": title, "kind": kind, "status": "pending"}

    def act_env(self, _: str) -> None:
        self.say(json.dumps(dict(os.environ)))

    def act_fds(self, _: str) -> None:
        self.say(json.dumps(_open_fds()))

    def act_pid(self, _: str) -> None:
        self.say(str(os.getpid()))

    def act_cwd(self, _: str) -> None:
        self.say(os.getcwd())

    def act_session(self, _: str) -> None:
        """`session`: the parameters of its session/new."""
        self.say(json.dumps(self.session.params))

    def act_prompt(self, _: str) -> None:
        """`prompt`: the parameters of this session/prompt."""
        self.say(json.dumps(self.params))

    # what it asks

    def act_ask(self, title: str) -> None:
        self._ask(title)

    def act_collide(self, rest: str) -> None:
        """`collide [TITLE]`: an ask under the very id of the prompt."""
        self._ask(rest or "collide", self.id)

    def act_string_id_ask(self, rest: str) -> None:
        self._ask(rest or "string id", f"ask-{self.calls}")

    def _ask(self, title: str, id: object = None) -> None:
        params = {"sessionId": self.session.id, "toolCall": self._tool_call(title), "options": OPTIONS}
        response = self.link.request("session/request_permission", params, id)
        outcome = (response.get("result") or {}).get("outcome") or {}
        self.say(outcome.get("optionId") or outcome.get("outcome") or _error_words(response))

    def act_elicit(self, _: str) -> None:
        schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
        params = {
            "sessionId": self.session.id,
            "mode": "form",
            "message": "Your name?",
            "requestedSchema": schema,
        }
        response = self.link.request("elicitation/create", params)
        self.say(json.dumps(response["result"]) if "result" in response else _error_words(response))

    def act_unknown_request(self, _: str) -> None:
        self.say(_error_words(self.link.request("_x/unknown", {"sessionId": self.session.id})))

    # how long it takes

    def act_wait(self, seconds: str) -> None:
        self.wait(float(seconds))

    def act_hang(self, _: str) -> None:
        self.wait()

    def act_hang_hard(self, _: str) -> None:
        threading.Event().wait()

    # what it writes

    def act_flood(self, rest: str) -> None:
        """`flood N [SIZE]`: N chunks of SIZE characters each, numbered."""
        count, size = (int(word) for word in [*rest.split(), "100"][:2])
        for number in range(count):
            self.say(f"{number} ".ljust(size, "."))
            if self.cancelled.is_set():
                raise Stop

    def act_big(self, size: str) -> None:
        """`big BYTES`: one line of that size, its newline not counted."""
        self.link.write(self._big_line(int(size)))

    def _big_line(self, size: int) -> bytes:
        content = {"sessionUpdate": "agent_message_chunk", "content": text_block("@")}
        params = {"sessionId": self.session.id, "update": content}
        line = json.dumps({"jsonrpc": "2.0", "method": "session/update", "params": params}).encode()
        return line.replace(b"@", b"x" * (size - len(line) + 1)) + b"\n"

    def act_garbage(self, _: str) -> None:
        self.link.write(b"npm warn deprecated: this line is no JSON\n")

    def act_bad_utf8(self, _: str) -> None:
        self.link.write(b'{"jsonrpc":"2.0","method":"session/update","params":{"text":"\xff\xfe"}}\n')

    def act_stderr(self, size: str) -> None:
        count = int(size)
        write_all(2, (b"e" * 79 + b"\n") * (count // 80) + b"e" * (count % 80))

    def act_foreign(self, _: str) -> None:
        self.link.update(new_session_id(), "agent_message_chunk", content=text_block("foreign"))

    def act_wrong_id(self, _: str) -> None:
        self.link.reply(987654321, {})

    def act_stale_reply(self, _: str) -> None:
        """`stale-reply`: answers an earlier prompt, or the session/new, once more."""
        self.link.reply(self.answered[-1], {"stopReason": "end_turn"})

    # how it ends

    def act_stop(self, reason: str) -> None:
        self.stop_reason = reason

    def act_error(self, rest: str) -> None:
        code, _, message = rest.partition(" ")
        self.error = {"code": int(code), "message": message}
        raise Stop

    def act_double_reply(self, _: str) -> None:
        self.after.append(self.answer)

    def act_late(self, count: str) -> None:
        self.after += [partial(self.say, f"late {number}") for number in range(int(count))]

    def act_exit(self, code: str) -> None:
        """`exit CODE`: ends with the turn, in the moment after its answer."""
        self.after.append(partial(os._exit, int(code)))

    def act_die(self, code: str) -> None:
        os._exit(int(code))

    def act_kill(self, name: str) -> None:
        number = int(name) if name.isdigit() else getattr(signal, "SIG" + name.upper().removeprefix("SIG"))
        if not callable(signal.getsignal(number)):
            signal.raise_signal(number)  # in this thread, so that no further act overtakes it
            return
        os.kill(os.getpid(), number)
        if number != signal.SIGTERM or not Agent.ignores_term:
            self.act_hang_hard("")  # the handler runs in the main thread

    def act_close_stdout(self, _: str) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)  # not only closed: the next file opened would become the new stdout
        os.close(null)

    def act_ignore_term(self, _: str) -> None:
        Agent.ignores_term = True

    def act_fork_child(self, _: str) -> None:
        """`fork-child`: a sleeping child in the group, holding stdout and stderr; says its pid."""
        self.say(str(_sleeper(False)))

    def act_setsid_child(self, _: str) -> None:
        self.say(str(_sleeper(True)))


NUMBER = r"\d+(\.\d+)?"
ACTS = {
    **dict.fromkeys(("say", "echo", "think", "ask"), r".+"),
    **dict.fromkeys(
        ("plan", "elicit", "hang", "hang-hard", "garbage", "bad-utf8", "wrong-id", "double-reply"), ""
    ),
    **dict.fromkeys(("close-stdout", "fork-child", "setsid-child", "stale-reply", "unknown-request"), ""),
    **dict.fromkeys(("foreign", "env", "fds", "pid", "cwd", "session", "prompt", "ignore-term"), ""),
    **dict.fromkeys(("collide", "string-id-ask"), r".*"),
    **dict.fromkeys(("big", "stderr", "die", "exit", "late"), r"\d+"),
    "tool": r".+",
    "wait": NUMBER,
    "flood": r"\d+( +\d+)?",
    "kill": r"\d+|(?i:(SIG)?(KILL|TERM|INT|HUP|QUIT|STOP|ABRT|SEGV|PIPE|USR1))",
    "error": r"-?\d+ .+",
    "stop": r"\w+",
}
OPTIONS = [
    {"optionId": "allow", "name": "Allow", "kind": "allow_once"},
    {"optionId": "always", "name": "Always allow", "kind": "allow_always"},
    {"optionId": "reject", "name": "Reject", "kind": "reject_once"},
]


def _error_words(response: Json) -> str:
    error = response.get("error")
    return f"error {error.get('code')}" if isinstance(error, dict) else f"no error: {json.dumps(response)}"


def _open_fds() -> dict[str, str]:
    found = {}
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the one that listed them
            continue
    return found


def _sleeper(own_session: bool) -> int:
    no_stdin = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    return os.posix_spawnp(
        "sleep", ["sleep", "86400"], os.environ, file_actions=[no_stdin], setsid=own_session
    )


class Agent:
    """The requests of the protocol, as the flags want them answered."""

    ignores_term = False

    def __init__(self, flags: dict[str, str]) -> None:
        self.flags = flags
        self.link = Link(flags.get("--log"))
        self.sessions: dict[str, Session] = {}
        self.answered: list[object] = []
        self.authenticated = "--auth" not in flags
        self.link.on_chunk = self._before_chunk

    def handle(self, message: Json) -> object:
        params = message.get("params") or {}
        answer = METHODS.get(message["method"])
        if answer is None:
            raise RpcError(METHOD_NOT_FOUND, "Method not found", {"method": message["method"]})
        return answer(self, params)

    def background(self, message: Json) -> bool:
        """A prompt runs in a thread of its own; session/new is answered here, for what follows it."""
        if message["method"] == "session/new" and self.authenticated:
            self._new_session(message)
            return True
        if message["method"] != "session/prompt" or "id" not in message:
            return False
        session = self.sessions.get((message.get("params") or {}).get("sessionId", ""))
        if session is None or session.turn is not None:
            return False
        session.turn = Turn(self.link, session, message, self.answered)
        session.turn.error_on_cancel = "--error-on-cancel" in self.flags
        threading.Thread(target=session.turn.run, daemon=True).start()
        return True

    def _before_chunk(self) -> None:
        if not self.sessions or self.flags.keys().isdisjoint(("--read-late", "--ask-late")):
            return
        session, asked = next(iter(self.sessions)), "--ask-late" not in self.flags
        while self.link.written < LATE:
            self.link.update(session, "agent_message_chunk", content=text_block("." * 1024))
            if not asked and self.link.written > LATE / 2:
                asked = True
                call = {"toolCallId": "late", "title": "late"}
                params = {"sessionId": session, "toolCall": call, "options": OPTIONS}
                self.link.send({"id": "late", "method": "session/request_permission", "params": params})

    def _new_session(self, message: Json) -> None:
        session = Session(message.get("params") or {})
        self.sessions[session.id] = session
        if "--early-update" in self.flags:
            commands = [{"name": "early", "description": "told before the session"}]
            self.link.update(session.id, "available_commands_update", availableCommands=commands)
        self.answered.append(message["id"])
        self.link.reply(message["id"], {"sessionId": session.id, **session.state()})
        if "--deaf" in self.flags:
            sleep_forever()

    def initialize(self, params: Json) -> object:
        if "--no-start" in self.flags:
            return None
        login = {"id": "login", "name": "Log in", "description": "nothing is asked"}
        return {
            "protocolVersion": int(self.flags.get("--protocol", "1")),
            "agentCapabilities": self._capabilities(),
            "agentInfo": {"name": self.flags.get("--name", "fake"), "version": "1.0"},
            "authMethods": [login] if "--auth" in self.flags else [],
        }

    def _capabilities(self) -> Json:
        return {
            "loadSession": "--load" in self.flags,
            "promptCapabilities": {"image": True, "audio": True, "embeddedContext": True},
            "sessionCapabilities": {"close": {}, "list": {}},
            "auth": {"logout": {}},
        }

    def authenticate(self, params: Json) -> object:
        if params.get("methodId") != "login":
            raise RpcError(INVALID_PARAMS, "unknown authentication method")
        self.authenticated = True
        return {}

    def logout(self, params: Json) -> object:
        self.authenticated = "--auth" not in self.flags
        return {}

    def refuse_session(self, params: Json) -> object:
        raise RpcError(AUTH_REQUIRED, "Authentication required")

    def load(self, params: Json) -> object:
        if "--load" not in self.flags:
            raise RpcError(METHOD_NOT_FOUND, "Method not found", {"method": "session/load"})
        session = Session(params)
        session.id = params["sessionId"]
        self.sessions[session.id] = session
        self.link.update(session.id, "user_message_chunk", content=text_block("what was asked before"))
        self.link.update(session.id, "agent_message_chunk", content=text_block("what was said before"))
        return session.state()

    def prompt(self, params: Json) -> object:
        self._session(params)
        raise RpcError(INVALID_REQUEST, "a turn of this session is still running")

    def cancel(self, params: Json) -> object:
        turn = self._session(params).turn
        if turn is not None:
            turn.cancelled.set()
        return None

    def set_mode(self, params: Json) -> object:
        if params.get("modeId") not in ("ask", "code"):
            raise RpcError(INVALID_PARAMS, f"unknown mode {params.get('modeId')!r}")
        self._session(params).mode = params["modeId"]
        return {}

    def set_config_option(self, params: Json) -> object:
        session = self._session(params)
        if params.get("configId") != "model" or params.get("value") not in ("small", "large"):
            raise RpcError(INVALID_PARAMS, "unknown option or value")
        session.model = params["value"]
        return {"configOptions": session.options()}

    def close(self, params: Json) -> object:
        session = self._session(params)
        self.cancel(params)
        del self.sessions[session.id]
        return {}

    def list(self, params: Json) -> object:
        wanted = params.get("cwd")
        infos = [{"sessionId": one.id, "cwd": one.params.get("cwd", "/")} for one in self.sessions.values()]
        return {"sessions": [info for info in infos if wanted in (None, info["cwd"])]}

    def echo(self, params: Json) -> object:
        return params

    def _session(self, params: Json) -> Session:
        found = self.sessions.get(params.get("sessionId", ""))
        if found is None:
            raise RpcError(NOT_FOUND, "Session not found", {"sessionId": params.get("sessionId")})
        return found


METHODS: dict[str, Callable[[Agent, Json], object]] = {
    "initialize": Agent.initialize,
    "authenticate": Agent.authenticate,
    "logout": Agent.logout,
    "session/new": Agent.refuse_session,
    "session/load": Agent.load,
    "session/prompt": Agent.prompt,
    "session/cancel": Agent.cancel,
    "session/set_mode": Agent.set_mode,
    "session/set_config_option": Agent.set_config_option,
    "session/close": Agent.close,
    "session/list": Agent.list,
    "_echo": Agent.echo,
}


def parse_flags(words: list[str]) -> dict[str, str]:
    """Flag to value, "" for those without one; argparse would cost a third of the start."""
    flags: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        if word not in FLAGS:
            sys.exit(
                f"unknown flag {word!r}; known are\n" + "\n".join(f"  {k} {v}" for k, v in FLAGS.items())
            )
        takes_value = re.match("[A-Z]+: ", FLAGS[word])
        flags[word] = next(rest, "") if takes_value else ""
    return flags


def _terminated(number: int, _: object) -> None:
    """A handler even for the default: only the main thread may set one, `ignore-term` comes in another."""
    if not Agent.ignores_term:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _start(flags: dict[str, str]) -> None:
    Agent.ignores_term = "--ignore-term" in flags
    signal.signal(signal.SIGTERM, _terminated)
    if "--stderr" in flags:
        write_all(2, flags["--stderr"].encode() + b"\n")
    if "--exit-at-start" in flags:
        sys.exit(int(flags["--exit-at-start"]))
    time.sleep(float(flags.get("--slow-start", "0")))
    if "--banner" in flags:
        write_all(1, b"Welcome to the fake agent! An update is available.\n")


def main() -> int:
    flags = parse_flags(sys.argv[1:])
    _start(flags)
    agent = Agent(flags)
    agent.link.serve(agent.handle, agent.background)
    if "--ignore-eof" in flags:
        sleep_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
