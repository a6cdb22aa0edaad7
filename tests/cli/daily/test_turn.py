"""One prompt from its start to its exit code: it shows its own turn only, and ends when its output is closed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from trio_broker.testing.processes.home import LIMIT, Home, eventually, without_start_progress


def head(home: Home, *words: str, cwd: Path) -> tuple[str, int, str]:
    """`trio-broker WORDS | head -1`: the line, the exit code, and stderr."""
    with home.start(*words, cwd=cwd, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        process.stdout.close()
        return line, process.wait(LIMIT), without_start_progress(process.stderr.read())


def test_when_nobody_reads_on_a_prompt_detaches_and_says_so(shared: Home, tmp_path: Path) -> None:
    line, code, stderr = head(
        shared, "prompt", "flood 5000 200; hang", "--format", "json", "-s", "unread", cwd=tmp_path
    )
    assert json.loads(line)["method"] == "session/update"
    assert code == 1
    assert stderr == (
        "nobody reads the output: the turn goes on; to end it: `trio-broker cancel -s unread`\n"
    )
    shared.until("unread", "working")
    assert shared.run("cancel", "-s", "unread").returncode == 0
    shared.until("unread", "idle")


def test_when_nobody_reads_on_an_exec_ends_with_its_session(shared: Home, tmp_path: Path) -> None:
    key = f"exec {tmp_path}"
    _, code, stderr = head(
        shared, "exec", "flood 5000 200; hang", "--format", "json", "-s", key, cwd=tmp_path
    )
    assert (code, stderr) == (1, "nobody reads the output; the session has ended\n")
    assert shared.session(key) is None


@pytest.mark.parametrize("style", ["text", "json", "quiet"])
def test_a_prompt_shows_its_own_turn_and_not_those_around_it(
    shared: Home, tmp_path: Path, style: str
) -> None:
    """One waits behind the turn of another, which has its last word then; a third one comes right behind it."""
    key = f"{style} {tmp_path}"
    shared.run("prompt", "tool first 600", "-s", key, "--no-wait", cwd=tmp_path)
    with shared.start("prompt", "say second", "-s", key, "--format", style, cwd=tmp_path) as process:
        eventually(lambda: shared.session(key)["queue"] == 1)
        shared.run("prompt", "flood 20", "-s", key, "--no-wait", cwd=tmp_path)
        shared.run("cancel", "-s", key)
        stdout, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    assert "second" in stdout and "first" not in stdout and "..." not in stdout
