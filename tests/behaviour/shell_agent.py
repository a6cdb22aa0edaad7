"""An ACP agent on stdio with a shell. A prompt is `run ARGV` or `ask ARGV`, with a JSON array of words.

It runs the command, and says its exit code and what it printed, as JSON. With `ask` it does so while a permission
request of its own waits, and says what was chosen after that.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

COMMAND_TIMEOUT = 60  # seconds
OPTIONS = [
    {"optionId": "yes", "name": "Allow", "kind": "allow_once"},
    {"optionId": "no", "name": "Reject", "kind": "reject_once"},
]


def send(**members: Any) -> None:
    print(json.dumps({"jsonrpc": "2.0", **members}), flush=True)


def say(session: str, text: str) -> None:
    update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}
    send(method="session/update", params={"sessionId": session, "update": update})


def run(argv: list[str]) -> str:
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=COMMAND_TIMEOUT,
        check=False,
    )
    return json.dumps({"code": done.returncode, "said": done.stdout})


def choice() -> str:
    """What people chose; everything else that comes before it is dropped."""
    for line in sys.stdin:
        message = json.loads(line)
        if message.get("id") == "ask" and "method" not in message:
            return json.dumps(message["result"]["outcome"])
    return "nothing"


def prompt(params: dict[str, Any]) -> dict[str, str]:
    session, text = params["sessionId"], params["prompt"][0]["text"]
    what, _, words = text.partition(" ")
    if what == "ask":
        call = {"toolCallId": "t", "title": "edit it", "kind": "edit"}
        asked = {"sessionId": session, "toolCall": call, "options": OPTIONS}
        send(id="ask", method="session/request_permission", params=asked)
    say(session, run(json.loads(words)))
    if what == "ask":
        say(session, choice())
    return {"stopReason": "end_turn"}


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        answers: dict[str, Any] = {
            "initialize": {"protocolVersion": 1, "agentCapabilities": {}},
            "session/new": {"sessionId": "shell"},
        }
        if message.get("method") == "session/prompt":
            send(id=message["id"], result=prompt(message["params"]))
        elif message.get("method") in answers:
            send(id=message["id"], result=answers[message["method"]])


main()
