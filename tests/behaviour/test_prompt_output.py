"""What a prompt shows: three formats, nothing of an agent raw on a terminal, and an end when nobody reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trio_broker.testing.processes.home import Home, without_start_progress

SCENE = "think hm; plan; tool read it; say one; say two"


UNSEEN = "\u202e\u2066\u200b\ufeff\u3164\U000e0041"  # turn the direction of writing, or have no glyph
EVIL = f"\x1b]0:owned\x07\x1b[2J \x9b31m \x7f{UNSEEN}"


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
        assert not {"\x07", "\x9b", "\x7f", *UNSEEN} & {*person.screen}
        assert "\x1b]" not in person.screen and "\x1b[2J" not in person.screen
        assert person.screen.count("owned") >= 2


def test_control_characters_in_pictures_of_a_session_are_harmless(home: Home, tmp_path: Path) -> None:
    """A session's error, a key, and an agent's stderr are the agent's, or somebody's, words too."""
    evil = f"\x1b[2Jowned\x9b{UNSEEN}"
    agent = [*json.loads(home.config.read_text().partition("command = ")[2]), "--stderr", evil]
    command = json.dumps([*agent, "--exit-at-start", "3"], ensure_ascii=False)
    home.config.write_text(f"[agents.evil]\ncommand = {command}\n", encoding="utf-8")
    home.run("prompt", "-a", "evil", "-s", f"key {evil}", "hi", cwd=tmp_path)
    for words in (["status"], ["sessions", "list"], ["sessions", "show", "-s", f"key {evil}"]):
        for style in ("text", "json"):
            with home.terminal(*words, "--format", style) as person:
                assert person.end() == 0
                assert "owned" in person.screen
                assert not {"\x1b", "\x9b", *UNSEEN} & {*person.screen}


def test_a_terminal_that_knows_only_ascii_gets_escapes_and_no_traceback(shared: Home) -> None:
    done = shared.run("exec", "say “Grüße”", "--format", "quiet", env={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout) == (0, "\\u201cGr\\xfc\\xdfe\\u201d\n")


def test_colours_are_for_terminals(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "think hm", cwd=tmp_path, colour=True) as person:
        person.end()
        assert "\x1b[2m" in person.screen and "\x1b[0m" in person.screen
    assert "\x1b" not in shared.run("prompt", "think hm", cwd=tmp_path).stdout
