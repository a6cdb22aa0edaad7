"""A broker of one's own, used as a person uses it: by running the command `trio-broker`, at a terminal or not.

    with Home() as home:
        assert home.run("fake", "say hello", "--format", "quiet").stdout == "hello\\n"

Standard library only, and blocking: the command is what is asynchronous here.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

LIMIT = 30.0  # seconds for each single step: far more than it takes, far less than a hanging test would
TRIO_BROKER = (sys.executable, "-m", "trio_broker")
FAKE = (sys.executable, "-S", "-E", str(Path(__file__).parent.with_name("agent.py")))
WATCHDOG = (sys.executable, "-S", "-E", str(Path(__file__).with_name("watchdog.py")))
CONFIG = f"""
default_agent = "fake"

[agents.fake]
command = {json.dumps(list(FAKE))}
"""


def fake_command_line(*flags: str) -> str:
    """The command line of the scripted agent with these flags, as `--command` wants it."""
    return shlex.join([*FAKE, *flags])


def eventually(holds: Callable[[], object]) -> None:
    """Wait until `holds()` is true."""
    deadline = time.monotonic() + LIMIT
    while not holds():
        assert time.monotonic() < deadline, "it has not come true"
        time.sleep(0.02)


def without_start_progress(stderr: str) -> str:
    """What a command told on stderr, but for how its agent's start went: that is told of slow ones only."""
    return "".join(line for line in stderr.splitlines(keepends=True) if not line.startswith("[starting] "))


def is_running(pid: int) -> bool:
    """Whether there is such a process, a zombie not counted."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return fields[0] != "Z"


class Home:
    """TRIO_BROKER_HOME, with a short path as sockets want it, and the agent `fake` as the default one.

    No daemon runs until a command starts one. Leaving ends it, and finds fault if that leaves a process behind. When
    this process is killed in the block, a watchdog ends the daemon and removes the directory.
    """

    def __init__(self, config: str = CONFIG, **env: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="tb"))
        self.config = self.path / "config.toml"
        self.config.write_text(config, encoding="utf-8")
        own = {"TRIO_BROKER_HOME": str(self.path), "TRIO_BROKER_DEMO_SPEED": "50"}
        theirs = {name: value for name, value in os.environ.items() if not name.startswith("TRIO_BROKER_")}
        self.env = {**theirs, **own, **env}

    @property
    def socket(self) -> Path:
        return self.path / "run" / "broker.sock"

    @property
    def log(self) -> str:
        """What the daemon wrote; nothing if none was started."""
        file = self.path / "state" / "broker.log"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    def __enter__(self) -> Self:
        null = subprocess.DEVNULL
        self._watchdog = subprocess.Popen(
            [*WATCHDOG, str(self.path)],
            stdin=subprocess.PIPE,
            stdout=null,
            stderr=null,
            cwd="/",
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        all_is_well = b""
        try:
            self.end()
            all_is_well = b"q"
        finally:
            self._watchdog.communicate(all_is_well)
            shutil.rmtree(self.path, ignore_errors=True)

    def end(self) -> None:
        """`down`, and a look at what it left."""
        if not any(path.exists() for path in (self.socket.parent, self.path / "state")):
            return  # no daemon was ever started
        pids = self._pids()
        self.config.write_text("", encoding="utf-8")  # whatever a test made of it
        done = self.run("down")
        deadline = time.monotonic() + LIMIT  # for its interpreter to end, when it has given its lock back
        while (left := [pid for pid in pids if is_running(pid)]) and time.monotonic() < deadline:
            time.sleep(0.02)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert done.returncode == 0, done.stderr + self.log
        assert left == [], f"left behind: {left}"

    def _pids(self) -> list[int]:
        """The daemon and its agents."""
        try:
            status = self.status()
        except OSError:
            return []
        agents: list[int] = [view["pid"] for view in status["sessions"] if view["pid"]]
        return [status["pid"], *agents]

    def run(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the command to its end. `input` is its stdin, empty unless given; the rest is for Popen."""
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        env = {**self.env, **options.pop("env", {})}
        argv = [*TRIO_BROKER, *words]
        return subprocess.run(
            argv, capture_output=True, encoding="utf-8", timeout=LIMIT, check=False, env=env, **options
        )

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start the command, with pipes; whoever calls waits for its end."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        env = {**self.env, **options.pop("env", {})}
        return subprocess.Popen([*TRIO_BROKER, *words], env=env, encoding="utf-8", **{**pipes, **options})

    def terminal(
        self, *words: str, cwd: str | os.PathLike[str] | None = None, colour: bool = False
    ) -> Terminal:
        """Start the command at a terminal of its own."""
        env = {**self.env, "TERM": "xterm", "NO_COLOR": "" if colour else "1"}
        return Terminal([*TRIO_BROKER, *words], env, cwd)

    def json(self, *words: str) -> Any:
        """The one JSON object that a command with `--format json` gives."""
        done = self.run(*words, "--format", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def status(self) -> Any:
        """What `status --format json` gives, without a process for it.

        Raises OSError when no broker is there, or it goes away meanwhile.
        """
        with socket.socket(socket.AF_UNIX) as broker:
            broker.settimeout(LIMIT)
            broker.connect(str(self.socket))
            broker.sendall(b'{"jsonrpc":"2.0","id":1,"method":"_trio_broker/status"}\n')
            with broker.makefile("rb") as lines:
                answer = lines.readline()
        if not answer:
            raise ConnectionResetError("the broker has gone without an answer")
        return json.loads(answer)["result"]

    def session(self, key: str) -> Any:
        """One session as `status` shows it; None when there is none, or no broker yet."""
        try:
            sessions = self.status()["sessions"]
        except OSError:
            return None
        return next((view for view in sessions if view["key"] == key), None)

    def until(self, key: str, phase: str) -> None:
        """Wait for a session to be in that phase."""
        eventually(lambda: (self.session(key) or {}).get("phase") == phase)


class Terminal:
    """A person at a terminal: sees what the command writes, types, and presses Ctrl-C."""

    def __init__(
        self, argv: list[str], env: Mapping[str, str], cwd: str | os.PathLike[str] | None = None
    ) -> None:
        self.screen = ""
        self._closed = False
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            argv,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=env,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509  # one call in C; only so does Ctrl-C become a signal
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(LIMIT)
        if not self._closed:
            os.close(self._master)

    def see(self, text: str) -> None:
        """Wait until `text` is on the screen, beyond what was seen before; raises AssertionError if it never is."""
        deadline = time.monotonic() + LIMIT
        while text not in self.screen:
            assert time.monotonic() < deadline and self._read(), f"no {text!r} in {self.screen!r}"
        self.screen = self.screen.partition(text)[2]

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def ctrl_c(self) -> None:
        self.type("\x03")

    def close_window(self) -> int:
        """The terminal is gone, with everything in it; the exit code of what ran in it."""
        self._closed = True
        os.close(self._master)
        return self.process.wait(LIMIT)

    def end(self) -> int:
        """The exit code, when it has ended; `screen` has the rest of what it wrote."""
        while self._read():
            pass
        return self.process.wait(LIMIT)

    def _read(self) -> bool:
        """Read what is there, or comes; False at the end."""
        ready, _, _ = select.select([self._master], [], [], LIMIT)
        assert ready, f"it says nothing more after {self.screen!r}"
        try:
            data = os.read(self._master, 65536)
        except OSError:  # how Linux tells that nobody has the terminal open any more
            return False
        self.screen += data.decode("utf-8", "replace")
        return bool(data)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
