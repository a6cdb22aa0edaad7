"""A daemon of this project, as a person runs it: its own process, its own home, journal on, `durability = "turn"`."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

PATIENCE = 30.0  # seconds for it to listen, or to end
TRIO_BROKER = (sys.executable, "-m", "trio_broker")
CONFIG = """
default_agent = "sim"
[agents.sim]
command = ["{agent}"]
[broker]
max_sessions = 1100
max_clients = 300
[policy]
default = "approve-all"
[listen]
websocket = "127.0.0.1:0"
max_per_token = 300
[journal]
durability = "turn"
"""


class Daemon:
    """Leaving it ends the daemon and its agents."""

    def __init__(self, agent: Path) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="tbb"))
        (self.home / "config.toml").write_text(CONFIG.format(agent=agent), encoding="utf-8")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TRIO_BROKER_")}
        self.env = kept | {"TRIO_BROKER_HOME": str(self.home)}
        self.token = ""
        self.url = ""

    def __enter__(self) -> Self:
        null = subprocess.DEVNULL
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*TRIO_BROKER, "serve", "--log-level", "warning"],
                env=self.env, stdin=null, stdout=null, stderr=log,
            )  # fmt: skip
        try:
            self.url = self._listening()
            self.token = self.run("token", "new", "--name", "bench", "--scope", "admin").stdout.strip()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def unix(self) -> str:
        return f"unix:{self.home}/run/broker.sock"

    @property
    def websocket(self) -> str:
        return f"ws:{self.url}:/acp"

    @property
    def _log(self) -> Path:
        return self.home / "serve.log"

    def run(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command of the CLI against it. Raises CalledProcessError."""
        return subprocess.run(
            [*TRIO_BROKER, *words], env=self.env, capture_output=True, text=True, check=True, **options
        )

    def call(self, method: str, **params: object) -> Any:
        """The result of one of the broker's own methods."""
        asked = {"jsonrpc": "2.0", "id": 1, "method": f"_trio_broker/{method}", "params": params}
        with socket.socket(socket.AF_UNIX) as broker, broker.makefile("rwb") as lines:
            broker.settimeout(PATIENCE)
            broker.connect(self.unix.removeprefix("unix:"))
            lines.write(json.dumps(asked).encode() + b"\n")
            lines.flush()
            while "id" not in (message := json.loads(lines.readline())):
                pass
        return message["result"]

    def end_turns(self) -> None:
        """End what still works: a client that left has not ended its turn."""
        for session in self.call("status")["sessions"]:
            if session["phase"] == "working":
                self.call("kill", sessionId=session["sessionId"])

    def _listening(self) -> str:
        deadline = time.monotonic() + PATIENCE
        while True:
            said = self._log.read_text(encoding="utf-8")
            if "Ctrl-C ends it" in said and (found := re.search(r"ws://(127\.0\.0\.1:\d+)/acp", said)):
                return found[1]
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the daemon does not listen: {said}")
            time.sleep(0.01)


def cpu(pid: int) -> float:
    """The seconds of CPU, of the user and of the system, that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> int:
    """Resident bytes of a process that are its own: shared ones, such as the interpreter's code, cost once."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return sum(int(size) * 1024 for size in re.findall(r"^Private_\w+:\s+(\d+) kB", text, re.MULTILINE))
