"""`trio-broker demo-agent`: an ACP agent that needs no key and no network, to see the broker at work.

Each turn plays the same small scene, slowly enough to watch: it thinks, plans, reads a file, edits one, asks
for permission and says what it did. A prompt with "build" (or "compile", "test suite") runs a tool call that
says nothing for a minute; a number in the prompt sets the seconds ("build 30"). "fast" in the prompt, or a
factor in TRIO_BROKER_DEMO_SPEED (10 is ten times as fast), hurries everything but such a build.

Standard library only: it starts in a few hundredths of a second, beside a broker that may be busy.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable
from typing import Any

from trio_broker import __version__
from trio_broker.testing.scripted_agent.stdio import (
    Json,
    RpcError,
    StdioConnection,
    new_session_id,
    prompt_text,
    text_block,
)

BUILD = re.compile(r"\b(build|compile|test suite)\b", re.IGNORECASE)
BUILD_SECONDS = 60.0
CONTEXT = 200_000

OPTIONS = [
    {"optionId": "apply", "name": "Apply the change", "kind": "allow_once"},
    {"optionId": "apply-always", "name": "Apply, and do not ask again", "kind": "allow_always"},
    {"optionId": "leave", "name": "Leave the file as it is", "kind": "reject_once"},
]
OLD = 'def greet(name):\n    print("Hello " + name)\n'
NEW = 'def greet(name: str) -> None:\n    print(f"Hello {name}!")\n'
STEPS = ("Look at the code", "Make the change", "Report")


class Cancelled(Exception):
    """The client does not want this turn any more."""


class Session:
    def __init__(self, cwd: str) -> None:
        self.id = new_session_id()
        self.cwd = cwd
        self.mode = "ask"
        self.used = 4_000
        self.always = False  # the person said not to ask again
        self.turn: Turn | None = None

    def modes(self) -> Json:
        modes = [
            {"id": "ask", "name": "Ask", "description": "Asks before it changes a file"},
            {"id": "code", "name": "Code", "description": "Changes files without asking"},
        ]
        return {"currentModeId": self.mode, "availableModes": modes}


class Turn:
    """One prompt, played in a thread of its own; every pause in it ends at once on a cancel."""

    def __init__(self, link: StdioConnection, session: Session, message: Json) -> None:
        self.link, self.session, self.id = link, session, message["id"]
        self.text = prompt_text(message.get("params") or {}).strip()
        self.cancelled = threading.Event()
        self.pace = 1.0 / _speed(self.text)
        self.calls = 0
        self.open_call: str | None = None

    def run(self) -> None:
        reason = "end_turn"
        try:
            self._play()
        except Cancelled:
            reason = "cancelled"
            if self.open_call:
                self.tool_update(status="failed")
        self.session.turn = None
        self.link.reply(self.id, {"stopReason": reason})

    def _play(self) -> None:
        self.think(
            f"The request is: {_short(self.text)}. I look at the code first, then I change what is needed."
        )
        if BUILD.search(self.text):
            self.plan(0)
            self._build()
        else:
            self.plan(0)
            self._read()
            self.plan(1)
            self._edit()
        self.plan(3)
        self._usage()

    def _read(self) -> None:
        path = os.path.join(self.session.cwd, "greet.py")
        self.tool("Read greet.py", "read", locations=[{"path": path, "line": 1}])
        self.pause(0.9)
        self.tool_update(status="completed", content=[{"type": "content", "content": text_block(OLD)}])

    def _edit(self) -> None:
        diff = {
            "type": "diff",
            "path": os.path.join(self.session.cwd, "greet.py"),
            "oldText": OLD,
            "newText": NEW,
        }
        self.tool("Apply the change to greet.py", "edit", content=[diff])
        self.pause(0.5)
        allowed = self._permitted(diff)
        self.pause(0.7)
        self.tool_update(status="completed" if allowed else "failed", content=[diff])
        self.plan(2)
        done = "I made greet() typed and gave it an f-string." if allowed else "I left greet.py as it was."
        self.say(f"You asked: “{_short(self.text)}”. {done} This is a demo: no file of yours was touched.")

    def _permitted(self, diff: Json) -> bool:
        if self.session.always or self.session.mode == "code":
            return True
        call = {
            "toolCallId": self.open_call,
            "title": "Apply the change to greet.py",
            "kind": "edit",
            "content": [diff],
        }
        params = {"sessionId": self.session.id, "toolCall": call, "options": OPTIONS}
        outcome = (self.link.request("session/request_permission", params).get("result") or {}).get(
            "outcome"
        ) or {}
        self.session.always = outcome.get("optionId") == "apply-always"
        return outcome.get("optionId") in ("apply", "apply-always")

    def _build(self) -> None:
        """The tool call this project began with: alive, and silent."""
        seconds = _build_seconds(self.text)
        self.tool(
            f"Build the project ({seconds:g} s without a word)", "execute", rawInput={"command": "make all"}
        )
        self._sleep(seconds)
        built = [{"type": "content", "content": text_block("built 214 targets, 0 warnings\n")}]
        self.tool_update(status="completed", content=built)
        self.plan(2)
        self.say(f"You asked: “{_short(self.text)}”. The build took {seconds:g} seconds and went through.")

    def think(self, text: str) -> None:
        self._stream("agent_thought_chunk", text)

    def say(self, text: str) -> None:
        self._stream("agent_message_chunk", text)

    def _stream(self, tag: str, text: str) -> None:
        message = new_session_id()
        for word in re.findall(r"\S+\s*", text):
            self.update(tag, content=text_block(word), messageId=message)
            self.pause(0.07)

    def plan(self, done: int) -> None:
        states = ["completed"] * done + ["in_progress"] + ["pending"] * len(STEPS)
        steps = zip(STEPS, states, strict=False)
        entries = [{"content": step, "priority": "medium", "status": state} for step, state in steps]
        self.update("plan", entries=entries)
        self.pause(0.15)

    def tool(self, title: str, kind: str, **fields: Any) -> None:
        self.calls += 1
        self.open_call = f"call-{self.calls}-{new_session_id()[:8]}"
        call = {"toolCallId": self.open_call, "title": title, "kind": kind, "status": "pending"}
        self.update("tool_call", **call, **fields)
        self.pause(0.3)
        self.update("tool_call_update", toolCallId=self.open_call, status="in_progress")

    def tool_update(self, **fields: Any) -> None:
        self.update("tool_call_update", toolCallId=self.open_call, **fields)
        if fields.get("status") in ("completed", "failed"):
            self.open_call = None

    def _usage(self) -> None:
        self.session.used = min(self.session.used + 1_500 + len(self.text) // 4, CONTEXT)
        self.update(
            "usage_update", used=self.session.used, size=CONTEXT, cost={"amount": 0.0, "currency": "USD"}
        )

    def update(self, tag: str, /, **fields: Any) -> None:
        self.link.update(self.session.id, tag, **fields)

    def pause(self, seconds: float) -> None:
        self._sleep(seconds * self.pace)

    def _sleep(self, seconds: float) -> None:
        if self.cancelled.wait(seconds):
            raise Cancelled


def _speed(text: str) -> float:
    try:
        speed = float(os.environ.get("TRIO_BROKER_DEMO_SPEED", "1"))
    except ValueError:
        speed = 1.0
    speed = speed if speed > 0 else 1.0
    return speed * (10 if re.search(r"\bfast\b", text, re.IGNORECASE) else 1)


def _build_seconds(text: str) -> float:
    found = re.search(r"\d+(\.\d+)?", text)
    return min(float(found[0]), 86_400.0) if found else BUILD_SECONDS


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 120 else line[:119] + "…"


class Agent:
    def __init__(self) -> None:
        self.link = StdioConnection()
        self.sessions: dict[str, Session] = {}

    def handle(self, message: Json) -> object:
        method = METHODS.get(message["method"])
        if method is None:
            raise RpcError(-32601, "Method not found", {"method": message["method"]})
        return method(self, message.get("params") or {})

    def background(self, message: Json) -> bool:
        """A prompt answers for itself, from its own thread."""
        if message["method"] != "session/prompt" or "id" not in message:
            return False
        session = self.sessions.get((message.get("params") or {}).get("sessionId", ""))
        if session is None or session.turn is not None:
            return False
        session.turn = Turn(self.link, session, message)
        threading.Thread(target=session.turn.run, daemon=True).start()
        return True

    def initialize(self, _: Json) -> object:
        return {
            "protocolVersion": 1,
            "agentCapabilities": {"sessionCapabilities": {"close": {}, "resume": {}}},
            "agentInfo": {"name": "demo", "title": "Demo agent", "version": __version__},
            "authMethods": [],
        }

    def new_session(self, params: Json) -> object:
        if not isinstance(params.get("cwd"), str):
            raise RpcError(-32602, "cwd is missing, or no string")
        session = Session(params["cwd"])
        self.sessions[session.id] = session
        return {"sessionId": session.id, "modes": session.modes()}

    def resume(self, params: Json) -> object:
        """It plays the same scene to everybody: there is nothing it would have to remember."""
        session = Session(str(params.get("cwd", "/")))
        session.id = str(params["sessionId"])
        self.sessions[session.id] = session
        return {"modes": session.modes()}

    def refuse_prompt(self, params: Json) -> object:
        self._session(params)
        raise RpcError(-32600, "a turn of this session is still running")

    def cancel(self, params: Json) -> object:
        turn = self._session(params).turn
        if turn is not None:
            turn.cancelled.set()
        return None

    def set_mode(self, params: Json) -> object:
        session = self._session(params)
        if params.get("modeId") not in ("ask", "code"):
            raise RpcError(-32602, f"unknown mode {params.get('modeId')!r}")
        session.mode = params["modeId"]
        return {}

    def close(self, params: Json) -> object:
        self.cancel(params)
        del self.sessions[params["sessionId"]]
        return {}

    def authenticate(self, _: Json) -> object:
        return {}

    def _session(self, params: Json) -> Session:
        found = self.sessions.get(params.get("sessionId", ""))
        if found is None:
            raise RpcError(-32002, "Session not found", {"sessionId": params.get("sessionId")})
        return found


METHODS: dict[str, Callable[[Agent, Json], object]] = {
    "initialize": Agent.initialize,
    "authenticate": Agent.authenticate,
    "session/new": Agent.new_session,
    "session/resume": Agent.resume,
    "session/prompt": Agent.refuse_prompt,
    "session/cancel": Agent.cancel,
    "session/set_mode": Agent.set_mode,
    "session/close": Agent.close,
}


def main() -> int:
    """Serve until the end of stdin; 0, or 130 after Ctrl-C by hand."""
    agent = Agent()
    try:
        agent.link.serve(agent.handle, agent.background)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
