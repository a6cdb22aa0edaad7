"""What a prompt shows: three formats, nothing of an agent raw on a terminal, and an end when nobody reads."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from trio_broker.testing.processes.home import LIMIT, Home, eventually, without_start_progress

SCENE = "think hm; plan; tool read it; say one; say two"
EVIL = "\x1b]0:owned\x07\x1b[2J \x9b31m \x7f"


def lines(stdout: str) -> list[Any]:
    """Every line is one JSON object, or this fails."""
    found = [json.loads(line) for line in stdout.splitlines()]
    assert all(isinstance(one, dict) for one in found)
    return found


def test_text_has_everything_on_stdout_as_it_came(shared: Home, tmp_path: Path) -> None:
    done = shared.run("prompt", SCENE, cwd=tmp_path)
    assert (done.returncode, without_start_progress(done.stderr)) == (0, "")
    assert done.stdout == (
        "[thinking] hm\n[plan]\n  - [completed] step 0\n  - [in_progress] step 1\n  - [pending] step 2\n"
        "[tool] read it (pending)\n[tool] read it (completed)\n"
        "  kind: read\n  output:\n    read it: completed\nonetwo\n[done] end_turn\n"
    )


def test_json_is_one_object_a_line_the_outcome_last(shared: Home, tmp_path: Path) -> None:
    done = shared.run("prompt", SCENE + "; ask edit it", "--approve-all", "--format", "json", cwd=tmp_path)
    found = lines(done.stdout)
    updates = [one["params"]["update"]["sessionUpdate"] for one in found if "method" in one]
    assert updates == [
        "agent_thought_chunk",
        "plan",
        "tool_call",
        *["tool_call_update"] * 2,
        *["agent_message_chunk"] * 3,
    ]
    assert found[-1]["result"]["stopReason"] == "end_turn"
    assert [one for one in found if "method" not in one] == [found[-1]]
    assert "[permission] edit it: allowed by policy:approve-all" in done.stderr


def test_json_of_a_failure_ends_with_the_error(shared: Home, tmp_path: Path) -> None:
    done = shared.run("prompt", "error -32123 no more tokens", "--format", "json", cwd=tmp_path)
    assert lines(done.stdout)[-1]["error"] == {"code": -32123, "message": "no more tokens"}
    assert done.returncode == 1 and "no more tokens" in done.stderr


def test_quiet_is_the_answer_alone(shared: Home, tmp_path: Path) -> None:
    done = shared.run("prompt", SCENE, "--format", "quiet", cwd=tmp_path)
    assert (done.stdout, without_start_progress(done.stderr)) == ("onetwo\n", "")


@pytest.mark.parametrize("style", ["text", "json", "quiet"])
def test_control_characters_of_an_agent_never_reach_the_terminal(
    shared: Home, tmp_path: Path, style: str
) -> None:
    acts = "; ".join(f"{act} {EVIL}" for act in ("say", "think", "tool", "ask edit", "error -32123"))
    with shared.terminal("prompt", acts, "--format", style, "--deny-all", cwd=tmp_path) as person:
        assert person.end() == 1
        assert not {"\x07", "\x9b", "\x7f"} & {*person.screen}
        assert "\x1b]" not in person.screen and "\x1b[2J" not in person.screen
        assert person.screen.count("owned") >= 2


def test_control_characters_in_pictures_of_a_session_are_harmless(home: Home, tmp_path: Path) -> None:
    """A session's error, a key, and an agent's stderr are the agent's, or somebody's, words too."""
    evil = "\x1b[2Jowned\x9b"
    agent = [*json.loads(home.config.read_text().partition("command = ")[2]), "--stderr", evil]
    home.config.write_text(f"[agents.evil]\ncommand = {json.dumps([*agent, '--exit-at-start', '3'])}\n")
    home.run("prompt", "-a", "evil", "-s", f"key {evil}", "hi", cwd=tmp_path)
    for words in (["status"], ["sessions", "list"], ["sessions", "show", "-s", f"key {evil}"]):
        for style in ("text", "json"):
            with home.terminal(*words, "--format", style) as person:
                assert person.end() == 0
                assert "owned" in person.screen
                assert "\x1b" not in person.screen and "\x9b" not in person.screen


def test_a_terminal_that_knows_only_ascii_gets_escapes_and_no_traceback(shared: Home) -> None:
    done = shared.run("exec", "say “Grüße”", "--format", "quiet", env={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout) == (0, "\\u201cGr\\xfc\\xdfe\\u201d\n")


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
