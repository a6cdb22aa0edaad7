"""The scripted agent with one fault, named after the check that is to find it: `faulty_agent.py FAULT [flags]`."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from trio_broker.testing.scripted_agent import agent as scripted
from trio_broker.testing.scripted_agent import stdio
from trio_broker.testing.scripted_agent import turn as turns
from trio_broker.testing.scripted_agent.actions import Turn
from trio_broker.testing.scripted_agent.agent import METHODS, Agent
from trio_broker.testing.scripted_agent.stdio import Json, RpcError, StdioConnection, text_block
from trio_broker.testing.scripted_agent.turn import PERMISSION_OPTIONS, ProcessState

FAULTS: dict[str, Callable[[], None]] = {}
Answer = Callable[[Agent, Json], object]


def fault(*names: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def keep(plant: Callable[[], None]) -> Callable[[], None]:
        FAULTS.update(dict.fromkeys(names, plant))
        return plant

    return keep


def put(owner: object, name: str, function: Callable[..., object]) -> None:
    """Put a function in the place of another."""
    setattr(owner, name, function)


def answers(method: str, change: Callable[[Json, Json], object]) -> Callable[[], None]:
    """A fault: what `change` makes of the params and of the right answer."""

    def plant() -> None:
        right = METHODS[method]
        METHODS[method] = lambda agent, params: change(params, _object(right(agent, params)))

    return plant


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def sends(change: Callable[[Json], object]) -> Callable[[], None]:
    """A fault: `change` alters each message before it is sent; None keeps it as it is, a list is sent instead."""

    def plant() -> None:
        right = StdioConnection.send

        def send(self: StdioConnection, message: Json) -> None:
            changed = change(message)
            for one in changed if isinstance(changed, list) else [message]:
                right(self, one)

        put(StdioConnection, "send", send)

    return plant


def other_id(id: object, other: object) -> Callable[[], None]:
    def change(message: Json) -> None:
        if type(message.get("id")) is type(id) and message["id"] == id:
            message["id"] = other

    return sends(change)


def dies_at(holds: Callable[[bytes], bool]) -> Callable[[], None]:
    """A fault: a line for which `holds` ends the process."""

    def plant() -> None:
        right = StdioConnection._lines

        def lines(self: StdioConnection) -> Iterator[bytes]:
            for line in right(self):
                if holds(line):
                    os._exit(1)
                yield line

        put(StdioConnection, "_lines", lines)

    return plant


def no_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return True
    return False


def strict(params: Json, result: Json) -> object:
    if "clientCapabilities" not in params:
        raise RpcError(-32602, "clientCapabilities is missing")
    return result


def knows_all(params: Json, result: Json) -> object:
    if params.keys() - {"protocolVersion", "clientCapabilities", "clientInfo"}:
        raise RpcError(-32602, "an unknown field")
    return result


def dies(*_: object) -> None:
    os._exit(1)


INITIALIZE = {
    "initialize.reply": lambda params, result: {**result, "protocolVersion": 2},
    "initialize.newer": lambda params, result: {**result, "protocolVersion": params["protocolVersion"]},
    "initialize.zero": lambda params, result: {**result, "protocolVersion": params["protocolVersion"]},
    "initialize.string": lambda params, result: {**result, "protocolVersion": params["protocolVersion"]},
    "initialize.bare": strict,
    "initialize.unknown-fields": knows_all,
}
FAULTS |= {name: answers("initialize", change) for name, change in INITIALIZE.items()}
FAULTS |= {
    "ids.zero": other_id(0, None),
    "ids.negative": other_id(-1, 1),
    "ids.large": other_id(2**53 - 1, float(2**53 - 1)),
    "ids.string": other_id("trio-broker check", "TRIO-BROKER CHECK"),
    "ids.digits": other_id("1", 1),
    "ids.empty": other_id("", None),
    "ids.unicode": other_id('é "\u2028" 🌍', '? "?" ?'),
    "ids.int64": other_id(2**53 + 1, 1),
    "ids.types": other_id("7", 7),
    "lines.no-json": dies_at(lambda line: line.isascii() and no_json(line)),
    "lines.no-utf8": dies_at(lambda line: b"\xff" in line),
    "lines.batch": dies_at(lambda line: line.startswith(b"[")),
    "lines.no-object": dies_at(lambda line: line == b"42"),
    "lines.no-message": dies_at(lambda line: line == b"{}"),
    "lines.unicode": dies_at(lambda line: rb"\ud800" in line),
    "lines.long": dies_at(lambda line: len(line) > 65536),
    "replies.stray": dies_at(lambda line: b'"id":987654321' in line),
    "session.close-running": lambda: setattr(Turn, "cancel", lambda turn: None),
    "end.term": lambda: setattr(scripted, "_on_sigterm", lambda *_: None),
}


@fault("initialize.first")
def _() -> None:
    right = Agent._new_session
    begun: list[bool] = []
    METHODS["initialize"] = _then(METHODS["initialize"], lambda: begun.append(True))
    put(Agent, "_new_session", lambda agent, message: right(agent, message) if begun else dies())


def _then(right: Answer, after: Callable[[], object]) -> Answer:
    def answer(agent: Agent, params: Json) -> object:
        after()
        return right(agent, params)

    return answer


@fault("methods.extension", "methods.unknown")
def _() -> None:
    right = Agent.handle

    def handle(agent: Agent, message: Json) -> object:
        return right(agent, message) if message["method"] in METHODS else {}

    put(Agent, "handle", handle)


FAULTS["methods.unknown/words"] = sends(
    lambda message: [{**message, "error": "what?"}] if "error" in message else None
)


@fault("methods.notifications")
def _() -> None:
    def handled(self: StdioConnection, message: Json, handle: Callable[[Json], object]) -> None:
        try:
            self.reply(message.get("id"), handle(message))
        except RpcError as error:
            self.fail(message.get("id"), error.error)

    put(StdioConnection, "_handle", handled)


@fault("params.missing")
def _() -> None:
    METHODS["session/new"] = lambda agent, params: {"sessionId": "anything goes"}


@fault("lines.split", "lines.joined", "lines.spaced")
def _() -> None:
    """Takes each read for lines: the first of each only, none may be empty, and none may have ended in the middle."""

    def lines(self: StdioConnection) -> Iterator[bytes]:
        while chunk := os.read(0, 65536):
            if not chunk.strip() or b"\r" in chunk:
                os._exit(1)
            yield chunk.split(b"\n")[0]

    put(StdioConnection, "_lines", lines)


@fault("session.new")
def _() -> None:
    put(turns, "new_session_id", lambda: "")


@fault("session.two")
def _() -> None:
    put(turns, "new_session_id", lambda: "always the same")


@fault("session.unknown")
def _() -> None:
    METHODS["session/prompt"] = lambda agent, params: {"stopReason": "end_turn"}


@fault("session.options")
def _() -> None:
    METHODS["session/set_config_option"] = lambda agent, params: {
        "configOptions": agent._session(params).options()
    }


def _no_modes(agent: Agent, params: Json) -> object:
    return {}


FAULTS["session.modes"] = lambda: METHODS.update({"session/set_mode": _no_modes})


def says(holds: Callable[[bytes], bool], data: bytes) -> Callable[[], None]:
    """A fault: a line for which `holds` is answered with this one."""

    def plant() -> None:
        right = StdioConnection._lines

        def lines(self: StdioConnection) -> Iterator[bytes]:
            for line in right(self):
                if holds(line):
                    self.write(data + b"\n")
                else:
                    yield line

        put(StdioConnection, "_lines", lines)

    return plant


REFUSED = b'{"jsonrpc":"2.0","id":"in a batch","error":{"code":-32601,"message":"Method not found"}}'
FAULTS |= {
    "lines.batch/array": says(lambda line: line.startswith(b"["), b"[" + REFUSED + b"]"),
    "lines.no-json/trace": says(no_json, b"Traceback (most recent call last):"),
    "lines.no-object/result": says(lambda line: line == b"42", b'{"jsonrpc":"2.0","id":null,"result":{}}'),
    "lines.no-message/code": says(
        lambda line: line == b"{}", b'{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"what?"}}'
    ),
}


def opens(change: Callable[[Json], Json]) -> Callable[[], None]:
    """A fault: what `change` makes of the right answer to session/new."""

    def changed(message: Json) -> object:
        result = message.get("result")
        opened = isinstance(result, dict) and "sessionId" in result
        return [{**message, "result": change(_object(result))}] if opened else None

    return sends(changed)


def _with(result: Json, name: str, **members: object) -> Json:
    return {**result, name: {**result[name], **members}}


NEW: dict[str, Callable[[Json], Json]] = {
    "session.modes/current": lambda result: _with(result, "modes", currentModeId="nobody"),
    "session.modes/twice": lambda result: _with(
        result, "modes", availableModes=result["modes"]["availableModes"] * 2
    ),
    "session.modes/none": lambda result: {**result, "modes": None},
    "session.options/value": lambda result: _changed(result, currentValue="nothing of it"),
    "session.options/none": lambda result: {**result, "configOptions": []},
}
SET = {
    "session.options/untold": lambda _, result: {},
    "session.options/fewer": lambda _, result: {"configOptions": []},
    "session.options/unmoved": lambda _, result: _changed(result, currentValue="as before"),
}
LIST = {
    "session.list/twice": lambda params, _: {"sessions": [{"sessionId": "a", "cwd": params["cwd"]}] * 2},
    "session.list/untold": lambda _, result: {},
    "session.list/endless": lambda _, result: {**result, "nextCursor": "more"},
}
FAULTS |= {name: opens(change) for name, change in NEW.items()}
FAULTS |= {name: answers("session/set_config_option", change) for name, change in SET.items()}
FAULTS |= {name: answers("session/list", change) for name, change in LIST.items()}


def _changed(result: Json, **members: object) -> Json:
    return {**result, "configOptions": [{**option, **members} for option in result["configOptions"]]}


def loads(keep: Callable[[Json], bool]) -> Callable[[], None]:
    """A fault: of the conversation only that is replayed for which `keep` holds."""

    def plant() -> None:
        right = METHODS["session/load"]

        def load(agent: Agent, params: Json) -> object:
            notify = agent.connection.notify
            put(agent.connection, "notify", lambda method, told: notify(method, told) if keep(told) else None)
            result = right(agent, params)
            put(agent.connection, "notify", notify)
            return result

        METHODS["session/load"] = load

    return plant


FAULTS["session.load/nothing"] = loads(lambda told: False)
FAULTS["session.load/answers"] = loads(lambda told: told["update"]["sessionUpdate"] != "user_message_chunk")


@fault("session.list")
def _() -> None:
    METHODS["session/list"] = lambda agent, params: {"sessions": [{"sessionId": "a", "cwd": "/elsewhere"}]}


@fault("session.load")
def _() -> None:
    """What was said comes after the answer, as one real agent has it."""
    right = METHODS["session/load"]

    def load(agent: Agent, params: Json) -> object:
        held: list[Json] = []
        notify = agent.connection.notify
        put(agent.connection, "notify", lambda method, params: held.append(params))
        result = right(agent, params)
        put(agent.connection, "notify", notify)
        threading.Timer(0.05, lambda: [notify("session/update", one) for one in held]).start()
        return result

    METHODS["session/load"] = load


@fault("session.load-unknown")
def _() -> None:
    METHODS["session/load"] = lambda agent, params: {}


@fault("session.resume")
def _() -> None:
    METHODS["session/resume"] = METHODS["session/load"]


@fault("session.close")
def _() -> None:
    METHODS["session/close"] = lambda agent, params: {}


@fault("session.delete")
def _() -> None:
    right = METHODS["session/delete"]

    def delete(agent: Agent, params: Json) -> object:
        agent._session(params)
        return right(agent, params)

    METHODS["session/delete"] = delete


@fault("session.delete-one")
def _() -> None:
    right = METHODS["session/delete"]

    def delete(agent: Agent, params: Json) -> object:
        agent.sessions.clear()
        return right(agent, params)

    METHODS["session/delete"] = delete


@fault("prompt.reply")
def _() -> None:
    put(Turn, "answer", lambda turn: turn.connection.reply(turn.id, {"stopReason": "done"}))


@fault("prompt.again")
def _() -> None:
    right = Turn.answer

    def answer(turn: Turn) -> None:
        if len(turn.answered_ids) > 1:
            turn.error = {"code": -32603, "message": "once is enough"}
        right(turn)

    put(Turn, "answer", answer)


@fault("prompt.link")
def _() -> None:
    right = Turn.answer

    def answer(turn: Turn) -> None:
        if any(block["type"] != "text" for block in turn.params["prompt"]):
            turn.error = {"code": -32602, "message": "only text"}
        right(turn)

    put(Turn, "answer", answer)


@fault("cancel.turn")
def _() -> None:
    right = Turn.answer

    def answer(turn: Turn) -> None:
        turn.error_on_cancel = True
        right(turn)

    put(Turn, "answer", answer)


@fault("cancel.next", "cancel.idle")
def _() -> None:
    """A cancel is never forgotten."""
    right = Turn.__init__
    seen = threading.Event()
    METHODS["session/cancel"] = _then(METHODS["session/cancel"], seen.set)

    def begin(turn: Turn, *args: Any) -> None:
        right(turn, *args)
        if seen.is_set():
            turn.cancelled.set()

    put(Turn, "__init__", begin)


@fault("cancel.unknown")
def _() -> None:
    METHODS["session/cancel"] = lambda agent, params: (
        dies() if params["sessionId"] not in agent.sessions else None
    )


@fault("cancel.other")
def _() -> None:
    def cancel(agent: Agent, params: Json) -> None:
        for session in agent.sessions.values():
            if session.turn:
                session.turn.cancel()

    METHODS["session/cancel"] = cancel


@fault("ask.allow", "ask.reject")
def _() -> None:
    right = Turn._request_permission

    def ask(turn: Turn, title: str, id: object = None) -> None:
        right(turn, title, id)
        turn.error = {"code": -32603, "message": "that was unexpected"}

    put(Turn, "_request_permission", ask)


@fault("ask.cancel", "elicitation.cancel")
def _() -> None:
    put(Turn, "answer", lambda turn: turn.connection.reply(turn.id, {"stopReason": "end_turn"}))


@fault("ask.reject/asks-only", "ask.cancel/asks-only")
def _() -> None:
    def ask(turn: Turn, title: str, id: object = None) -> None:
        call = {"toolCallId": "x", "title": title}
        params = {"sessionId": turn.session.id, "toolCall": call, "options": PERMISSION_OPTIONS}
        turn.connection.send({"id": "asked", "method": "session/request_permission", "params": params})

    put(Turn, "_request_permission", ask)


@fault("ask.reject/does")
def _() -> None:
    right = Turn._request_permission

    def ask(turn: Turn, title: str, id: object = None) -> None:
        right(turn, title, id)
        turn.update("tool_call_update", toolCallId=f"call-{turn.calls}", status="completed")

    put(Turn, "_request_permission", ask)


@fault("ask.reject/early")
def _() -> None:
    right = Turn.begin_permission

    def begin(turn: Turn, call: Json, *args: Any, **more: Any) -> object:
        pending = right(turn, call, *args, **more)
        turn.update("tool_call_update", toolCallId=call["toolCallId"], status="completed")
        return pending

    put(Turn, "begin_permission", begin)


@fault("elicitation.accept", "elicitation.decline")
def _() -> None:
    right = Turn._request_elicitation

    def ask(turn: Turn, params: Json) -> Json:
        response = right(turn, params)
        turn.error = {"code": -32603, "message": "that was unexpected"}
        return response

    put(Turn, "_request_elicitation", ask)


@fault("elicitation.accept/asks-only", "elicitation.cancel/asks-only")
def _() -> None:
    def ask(turn: Turn, params: Json) -> Json:
        turn.connection.begin_request("elicitation/create", {"sessionId": turn.session.id, **params})
        return {"result": {"action": "cancel"}}

    put(Turn, "_request_elicitation", ask)


@fault("elicitation.accept/url")
def _() -> None:
    right = Turn._request_elicitation
    url = {"mode": "url", "message": "Here.", "elicitationId": "x", "url": "https://example.org"}
    put(Turn, "_request_elicitation", lambda turn, params: right(turn, url))


@fault("elicitation.accept/schema")
def _() -> None:
    right = Turn._request_elicitation
    schema = {"type": "object", "properties": {"a": {"type": "string", "minLength": "long", "enum": 5}}}
    put(
        Turn,
        "_request_elicitation",
        lambda turn, params: right(turn, {**params, "requestedSchema": schema}),
    )


@fault("elicitation.unoffered")
def _() -> None:
    put(Turn, "offers", lambda turn, *names: True)


@fault("terminal.release")
def _() -> None:
    right = Turn._request
    put(
        Turn,
        "_request",
        lambda turn, method, **params: method == "terminal/release" or right(turn, method, **params),
    )


@fault("terminal.release/after")
def _() -> None:
    right = Turn._request

    def request(turn: Turn, method: str, **params: Any) -> Json:
        response = right(turn, method, **params)
        if method == "terminal/release":
            right(turn, "terminal/output", **params)
        return response

    put(Turn, "_request", request)


@fault("terminal.release/unknown")
def _() -> None:
    right = Turn._request

    def request(turn: Turn, method: str, **params: Any) -> Json:
        return right(turn, method, **{**params, "terminalId": "t"} if "terminalId" in params else params)

    put(Turn, "_request", request)


@fault("end.idle", "end.session", "end.turn")
def _() -> None:
    ProcessState.ignores_eof = True


@fault("end.code")
def _() -> None:
    right = scripted.main
    put(scripted, "main", lambda: right() or 3)


@fault("end.children")
def _() -> None:
    right = Agent._new_session
    put(
        Agent,
        "_new_session",
        lambda agent, message: stdio.start_sleeping_child(True) and right(agent, message),
    )


@fault("stdout.only-acp")
def _() -> None:
    METHODS["initialize"] = _then(METHODS["initialize"], lambda: os.write(1, b"Welcome!\n"))


@fault("messages.envelope")
def _() -> None:
    put(StdioConnection, "send", lambda self, message: self.write(json.dumps(message).encode() + b"\n"))


def in_each_turn(act: Callable[[Turn], object]) -> Callable[[], None]:
    def plant() -> None:
        right = Turn.answer

        def answer(turn: Turn) -> None:
            act(turn)
            right(turn)

        put(Turn, "answer", answer)

    return plant


def _asks_for_a_file(turn: Turn) -> None:
    params = {"sessionId": turn.session.id, "path": "/etc/hostname"}
    turn.connection.send({"id": "file", "method": "fs/read_text_file", "params": params})


def asks(call: Json, options: object = PERMISSION_OPTIONS) -> Callable[[Turn], None]:
    """Sends a permission request, and waits for no answer."""

    def send(turn: Turn) -> None:
        params = {"sessionId": turn.session.id, "toolCall": call, "options": options}
        turn.connection.send({"id": "asked", "method": "session/request_permission", "params": params})

    return send


def _relative(turn: Turn) -> None:
    turn.update("tool_call", toolCallId="x", title="Read a file", locations=[{"path": "a.txt"}])


FAULTS |= {
    "ask.options": in_each_turn(asks({"toolCallId": "x", "title": "X"}, PERMISSION_OPTIONS * 2)),
    "ask.options/none": in_each_turn(asks({"toolCallId": "x", "title": "X"}, [])),
    "ask.tool-call": in_each_turn(asks({"toolCallId": "never announced"})),
    "messages.schema": in_each_turn(lambda turn: turn.update("tool_call", toolCallId="x", status="done")),
    "messages.methods": in_each_turn(lambda turn: turn.connection.notify("status/changed", {})),
    "messages.capabilities": in_each_turn(_asks_for_a_file),
    "messages.replies": in_each_turn(lambda turn: turn.connection.reply("nobody", {})),
    "messages.sessions": in_each_turn(lambda turn: turn.do_foreign("")),
    "messages.paths": in_each_turn(_relative),
}


@fault("prompt.order", "cancel.order")
def _() -> None:
    right = Turn.run

    def run(turn: Turn) -> None:
        right(turn)
        time.sleep(0.02)
        turn.connection.update(turn.session.id, "agent_message_chunk", content=text_block("by the way"))

    put(Turn, "run", run)


if __name__ == "__main__":
    FAULTS[sys.argv.pop(1)]()
    sys.exit(scripted.main())
