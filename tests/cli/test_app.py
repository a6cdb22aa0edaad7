"""The root group: its commands and their help, and an agent's name or a prompt as the first word."""

from __future__ import annotations

import inspect
from pathlib import Path

import click
import pytest

from trio_broker.cli.app import COMMANDS, cli
from trio_broker.testing.processes.home import Home


def commands() -> list[tuple[str, ...]]:
    """Every command and subcommand there is."""
    found: list[tuple[str, ...]] = []
    for name in COMMANDS:
        found.append((name,))
        command = cli.get_command(click.Context(cli), name)
        if isinstance(command, click.Group):
            found += [(name, inner) for inner in command.commands]
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_tells_what_it_does(home: Home, words: tuple[str, ...]) -> None:
    done = home.run(*words, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: trio-broker {' '.join(words)} ")
    assert len(done.stdout.split("\n\n")[1].split()) >= 3, "a sentence about it"
    assert not home.socket.exists()


OTHERS = ("serve", "up", "agents", "orphans", "config", "acp", "demo", "chaos", "demo-agent", "token")


@pytest.mark.parametrize("words", [words for words in commands() if words[0] not in OTHERS], ids=" ".join)
def test_help_of_what_acts_on_sessions_has_an_example(words: tuple[str, ...]) -> None:
    command: click.Command = cli
    for word in words:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None
        command = found
    if not isinstance(command, click.Group):
        text = inspect.cleandoc(command.help or "")  # from Python 3.13 on, the compiler does that
        assert f"\n  trio-broker {' '.join(words)}" in f"{text}\n", text


@pytest.mark.parametrize("group", sorted({words[0] for words in commands() if len(words) > 1}))
def test_help_of_a_group_cuts_nothing_off(home: Home, group: str) -> None:
    told = home.run(group, "--help").stdout.partition("\nCommands:\n")[2]
    assert told and "..." not in told


def test_help_names_every_command(home: Home) -> None:
    done = home.run("--help")
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)
    assert home.run("-h").stdout == done.stdout


def test_readme_and_help_have_the_same_commands(home: Home) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    table = readme.partition("## Commands")[2].partition("## Settings")[0]
    missing = [words for words in commands() if not all(word in table for word in words)]
    assert missing == []


def test_a_group_alone_shows_its_help(home: Home) -> None:
    done = home.run("sessions")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: trio-broker sessions ") and "Error" not in done.stderr


def test_an_agents_name_may_stand_first(shared: Home, tmp_path: Path) -> None:
    shared.run("fake", "say hello", cwd=tmp_path)
    shared.run("fake", "sessions", "ensure", "-s", f"by name in {tmp_path}")
    assert shared.run("fake", "cancel", cwd=tmp_path).returncode == 0
    assert shared.run("fake", "exec", "say hello", cwd=tmp_path).stdout.startswith("hello\n")
    views = shared.json("sessions", "list")["sessions"]
    keys = {view["key"]: view["agent"] for view in views if str(tmp_path) in view["key"]}
    assert keys == {f"fake:{tmp_path}": "fake", f"by name in {tmp_path}": "fake"}


def test_words_with_a_space_are_a_prompt(shared: Home, tmp_path: Path) -> None:
    assert shared.run("say one", "and two", cwd=tmp_path).stdout.startswith("one and two\n")
