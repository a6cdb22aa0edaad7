"""The simulated agent and the client that checks: built from sim/*.c, or in Python where there is no compiler."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PATIENCE = 120.0  # seconds for one run of the client: a hanging one is an error, not a long bench


class Failed(Exception):
    """Something that was measured did not work, or lost, repeated or reordered an update."""


class Tools:
    """Programs in `directory`: agent, client, pipe. `slow`: they are in Python, and measure themselves above all."""

    def __init__(self, directory: Path, *, in_c: bool = True) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        compiler = compiler if in_c else None
        self.slow = compiler is None
        self.agent = directory / "agent"
        self._client = directory / "client"
        self._pipe = directory / "pipe"
        for program in (self.agent, self._client, self._pipe):
            if compiler is not None:
                source = HERE / "sim" / f"{program.name}.c"
                subprocess.run([compiler, "-O2", "-o", program, source], check=True)
            else:
                fallback = HERE / "fallback.py"
                program.write_text(
                    f'#!/bin/sh\nexec "{sys.executable}" -S "{fallback}" {program.name} "$@"\n'
                )
                program.chmod(0o755)

    def client(self, door: str, *options: object, token: str = "") -> dict[str, Any]:
        """What the client found. Raises Failed if it found anything wrong."""
        argv = [str(self._client), door, *(["--token", token] if token else []), *map(str, options)]
        return checked(
            argv, subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=False)
        )

    @contextmanager
    def held(self, door: str, *options: object, token: str = "") -> Iterator[Held]:
        """The client, stopping where it is told to go on."""
        argv = [str(self._client), door, *(["--token", token] if token else []), *map(str, options), "--hold"]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield Held(argv, process)
            finally:
                process.kill()

    def pipe(self, prompt: str) -> float:
        """Updates a second that come out of the agent when nothing but counting is done with them."""
        argv = [str(self._pipe), str(self.agent), prompt]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=False)
        return float(checked(argv, done)["per_s"])


class Held:
    """A client that waits at "open" and at "done"."""

    def __init__(self, argv: Sequence[str], process: subprocess.Popen[str]) -> None:
        self._argv, self._process = argv, process

    def wait(self, word: str) -> None:
        assert self._process.stdout is not None
        if (said := self._process.stdout.readline().strip()) != word:
            raise Failed(f"{' '.join(self._argv)}: said {said!r}, not {word!r}")

    def go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def result(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        code = self._process.wait(PATIENCE)
        return checked(self._argv, subprocess.CompletedProcess(self._argv, code, said, ""))


def checked(argv: Sequence[str], done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON object that it printed last. Raises Failed: it ended badly, or an update was not in its place."""
    lines = done.stdout.strip().splitlines()
    found: dict[str, Any] = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    if found.get("lost") or found.get("foreign"):
        raise Failed(f"{' '.join(argv)}: updates were lost, repeated, reordered or mixed up: {lines[-1]}")
    if done.returncode or not found:
        raise Failed(f"{' '.join(argv)}: exit code {done.returncode}: {done.stderr.strip()[-500:]}")
    return found


def median(values: Sequence[float]) -> float:
    return statistics.median(values)
