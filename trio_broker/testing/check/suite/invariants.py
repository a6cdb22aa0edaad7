"""Standing rules: what holds for every line of every conversation, whatever it was about.

Each looks at one conversation and returns what is wrong with it, or nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from trio_broker.testing.check import schema
from trio_broker.testing.check.base import ACP, Check
from trio_broker.testing.check.conversation import Conversation, Direction, Frame, Json

TRANSPORTS, EXTENSIBILITY, OVERVIEW = f"{ACP}transports", f"{ACP}extensibility", f"{ACP}overview"
SCHEMA, TURN, INITIALIZATION = f"{ACP}schema", f"{ACP}prompt-turn", f"{ACP}initialization"
TOOLS = f"{ACP}tool-calls#requesting-permission"
JSONRPC = "https://www.jsonrpc.org/specification"
OF_A_TURN = ("agent_message_chunk", "agent_thought_chunk", "tool_call", "tool_call_update", "plan")
PARSE_ERROR, INVALID_REQUEST = -32700, -32600
NEEDS = {  # the client capability of a request; elicitation/create needs that of its mode
    "fs/read_text_file": ("fs", "readTextFile"),
    "fs/write_text_file": ("fs", "writeTextFile"),
    **dict.fromkeys(
        [f"terminal/{verb}" for verb in ("create", "output", "wait_for_exit", "kill", "release")],
        ("terminal",),
    ),
}


def only_acp(conversation: Conversation) -> str:
    for frame in _received(conversation):
        if not isinstance(frame.message, dict):
            return f"a line that is no message: {frame.text()[:200]!r}"
    return ""


def envelope(conversation: Conversation) -> str:
    for message in _messages(conversation):
        if wrong := _envelope(message):
            return f"{wrong}: {_short(message)}"
    return ""


def _envelope(message: Json) -> str:
    id = message.get("id")
    if message.get("jsonrpc") != "2.0":
        return 'a message without "jsonrpc": "2.0"'
    if isinstance(id, bool | float | list | dict):
        return "an id that is neither a string nor an integer"
    if "method" in message:
        if not isinstance(message["method"], str):
            return "a method that is no string"
        if not isinstance(message.get("params", {}), dict | None):
            return "params that are no object"
        return "a request with a result" if "result" in message or "error" in message else ""
    if "id" not in message:
        return "a message with neither method nor id"
    if ("result" in message) == ("error" in message):
        return "a response has either a result or an error"
    if "error" in message:
        found = schema.problems(message["error"], "Error")
        return f"an error as none should be ({found[0]})" if found else ""
    return ""


def fits_schema(conversation: Conversation) -> str:
    for frame, name, value in _typed(conversation):
        if found := schema.problems(value, name):
            return f"{name}: {'; '.join(found[:3])}: {frame.text()[:300]}"
    return ""


def _typed(conversation: Conversation) -> Iterator[tuple[Frame, str, object]]:
    """What the agent sent that has a type: params of its requests and notifications, results of ours."""
    asked: dict[str, str] = {}
    requests = schema.methods("client", "Request")
    notifications = schema.methods("client", "Notification")
    results = schema.methods("agent", "Response")
    for frame in conversation.frames:
        message = frame.message
        if not isinstance(message, dict):
            continue
        method = message.get("method")
        if frame.direction is Direction.SENT and isinstance(method, str) and "id" in message:
            asked[json.dumps(message["id"])] = method
        elif frame.direction is Direction.RECEIVED and isinstance(method, str):
            name = (requests if "id" in message else notifications).get(method)
            if name:
                yield frame, name, message.get("params")
        elif frame.direction is Direction.RECEIVED and "result" in message:
            name = results.get(asked.get(json.dumps(message.get("id")), ""))
            if name and message["result"] is not None:  # some of them may be null, and are {} then
                yield frame, name, message["result"]


def methods(conversation: Conversation) -> str:
    known = {**schema.methods("client", "Request"), **schema.methods("client", "Notification")}
    for message in _messages(conversation):
        method = message.get("method")
        if isinstance(method, str) and method not in known and not method.startswith(("_", "$/")):
            return f"{method} is no method of ACP v1; an extension's begins with _"
    return ""


def capabilities(conversation: Conversation) -> str:
    offered: object = {}
    for frame in conversation.frames:
        message = frame.message
        if not isinstance(message, dict):
            continue
        params = message.get("params")
        if frame.direction is Direction.SENT and message.get("method") == "initialize":
            offered = params.get("clientCapabilities") if isinstance(params, dict) else {}
        elif frame.direction is Direction.RECEIVED and "id" in message:
            need = _need(message.get("method"), params)
            if need and not _has(offered, need):
                name = ".".join(need)
                return f"it sent {message['method']}, which needs {name}, and this client does not offer that"
    return ""


def _need(method: object, params: object) -> tuple[str, ...]:
    """The path of the client capability that a request needs; an extension's needs none."""
    mode = str(params.get("mode")) if isinstance(params, dict) else ""
    if method == "elicitation/create" and not mode.startswith("_"):
        return ("elicitation", mode)
    return NEEDS.get(str(method), ())


def _has(capabilities: object, path: tuple[str, ...]) -> bool:
    """Whether a capability is there: true, or an object, which may be empty."""
    for name in path:
        capabilities = capabilities.get(name) if isinstance(capabilities, dict) else None
    return capabilities is True or isinstance(capabilities, dict)


def options(conversation: Conversation) -> str:
    for message, params in _permission_requests(conversation):
        found = params.get("options")
        ids = (
            [one.get("optionId") for one in found if isinstance(one, dict)] if isinstance(found, list) else []
        )
        if not ids:
            return f"a question without options: {_short(message)}"
        if len(set(map(str, ids))) != len(ids):
            return f"two options of a question have the same optionId: {_short(message)}"
    return ""


def tool_calls(conversation: Conversation) -> str:
    """The request has an update of the tool call: what was announced need not be repeated, a title has to be there."""
    titled: set[tuple[str, str]] = set()
    for message in _messages(conversation):
        params = message.get("params")
        if not isinstance(params, dict):
            continue
        asks = message.get("method") == "session/request_permission"
        call = params.get("toolCall" if asks else "update")
        if not isinstance(call, dict) or not (asks or _tag(params) in ("tool_call", "tool_call_update")):
            continue
        key = (str(params.get("sessionId")), str(call.get("toolCallId")))
        if isinstance(call.get("title"), str):
            titled.add(key)
        elif asks and key not in titled:
            return f"a question about a tool call that was not announced, and has no title: {_short(message)}"
    return ""


def _permission_requests(conversation: Conversation) -> Iterator[tuple[Json, Json]]:
    """Each permission request with its params."""
    for message in _messages(conversation):
        if message.get("method") == "session/request_permission" and isinstance(message.get("params"), dict):
            yield message, message["params"]


def replies(conversation: Conversation) -> str:
    owed: list[str] = []
    for frame in conversation.frames:
        message = frame.message
        if not isinstance(message, dict):
            continue
        id = json.dumps(message.get("id"))
        if frame.direction is Direction.SENT and "method" in message and "id" in message:
            owed.append(id)
        elif frame.direction is Direction.RECEIVED and "method" not in message and not _no_request(message):
            if id not in owed:
                return f"a response to no request, or a second one: {_short(message)}"
            owed.remove(id)
    return ""


def _no_request(message: Json) -> bool:
    """An error to something whose id could not be read."""
    error = message.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    return message.get("id") is None and code in (PARSE_ERROR, INVALID_REQUEST)


def known_sessions(conversation: Conversation) -> str:
    """An update may come before the answer that names its session, so that all are known only at the end."""
    known = {
        message["result"].get("sessionId") for message in _messages(conversation) if _has_result(message)
    }
    known |= {
        frame.message["params"].get("sessionId") for frame in conversation.frames if _names_session(frame)
    }
    for message in _messages(conversation):
        params = message.get("params")
        session = params.get("sessionId") if isinstance(params, dict) and "method" in message else None
        if isinstance(session, str) and session not in known:
            return f"a session that this connection knows nothing of: {_short(message)}"
    return ""


def _has_result(message: Json) -> bool:
    return isinstance(message.get("result"), dict)


def _names_session(frame: Frame) -> bool:
    """Whether it is a request of ours that takes up a session."""
    message = frame.message
    if (
        frame.direction is not Direction.SENT
        or not isinstance(message, dict)
        or not isinstance(message.get("params"), dict)
    ):
        return False
    return message.get("method") in ("session/load", "session/resume")


def paths(conversation: Conversation) -> str:
    for message in _messages(conversation):
        for name, path in _paths(message.get("params")):
            if not (PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute()):
                return f"{name} {path!r} is not absolute: {_short(message)}"
    return ""


def _paths(params: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(params, dict):
        return
    if isinstance(params.get("path"), str):
        yield "path", params["path"]
    for part in (params.get("update"), params.get("toolCall")):
        for name in ("locations", "content"):
            items = part.get(name) if isinstance(part, dict) else None
            for item in items if isinstance(items, list) else []:
                if isinstance(item, dict) and isinstance(item.get("path"), str):
                    yield f"{name}[].path", item["path"]


def order(conversation: Conversation) -> str:
    return _after_its_end(conversation, cancelled=False)


def order_cancelled(conversation: Conversation) -> str:
    return _after_its_end(conversation, cancelled=True)


def _after_its_end(conversation: Conversation, *, cancelled: bool) -> str:
    """An update of a turn that comes behind the answer to its prompt, while no other turn runs in that session."""
    running: dict[str, str] = {}  # id of a prompt to its session
    last: dict[str, bool] = {}  # session to whether its last turn was cancelled
    for frame in conversation.frames:
        message = frame.message
        if not isinstance(message, dict):
            continue
        params = message.get("params")
        session = params.get("sessionId") if isinstance(params, dict) else None
        id = json.dumps(message.get("id"))
        if frame.direction is Direction.SENT and message.get("method") == "session/prompt":
            running[id] = str(session)
        elif frame.direction is Direction.RECEIVED and "method" not in message and id in running:
            result = message.get("result")
            last[running.pop(id)] = isinstance(result, dict) and result.get("stopReason") == "cancelled"
        elif (
            frame.direction is Direction.RECEIVED
            and last.get(str(session)) is cancelled
            and session not in running.values()
            and (tag := _tag(params)) in OF_A_TURN
        ):
            return f"{tag} came after the answer to its prompt: {_short(message)}"
    return ""


def _tag(params: object) -> str:
    update = params.get("update") if isinstance(params, dict) else None
    return str(update.get("sessionUpdate")) if isinstance(update, dict) else ""


def _received(conversation: Conversation) -> Iterator[Frame]:
    return (frame for frame in conversation.frames if frame.direction is Direction.RECEIVED)


def _messages(conversation: Conversation) -> Iterator[Json]:
    return (frame.message for frame in _received(conversation) if isinstance(frame.message, dict))


def _short(message: Json) -> str:
    return json.dumps(message)[:300]


CHECKS = (
    Check("stdout.only-acp", "nothing but messages comes from it, one a line", TRANSPORTS, judge=only_acp),
    Check("messages.envelope", "every message is one of JSON-RPC 2.0", JSONRPC, judge=envelope),
    Check("messages.schema", "what it sends fits the schema of ACP v1", SCHEMA, judge=fits_schema),
    Check("messages.methods", "its methods are those of ACP, or begin with _", EXTENSIBILITY, judge=methods),
    Check("ask.options", "a question has options, each with an id of its own", TOOLS, judge=options),
    Check(
        "ask.tool-call",
        "a question is about a tool call that was announced, or has a title",
        TOOLS,
        judge=tool_calls,
    ),
    Check(
        "messages.capabilities",
        "it asks nothing that the client can't do",
        INITIALIZATION,
        judge=capabilities,
    ),
    Check("messages.replies", "each request is answered once, and nothing else is", JSONRPC, judge=replies),
    Check("messages.sessions", "it names no session that is not the client's", SCHEMA, judge=known_sessions),
    Check("messages.paths", "its paths are absolute", OVERVIEW, judge=paths),
    Check("prompt.order", "no update of a turn comes after the answer to its prompt", TURN, judge=order),
    Check(
        "cancel.order",
        "no update of a cancelled turn comes after the answer to its prompt",
        f"{TURN}#cancellation",
        judge=order_cancelled,
    ),
)
