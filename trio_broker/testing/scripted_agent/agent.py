"""The scripted agent itself: its requests, and the flags that say how it is to answer them."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from trio_broker.testing.scripted_agent.actions import Turn
from trio_broker.testing.scripted_agent.session_store import SessionStore
from trio_broker.testing.scripted_agent.stdio import (
    AUTH_REQUIRED,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    NOT_FOUND,
    Json,
    RpcError,
    StdioConnection,
    sleep_forever,
    text_block,
    write_all,
)
from trio_broker.testing.scripted_agent.turn import PERMISSION_OPTIONS, ProcessState, Session

LATE_BYTES = 1024 * 1024 + 128 * 1024  # 1 MiB has been consumed once this is written: a pipe holds 64 KiB

FLAGS = {
    "--name": "X: the agent's name in initialize",
    "--slow-start": "S: sleeps before it reads anything",
    "--no-start": "never answers initialize",
    "--exit-at-start": "CODE: exits before it reads anything",
    "--banner": "a line of text on stdout before anything else",
    "--protocol": "N: answers this protocol version",
    "--load": "can session/load",
    "--memory": "DIR: can load, resume, list and delete; what was said is kept there, for other processes too",
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


class Agent:
    """The requests of the protocol, as the flags want them answered."""

    def __init__(self, flags: dict[str, str]) -> None:
        self.flags = flags
        self.connection = StdioConnection(flags.get("--log"))
        self.sessions: dict[str, Session] = {}
        self.answered_ids: list[object] = []
        self.client_capabilities: Json = {}
        self.authenticated = "--auth" not in flags
        self.store = SessionStore(flags["--memory"]) if "--memory" in flags else None
        self.connection.on_chunk = self._before_chunk

    def handle(self, message: Json) -> object:
        params = message.get("params") or {}
        answer = METHODS.get(message["method"])
        if answer is None:
            raise RpcError(METHOD_NOT_FOUND, "Method not found", {"method": message["method"]})
        return answer(self, params)

    def background(self, message: Json) -> bool:
        """A prompt runs in a thread of its own; session/new is answered here, for what follows it."""
        params = message.get("params") or {}
        if message["method"] == "session/new" and self.authenticated and isinstance(params.get("cwd"), str):
            self._new_session(message)
            return True
        if message["method"] != "session/prompt" or "id" not in message:
            return False
        session = self.sessions.get(params.get("sessionId", ""))
        if session is None or session.turn is not None or not isinstance(params.get("prompt"), list):
            return False
        session.turn = Turn(self.connection, session, message, self.answered_ids)
        session.turn.error_on_cancel = "--error-on-cancel" in self.flags
        if self.store:
            self.store.record_turn(session.id, session.turn)
        threading.Thread(target=session.turn.run, daemon=True).start()
        return True

    def _before_chunk(self) -> None:
        if not self.sessions or self.flags.keys().isdisjoint(("--read-late", "--ask-late")):
            return
        session, asked = next(iter(self.sessions)), "--ask-late" not in self.flags
        while self.connection.written < LATE_BYTES:
            self.connection.update(session, "agent_message_chunk", content=text_block("." * 1024))
            if not asked and self.connection.written > LATE_BYTES / 2:
                asked = True
                call = {"toolCallId": "late", "title": "late"}
                params = {"sessionId": session, "toolCall": call, "options": PERMISSION_OPTIONS}
                self.connection.send({"id": "late", "method": "session/request_permission", "params": params})

    def _new_session(self, message: Json) -> None:
        session = Session(message.get("params") or {}, self.client_capabilities)
        self.sessions[session.id] = session
        if "--early-update" in self.flags:
            commands = [{"name": "early", "description": "told before the session"}]
            self.connection.update(session.id, "available_commands_update", availableCommands=commands)
        if self.store:
            self.store.create(session.id, session.params["cwd"])
        self.answered_ids.append(message["id"])
        self.connection.reply(message["id"], {"sessionId": session.id, **session.state()})
        if "--deaf" in self.flags:
            sleep_forever()

    def initialize(self, params: Json) -> object:
        if "--no-start" in self.flags:
            return None
        capabilities = params.get("clientCapabilities")
        self.client_capabilities = capabilities if isinstance(capabilities, dict) else {}
        login = {"id": "login", "name": "Log in", "description": "nothing is asked"}
        return {
            "protocolVersion": int(self.flags.get("--protocol", "1")),
            "agentCapabilities": self._capabilities(),
            "agentInfo": {"name": self.flags.get("--name", "fake"), "version": "1.0"},
            "authMethods": [login] if "--auth" in self.flags else [],
        }

    def _capabilities(self) -> Json:
        more: Json = {"resume": {}, "delete": {}} if self.store else {}
        return {
            "loadSession": "--load" in self.flags or self.store is not None,
            "promptCapabilities": {"image": True, "audio": True, "embeddedContext": True},
            "sessionCapabilities": {"close": {}, "list": {}, **more},
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
        if not self.authenticated:
            raise RpcError(AUTH_REQUIRED, "Authentication required")
        raise RpcError(INVALID_PARAMS, "cwd is missing, or no string")

    def load(self, params: Json) -> object:
        if self.store:
            return self._restore(params, replay=True)
        if "--load" not in self.flags:
            raise RpcError(METHOD_NOT_FOUND, "Method not found", {"method": "session/load"})
        session = self._open_existing(params)
        self.connection.update(session.id, "user_message_chunk", content=text_block("what was asked before"))
        self.connection.update(session.id, "agent_message_chunk", content=text_block("what was said before"))
        return session.state()

    def resume(self, params: Json) -> object:
        if not self.store:
            raise RpcError(METHOD_NOT_FOUND, "Method not found", {"method": "session/resume"})
        return self._restore(params, replay=False)

    def delete(self, params: Json) -> object:
        """One that is not there is no error."""
        if not self.store:
            raise RpcError(METHOD_NOT_FOUND, "Method not found", {"method": "session/delete"})
        session = self.sessions.pop(params.get("sessionId", ""), None)
        if session is not None and session.turn is not None:
            session.turn.cancel()
        self.store.delete(str(params.get("sessionId")))
        return {}

    def _restore(self, params: Json, *, replay: bool) -> object:
        assert self.store is not None
        updates = self.store.updates(str(params.get("sessionId")))
        if updates is None:
            raise RpcError(NOT_FOUND, "Session not found", {"sessionId": params.get("sessionId")})
        session = self._open_existing(params)
        for update in updates if replay else ():
            self.connection.notify("session/update", {"sessionId": session.id, "update": update})
        return session.state()

    def _open_existing(self, params: Json) -> Session:
        session = Session(params, self.client_capabilities)
        session.id = params["sessionId"]
        self.sessions[session.id] = session
        return session

    def prompt(self, params: Json) -> object:
        self._session(params)
        if not isinstance(params.get("prompt"), list):
            raise RpcError(INVALID_PARAMS, "prompt is missing, or no list")
        raise RpcError(INVALID_REQUEST, "a turn of this session is still running")

    def cancel(self, params: Json) -> object:
        turn = self._session(params).turn
        if turn is not None:
            turn.cancel()
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
        cwd_filter = params.get("cwd")
        found = {one.id: one.params.get("cwd", "/") for one in self.sessions.values()}
        found |= self.store.sessions() if self.store else {}
        infos = [{"sessionId": id, "cwd": cwd} for id, cwd in found.items()]
        return {"sessions": [info for info in infos if cwd_filter in (None, info["cwd"])]}

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
    "session/resume": Agent.resume,
    "session/delete": Agent.delete,
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
        if word in ("-h", "--help"):
            _help()
        if word not in FLAGS:
            known = "\n".join(f"  {name} {what}" for name, what in FLAGS.items())
            sys.exit(f"unknown flag {word!r}; known are\n{known}\n  --help tells the words of prompts too")
        takes_value = re.match("[A-Z]+: ", FLAGS[word])
        flags[word] = next(rest, "") if takes_value else ""
    return flags


def _help() -> NoReturn:
    from trio_broker.testing.scripted_agent.help_text import help_text  # late: few starts are for this

    write_all(1, help_text(FLAGS).encode() + b"\n")
    sys.exit(0)


def _on_sigterm(number: int, _: object) -> None:
    """A handler even for the default: only the main thread may set one, `ignore-term` comes in another."""
    if not ProcessState.ignores_term:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _start(flags: dict[str, str]) -> None:
    ProcessState.ignores_term = "--ignore-term" in flags
    signal.signal(signal.SIGTERM, _on_sigterm)
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
    agent.connection.serve(agent.handle, agent.background)
    if "--ignore-eof" in flags or ProcessState.ignores_eof:
        sleep_forever()
    return 0
