"""`set-mode`, `set` and --model: list what the agent offers, and choose."""

from __future__ import annotations

from pathlib import Path

import pytest

from trio_broker.testing.processes.home import Home, fake_command_line

OPTIONS = "KEY    NOW    CHOICES\nmode   ask    ask, code\nmodel  small  small, large\n"


@pytest.fixture
def key(shared: Home, tmp_path: Path) -> str:
    made = shared.run("sessions", "new", "-s", f"k {tmp_path.name}")
    assert made.returncode == 0
    return f"k {tmp_path.name}"


def values(home: Home, key: str) -> dict[str, object]:
    return {one["id"]: one["currentValue"] for one in home.json("set", "-s", key)["options"]}


def test_what_there_is_is_listed(shared: Home, key: str) -> None:
    assert shared.run("set", "-s", key).stdout == OPTIONS
    assert (
        shared.run("set", "-s", key, "model").stdout == "KEY    NOW    CHOICES\nmodel  small  small, large\n"
    )
    assert shared.run("set-mode", "-s", key).stdout == "KEY   NOW  CHOICES\nmode  ask  ask, code\n"
    assert shared.run("set", "-s", key, "--format", "quiet").stdout == "mode\nmodel\n"
    listed = shared.json("set", "-s", key)
    assert (listed["key"], listed["agent"]) == (key, "fake")
    assert [one["id"] for one in listed["options"]] == ["mode", "model"]


def test_an_option_and_a_mode_are_set(shared: Home, key: str) -> None:
    done = shared.run("set", "-s", key, "model", "Large")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"session {key}: model is large\n")
    done = shared.run("set-mode", "-s", key, "code")
    assert (done.returncode, done.stderr) == (0, f"session {key}: mode is code\n")
    assert values(shared, key) == {"mode": "code", "model": "large"}
    done = shared.run("set", "-s", key, "mode", "ask")
    assert (done.returncode, done.stderr) == (0, f"session {key}: mode is ask\n")
    assert shared.json("set", "-s", key, "model", "small") == {
        "action": "option_set",
        "key": key,
        "option": "model",
        "value": "small",
    }
    assert shared.json("set-mode", "-s", key, "ask") == {"action": "mode_set", "key": key, "value": "ask"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["set", "model", "huge"], "offers no model 'huge'; it offers small, large"),
        (
            ["set", "colour", "red"],
            "offers no option 'colour'; it offers mode, model; `trio-broker set` lists them",
        ),
        (["set", "mode", "yolo"], "offers no mode 'yolo'; it offers ask, code"),
        (["set", "colour"], "offers no option 'colour'; `trio-broker set` lists what it offers"),
        (["set-mode", "yolo"], "offers no mode 'yolo'; it offers ask, code"),
        (["prompt", "hi", "--model", "huge"], "offers no model 'huge'; it offers small, large"),
        (["prompt", "hi", "--no-wait", "--model", "huge"], "offers no model 'huge'; it offers small, large"),
        (["sessions", "ensure", "--model", "huge"], "offers no model 'huge'; it offers small, large"),
    ],
)
def test_what_is_not_offered_is_told_with_what_is(
    shared: Home, key: str, words: list[str], says: str
) -> None:
    done = shared.run(*words, "-s", key)
    assert (done.returncode, done.stdout, says in done.stderr) == (2, "", True), done.stderr
    assert shared.session(key)["turns"] == 0


def test_a_session_that_is_not_there_is_exit_4(shared: Home) -> None:
    for words in (["set"], ["set", "model", "large"], ["set-mode", "code"]):
        done = shared.run(*words, "-s", "nobody's")
        assert done.returncode == 4 and "there is no session" in done.stderr


def test_the_model_of_prompts_and_of_sessions(shared: Home, tmp_path: Path) -> None:
    key = f"model {tmp_path.name}"
    assert shared.run("prompt", "say hi", "-s", key, "--model", "large").returncode == 0
    assert values(shared, key)["model"] == "large"
    assert shared.run("sessions", "ensure", "-s", key, "--model", "small").returncode == 0
    assert values(shared, key)["model"] == "small"
    assert shared.run("sessions", "new", "-s", key, "--model", "large").returncode == 0
    assert values(shared, key)["model"] == "large"
    assert shared.run("exec", "say hi", "--model", "large", "--format", "quiet").stdout == "hi\n"


def test_settings_are_kept_over_a_crash(home: Home) -> None:
    command = ["--command", fake_command_line("--load")]
    home.run("prompt", "say hi", "-s", "k", "--model", "large", *command)
    home.run("prompt", "die 3", "-s", "k")
    assert values(home, "k")["model"] == "large"
