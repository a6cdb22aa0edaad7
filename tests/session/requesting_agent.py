"""An agent whose prompts say which requests it makes of its client: a JSON array of steps, run in their order.

{"call": METHOD, "params": {…}}        send it and wait for the response
{"send": METHOD, "params": {…}, "as": NAME}        send it and go on
{"wait": NAME}        wait for that response
{"cancel": NAME}        take it back
{"update": {…}}        send it as a session/update
{"capabilities": true}        say the clientCapabilities of its initialize

Its answer to `initialize` has the clientCapabilities in `_meta.offered`.

In params and updates "$T" stands for the terminal that was created last, and "$SECRET" for its variable API_KEY. At the
end of its turn it says all that it has waited for, as a JSON array.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from queue import Queue
from typing import Any

Json = dict[str, Any]
SESSION = sys.argv[1] if len(sys.argv) > 1 else "requesting-1"


class Agent:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0
        self.terminal = ""
        self.capabilities: Json = {}
        self.answers: dict[str, Queue[Json]] = {}

    def send(self, **message: Any) -> None:
        with self.lock:
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
            sys.stdout.flush()

    def request(self, method: str, params: Json) -> str:
        self.count += 1
        id = f"r{self.count}"
        self.answers[id] = Queue()
        self.send(id=id, method=method, params={"sessionId": SESSION, **self.fill(params)})
        return id

    def fill(self, value: Any) -> Any:
        text = json.dumps(value).replace("$T", self.terminal)
        return json.loads(text.replace("$SECRET", os.environ.get("API_KEY", "")))

    def wait(self, id: str) -> Json:
        message = self.answers[id].get()
        found: Json = {key: message[key] for key in ("result", "error") if key in message}
        self.terminal = (found.get("result") or {}).get("terminalId", self.terminal)
        return found

    def turn(self, message: Json) -> None:
        text = message["params"]["prompt"][0]["text"]
        names: dict[str, str] = {}
        said: list[Any] = []
        for step in json.loads(text):
            if "call" in step:
                said.append(self.wait(self.request(step["call"], step.get("params", {}))))
            elif "send" in step:
                names[step["as"]] = self.request(step["send"], step.get("params", {}))
            elif "wait" in step:
                said.append(self.wait(names[step["wait"]]))
            elif "cancel" in step:
                self.send(method="$/cancel_request", params={"requestId": names[step["cancel"]]})
            elif "update" in step:
                self.update(self.fill(step["update"]))
            elif "capabilities" in step:
                said.append(self.capabilities)
        chunk = {"type": "text", "text": json.dumps(said)}
        self.update({"sessionUpdate": "agent_message_chunk", "content": chunk})
        self.send(id=message["id"], result={"stopReason": "end_turn"})

    def update(self, update: Json) -> None:
        self.send(method="session/update", params={"sessionId": SESSION, "update": update})

    def run(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            method = message.get("method")
            if method is None:
                self.answers[message["id"]].put(message)
            elif method == "initialize":
                self.capabilities = message["params"]["clientCapabilities"]
                capabilities = {"loadSession": False, "sessionCapabilities": {"resume": {}}}
                result = {"protocolVersion": 1, "agentCapabilities": capabilities, "authMethods": []}
                self.send(id=message["id"], result=result | {"_meta": {"offered": self.capabilities}})
            elif method == "session/new":
                self.send(id=message["id"], result={"sessionId": SESSION})
            elif method == "session/prompt":
                threading.Thread(target=self.turn, args=(message,), daemon=True).start()
            elif "id" in message:
                self.send(id=message["id"], result={})


Agent().run()
