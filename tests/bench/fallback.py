"""agent, client and pipe in Python, for a machine without a C compiler: the same words, far slower. See sim/*.c.

Standard library only. The client is the slowest of all that it measures: its numbers are lower bounds.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import socket
import subprocess
import sys
import time
from typing import Any

UPDATE = (
    '{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"%s","update":{"sessionUpdate":'
    '"agent_message_chunk","content":{"type":"text","text":"seq %08d %s"}}}}\n'
)
WRITE = 65536


def agent() -> None:
    number = 0
    for line in sys.stdin:
        asked = json.loads(line)
        result: dict[str, Any] = {}
        if asked.get("method") == "initialize":
            result = {"protocolVersion": 1, "agentCapabilities": {}, "authMethods": []}
        elif asked.get("method") == "session/new":
            number += 1
            result = {"sessionId": f"sim-{os.getpid()}-{number}"}
        elif asked.get("method") == "session/prompt":
            play(asked["params"]["sessionId"], asked["params"]["prompt"][0]["text"].split())
            result = {"stopReason": "end_turn"}
        if "id" in asked:
            said = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}, separators=(",", ":"))
            os.write(1, said.encode() + b"\n")


def play(session: str, words: list[str]) -> None:
    kind, numbers = words[0], [int(word) for word in words[1:]] if words[0] in ("flood", "tick") else []
    count, size, lines = [*numbers, *(1, 200, 0)[len(numbers) :]]
    filler = "x" * max(0, (size if kind == "flood" else 200) - len(UPDATE % (session, 0, "")))
    held: list[str] = []
    for number in range(count):
        if kind == "tick":
            time.sleep(size / 1e6)
        held.append(UPDATE % (session, number, filler))
        if kind == "tick" or (lines and len(held) >= lines) or len(held) * len(held[0]) >= WRITE:
            say(held)
    say(held)


def say(held: list[str]) -> None:
    data = "".join(held).encode()
    while data:
        data = data[os.write(1, data) :]
    held.clear()


class Link:
    """One connection to a door."""

    def __init__(self, door: str, token: str) -> None:
        kind, _, where = door.partition(":")
        self.data, self.framed = b"", kind == "ws"
        if kind == "exec":
            process = subprocess.Popen([where], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
            assert process.stdin is not None and process.stdout is not None
            self.input, self.output = process.stdout.fileno(), process.stdin.fileno()
            self.kept: object = process
            return
        found = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
        host, _, rest = where.partition(":")
        port, _, path = rest.partition(":")
        found.connect(where if kind == "unix" else (host, int(port)))
        self.kept, self.input, self.output = found, found.fileno(), found.fileno()
        if self.framed:
            self._upgrade(host, path, token)

    def _upgrade(self, host: str, path: str, token: str) -> None:
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"]
        lines += [f"Authorization: Bearer {token}"] if token else []
        os.write(self.output, "\r\n".join([*lines, "", ""]).encode())
        while b"\r\n\r\n" not in self.data:
            self.read()
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        if b" 101" not in head[:16]:
            sys.exit(f"no upgrade: {head.decode()}")

    def read(self) -> None:
        data = os.read(self.input, 1 << 20)
        if not data:
            sys.exit("the other side is gone")
        self.data += data

    def send(self, id: int, method: str, **params: object) -> None:
        text = json.dumps(
            {"jsonrpc": "2.0", "id": id, "method": method, "params": params}, separators=(",", ":")
        )
        data = text.encode()
        size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
        os.write(self.output, b"\x81" + size + bytes(4) + data if self.framed else data + b"\n")

    def messages(self) -> list[bytes]:
        """Those that are here as a whole."""
        if not self.framed:
            *lines, self.data = self.data.split(b"\n")
            return lines
        found, at = [], 0
        while len(self.data) - at >= 10 or (len(self.data) - at >= 2 and self.data[at + 1] < 126):
            length, skip = self.data[at + 1], 2
            if length >= 126:
                skip = 4 if length == 126 else 10
                length = int.from_bytes(self.data[at + 2 : at + skip], "big")
            if len(self.data) - at < skip + length:
                break
            if self.data[at] & 15 < 3:
                found.append(self.data[at + skip : at + skip + length])
            at += skip + length
        self.data = self.data[at:]
        return found

    def answer(self, id: int) -> Any:
        while True:
            for message in self.messages():
                value = json.loads(message)
                if value.get("id") == id and "method" not in value:
                    if "error" in value:
                        sys.exit(f"request {id}: {value['error']}")
                    return value["result"]
            self.read()


class Client:
    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked = asked
        self.begun = time.perf_counter()
        self.links = [Link(asked.door, asked.token) for _ in range(asked.clients)]
        self.seats: dict[tuple[int, str], int] = {}
        self.updates = self.lost = self.foreign = 0
        self.trips: list[float] = []
        self.first = self.ready = 0.0

    def heard(self, client: int, message: bytes) -> Any:
        """Check an update; what is none is given back."""
        if b'"session/update"' not in message[:120]:
            return json.loads(message)
        params = json.loads(message)["params"]
        found = re.match(r"seq (\d+)", params["update"].get("content", {}).get("text", ""))
        seat = client, params["sessionId"]
        if seat not in self.seats:
            self.foreign += 1
        elif found:
            self.first = self.first or time.perf_counter()
            self.lost += int(found[1]) != self.seats[seat]
            self.seats[seat] = int(found[1]) + 1
            self.updates += 1
        return None

    def turns(self) -> None:
        for link in self.links:
            link.send(1, "initialize", protocolVersion=1, clientCapabilities={})
            link.answer(1)
        sessions = []
        for number in range(self.asked.sessions):
            self.links[0].send(1000 + number, "session/new", cwd="/", mcpServers=[])
            sessions.append(self.links[0].answer(1000 + number)["sessionId"])
        for link in self.links[1:]:
            link.send(2, "_trio_broker/attach", sessionId=sessions[0], role="observer")
            link.answer(2)
        words = self.asked.prompt.split()
        expected = int(words[1]) if words[0] in ("flood", "tick") else 1
        self.ready = time.perf_counter() - self.begun
        self._hold("open")
        self.begun = time.perf_counter()
        for number in range(self.asked.repeat):
            if time.perf_counter() - self.begun > self.asked.seconds:
                break
            self._round(sessions, expected, 100_000 + number * len(sessions))
        self._report(time.perf_counter() - self.begun)

    def _round(self, sessions: list[str], expected: int, id: int) -> None:
        self.seats = dict.fromkeys([(0, session) for session in sessions], 0)
        self.seats |= dict.fromkeys([(number, sessions[0]) for number in range(len(self.links))], 0)
        at, running = time.perf_counter(), {}
        for number, session in enumerate(sessions, id):
            running[number] = session
            blocks = [{"type": "text", "text": self.asked.prompt}]
            self.links[0].send(number, "session/prompt", sessionId=session, prompt=blocks)
        while running or any(heard < expected for heard in self.seats.values()):
            ready, _, _ = select.select([link.input for link in self.links], [], [])
            for client, link in enumerate(self.links):
                if link.input in ready:
                    link.read()
                    for message in link.messages():
                        reply = self.heard(client, message)
                        if reply and client == 0 and reply.get("id") in running:
                            self.lost += self.seats[0, running.pop(reply["id"])] != expected
                            self.trips.append(time.perf_counter() - at)

    def calls(self) -> None:
        for number in range(self.asked.repeat):
            at = time.perf_counter()
            self.links[0].send(10 + number, self.asked.call)
            self.links[0].answer(10 + number)
            self.trips.append(time.perf_counter() - at)
        self._report(sum(self.trips))

    def replays(self) -> None:
        self.seats[0, self.asked.replay] = 0
        at = time.perf_counter()
        self.links[0].send(2, "_trio_broker/attach", sessionId=self.asked.replay, since=1, role="observer")
        while self.updates < self.asked.count:
            self.links[0].read()
            for message in self.links[0].messages():
                self.heard(0, message)
        self.first -= at
        self._report(time.perf_counter() - at)

    def _hold(self, word: str) -> None:
        if self.asked.hold:
            print(word, flush=True)
            sys.stdin.readline()

    def _report(self, seconds: float) -> None:
        self._hold("done")
        trips = sorted(self.trips) or [0.0]
        facts: dict[str, float] = {"updates": self.updates, "lost": self.lost, "foreign": self.foreign}
        facts |= {"seconds": seconds, "per_s": self.updates / seconds, "ready_ms": self.ready * 1000}
        parts = {"p50_us": 0.5, "p99_us": 0.99, "max_us": 1}
        facts |= {name: trips[int(part * (len(trips) - 1) + 0.5)] * 1e6 for name, part in parts.items()}
        print(json.dumps(facts | {"first_ms": self.first * 1000}))
        sys.exit(bool(self.lost or self.foreign))


def client(words: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("door")
    for name in ("--token", "--call", "--replay"):
        parser.add_argument(name, default="")
    parser.add_argument("--prompt", default="hi")
    for name in ("--sessions", "--clients", "--repeat", "--count"):
        parser.add_argument(name, type=int, default=1)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--hold", action="store_true")
    asked = parser.parse_args(words)
    one = Client(asked)
    (one.calls if asked.call else one.replays if asked.replay else one.turns)()


def pipe(program: str, prompt: str) -> None:
    asked = {"jsonrpc": "2.0", "id": 1, "method": "session/prompt"}
    asked |= {"params": {"sessionId": "s", "prompt": [{"type": "text", "text": prompt}]}}
    begun = time.perf_counter()
    done = subprocess.run(
        [program], input=json.dumps(asked).encode() + b"\n", stdout=subprocess.PIPE, check=True
    )
    seconds, lines = time.perf_counter() - begun, done.stdout.count(b"\n") - 1
    print(json.dumps({"updates": lines, "seconds": seconds, "per_s": lines / seconds}))


if __name__ == "__main__":
    if sys.argv[1] == "agent":
        agent()
    elif sys.argv[1] == "client":
        client(sys.argv[2:])
    else:
        pipe(*sys.argv[2:])
