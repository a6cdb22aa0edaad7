"""No agent was named, and none is the default: a person chooses among those that are installed, a script is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from trio_broker.testing.processes.home import FAKE, Home

COMMAND = json.dumps(list(FAKE))
CONFIG = f"[agents.first]\ncommand = {COMMAND}\n[agents.second]\ncommand = {COMMAND}\n"
REFUSAL = (
    "trio-broker: no agent was named, and there is no default: installed are first, second, opencode; "
    "name one (-a NAME), or set default_agent in the configuration file\n"
)


@pytest.fixture(scope="module")
def undecided(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home with two configured agents, and the program of a known one on PATH."""
    programs = tmp_path_factory.mktemp("programs")
    (programs / "opencode").write_text("#!/bin/sh\n")
    (programs / "opencode").chmod(0o755)
    with Home(CONFIG, PATH=str(programs)) as home:
        assert home.run("up").returncode == 0
        yield home


@pytest.mark.parametrize(
    "words",
    [
        ("prompt", "say one"),
        ("prompt", "-s", "new", "say one"),
        ("prompt", "--no-wait", "say one"),
        ("exec", "say one"),
        ("sessions", "new"),
        ("sessions", "new", "-s", "new"),
        ("sessions", "ensure"),
        ("sessions", "ensure", "-s", "new"),
    ],
)
def test_a_script_is_refused_with_those_that_are_installed(
    undecided: Home, tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = undecided.run(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", REFUSAL)
    assert undecided.json("sessions", "list", "--cwd", str(tmp_path))["sessions"] == []


def test_a_script_is_refused_where_none_is_installed(tmp_path: Path) -> None:
    with Home("", PATH=str(tmp_path)) as home:
        done = home.run("prompt", "say one", cwd=tmp_path)
    assert done.returncode == 2
    assert (
        "none is installed; name one of `trio-broker agents list` (-a NAME; -a demo needs no keys)"
        in done.stderr
    )


def test_a_terminal_offers_those_that_are_installed(undecided: Home, tmp_path: Path) -> None:
    with undecided.terminal("prompt", "say chosen", "--format", "quiet", cwd=tmp_path) as person:
        for row in ("These are installed:", "1  first", "2  second", "3  opencode", "Which one"):
            person.see(row)
        person.type("4\n")
        person.see("Which one")
        person.type("2\n")
        person.see('default_agent = "second" in')
        person.see("chosen")
        assert person.end() == 0
    [view] = undecided.json("sessions", "list", "--cwd", str(tmp_path))["sessions"]
    assert (view["key"], view["agent"]) == (f"second:{tmp_path}", "second")


def test_who_named_an_agent_or_a_session_is_not_asked(undecided: Home, tmp_path: Path) -> None:
    assert undecided.run("prompt", "-a", "first", "-s", "named", "say one", cwd=tmp_path).returncode == 0
    with undecided.terminal("prompt", "-s", "named", "say two", "--format", "quiet", cwd=tmp_path) as person:
        person.see("two")
        assert person.end() == 0 and "Which one" not in person.screen
    assert undecided.run("sessions", "ensure", "-a", "demo", cwd=tmp_path).returncode == 0


def test_a_configured_default_is_taken_without_a_question(tmp_path: Path) -> None:
    with Home(f'default_agent = "second"\n{CONFIG}') as home:
        assert home.run("prompt", "say one", cwd=tmp_path).returncode == 0
        assert [view["agent"] for view in home.status()["sessions"]] == ["second"]


def test_a_command_about_a_session_takes_the_only_one_of_the_work_tree(
    undecided: Home, tmp_path: Path
) -> None:
    missing = undecided.run("logs", cwd=tmp_path)
    assert missing.returncode == 4
    assert f"no session works in {tmp_path}; `trio-broker sessions list` shows all" in missing.stderr
    undecided.run("prompt", "-a", "second", "say one", cwd=tmp_path)
    history = undecided.run("sessions", "history", "--format", "quiet", cwd=tmp_path)
    assert (history.returncode, history.stdout) == (0, "one\n")
    assert undecided.json("sessions", "show", "--cwd", str(tmp_path))["agent"] == "second"
    undecided.run("prompt", "-a", "first", "say one", cwd=tmp_path)
    several = undecided.run("cancel", cwd=tmp_path)
    assert several.returncode == 2
    keys = f"second:{tmp_path}, first:{tmp_path}"
    assert f"2 sessions work in {tmp_path}: {keys}; choose one with -s" in several.stderr
