"""What this project is measured beside. What is missing is named, and left out.

`bin/bench --peers` installs what npm has into a directory of the user's cache; websocketd is a Debian package.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.tools import HERE, PATIENCE, Failed, checked

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trio-broker-bench"
PACKAGES = ("@agentclientprotocol/sdk", "acpx", "stdio-to-ws", "ws")
PINS = {
    "acpx": "0.19.1"
}  # left to itself npm takes one of the year before on Node 20, where this one runs, too


def install() -> None:
    """Have npm install its peers, and copy our few lines around the SDK beside them. Raises Failed."""
    if shutil.which("npm") is None:
        raise Failed("--peers: npm is not in PATH")
    CACHE.mkdir(parents=True, exist_ok=True)
    (CACHE / "package.json").write_text('{"name":"peers","private":true,"type":"module"}\n', encoding="utf-8")
    quiet = ["--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
    wanted = [f"{name}@{PINS[name]}" if name in PINS else name for name in PACKAGES]
    done = subprocess.run(["npm", "install", *quiet, *wanted], cwd=CACHE, check=False)
    if done.returncode:
        raise Failed("--peers: npm could not install them: see above")


def version(package: str) -> str | None:
    """The version of an installed npm package; None if it is not there."""
    try:
        text = (CACHE / "node_modules" / package / "package.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return str(json.loads(text)["version"])


def _script(name: str) -> str:
    """One of our scripts, where node finds what it imports."""
    shutil.copy(HERE / "sdk" / name, CACHE / name)
    return str(CACHE / name)


class Peers:
    """`servers`: name to command, with {port} and {agent}; `clients`: the same on a pipe; `missing`: why not."""

    def __init__(self) -> None:
        self.servers: dict[str, list[str]] = {}
        self.clients: dict[str, list[str]] = {}
        self.missing: list[str] = []
        self.acpx: list[str] | None = None
        if shutil.which("websocketd"):
            options = ["--port={port}", "--address=127.0.0.1", "--loglevel=fatal"]
            self.servers["websocketd"] = ["websocketd", *options, "{agent}"]
        else:
            self.missing.append("websocketd (Debian package of that name)")
        node = shutil.which("node")
        for package in PACKAGES[:3]:
            found = version(package) if node else None
            if found is None or node is None:
                self.missing.append(f"{package} (npm; bin/bench --peers installs it)")
            else:
                self._add(node, package, found)
        if importlib.util.find_spec("acp"):
            self.clients["Python SDK client"] = [sys.executable, str(HERE / "sdk" / "client.py"), "{agent}"]
        else:
            self.missing.append("agent-client-protocol (PyPI)")

    def _add(self, node: str, package: str, found: str) -> None:
        modules = CACHE / "node_modules"
        if package == "acpx":
            self.acpx = [str(modules / ".bin" / "acpx")]
        elif package == "stdio-to-ws":
            main = str(modules / package / "dist" / "main.js")
            self.servers[f"stdio-to-ws {found}"] = [node, main, "-q", "-p", "{port}", "{agent}"]
        elif version("ws") is not None:
            self.servers[f"TypeScript SDK server {found}"] = [
                node,
                _script("server.mjs"),
                "{port}",
                "{agent}",
            ]
            self.clients[f"TypeScript SDK client {found}"] = [node, _script("client.mjs"), "{agent}"]


@contextmanager
def serving(command: list[str], agent: Path) -> Iterator[str]:
    """A peer's server; the door to it. Raises Failed if it does not listen."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [word.format(port=port, agent=agent) for word in command]
    null = subprocess.DEVNULL
    with subprocess.Popen(argv, stdin=null, stdout=null, stderr=null) as process:
        try:
            _until_listening(process, port)
            yield f"ws:127.0.0.1:{port}:/"
        finally:
            process.kill()


def _until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise Failed(f"{process.args!r} does not listen")


def direct(command: list[str], agent: Path, prompt: str, count: int) -> dict[str, Any]:
    """What an SDK's own client makes of an agent on a pipe. Raises Failed."""
    argv = [*(word.format(agent=agent) for word in command), prompt, str(count)]
    return checked(argv, subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=False))
