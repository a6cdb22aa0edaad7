"""What the words of a command line mean, before a broker comes into it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from trio_broker.cli.app import COMMANDS, cli
from trio_broker.testing.processes.home import LIMIT, Home


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
        assert f"\n      trio-broker {' '.join(words)}" in f"{command.help}\n", command.help


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


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["promt"], "'promt' is neither a command nor an agent. Did you mean prompt?"),
        (["clade", "hi"], "Did you mean claude or "),
        (["status", "--nope"], "No such option"),
        (["sessions", "frobnicate"], "No such command"),
        (["prompt", "--format", "xml", "hi"], "'xml' is not one of"),
        (["prompt", "--timeout", "0", "hi"], "'--timeout': 0.0 is too little; write more than 0"),
        (
            ["prompt", "--timeout", "nan", "hi"],
            "'--timeout': 'nan' is no number; write one such as 30 or 2.5",
        ),
        (["wait", "--timeout", "0"], "'--timeout': 0.0 is too little; write more than 0"),
        (["down", "--timeout", "-1"], "'--timeout': -1.0 is too little; write 0 or more"),
        (["queue", "move", "4f1c", "0"], "'POSITION': 0 is too little; write 1 or more"),
        (["prompt", "--timeout", "1m", "hi"], "'--timeout': '1m' is no number; write one such as 30 or 2.5"),
        (["watch", "--since", "x"], "'--since': 'x' is no whole number; write one such as 3"),
        (["sessions", "close", "mine"], "unexpected extra argument (mine). A session is named with -s KEY."),
        (["agents", "list", "demo"], "argument (demo). `trio-broker agents show NAME` tells of one."),
        (["sessions", "list", "k"], "argument (k). `trio-broker sessions show -s KEY` tells of one."),
        (["status", "--url", "ws://x"], "--url stands before the command: `trio-broker --url … status`"),
        (["-a", "demo", "hi"], "No such option '-a'. Options of a command stand after it"),
        (["hi"], "neither a command nor an agent. A prompt of one word wants `trio-broker prompt WORD`"),
        (["exec", "--no-wait", "hi"], "--no-wait"),
        (["prompt", "-a", "nobody", "hi"], "there is no agent 'nobody'; known are"),
        (["prompt", "--cwd", "/no/such/place", "hi"], "--cwd: there is no directory /no/such/place"),
        (["sessions", "delete", "-s", ""], "-s is empty; leave it out for the session of this work tree"),
        (["prompt", "-a", " ", "hi"], "-a is empty; leave it out for the default one"),
        (["prompt", "--cwd", "", "hi"], "--cwd is empty; leave it out to work here"),
        (["prompt", "--command", "it's", "hi"], '--command: "it\'s" has no closing quotation'),
        (["prompt", "--command", " ", "hi"], "--command is empty"),
        (["--config", "/no/such/file", "fake", "hi"], "/no/such/file: there is no such file"),
    ],
)
def test_a_mistake_is_exit_2_and_told_without_starting_anything(
    home: Home, words: list[str], says: str
) -> None:
    done = home.run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not home.socket.exists()


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


@pytest.mark.parametrize(
    "command", [("prompt", "hi"), ("exec", "hi"), ("sessions", "new"), ("acp",)], ids=" ".join
)
def test_policies_that_contradict_each_other_are_refused(home: Home, command: tuple[str, ...]) -> None:
    """The last one won, and nobody was told."""
    done = home.run(*command, "--approve-all", "--deny-all")
    assert done.returncode == 2
    assert "--approve-all and --deny-all contradict each other; give one of them" in done.stderr
    assert not home.socket.exists()


def test_the_same_policy_twice_is_one(home: Home) -> None:
    done = home.run("exec", "ask edit it", "--deny-all", "--format", "quiet", "--deny-all")
    assert (done.returncode, done.stdout) == (5, "reject\n"), done.stderr


def shell(home: Home, line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The line in a shell, where `$T` is the command."""
    env = {**home.env, "T": f"{sys.executable} -m trio_broker"}
    argv = ["sh", "-c", line]
    return subprocess.run(
        argv, capture_output=True, encoding="utf-8", timeout=LIMIT, check=False, env=env, cwd=cwd
    )


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("$T prompt hello <&-", 0, ""),
        ("$T prompt <&-", 2, "the prompt is empty"),
        ("$T sessions import - <&-", 1, "there is nothing to import"),
        ("$T prompt 'say hi' >&-", 0, ""),
        ("$T prompt 'say hi' 2>&-", 0, ""),
        ("$T status > /dev/full", 1, "No space left on device"),
        ("$T prompt 'say hi' > /dev/full", 1, "No space left on device"),
        (
            "mkdir gone; cd gone; rmdir ../gone; $T prompt 'say hi'",
            2,
            "the directory you are in is there no more",
        ),
        ("$T prompt --no-wait --timeout 5 'say hi'", 2, "--timeout is for a prompt that is waited for"),
    ],
)
def test_odd_places_to_be_called_from_end_in_a_sentence(
    shared: Home, tmp_path: Path, line: str, code: int, says: str
) -> None:
    """They ended in tracebacks; --timeout beside --no-wait was ignored."""
    done = shell(shared, line, tmp_path)
    assert (done.returncode, says in done.stderr, "Traceback" in done.stderr) == (code, True, False), (
        done.stderr
    )
