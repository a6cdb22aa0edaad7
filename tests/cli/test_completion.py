"""Completion in real shells: a person types half a word and Tab, and looks at what the line says then."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from trio_broker.testing.processes.home import TRIO_BROKER, Home, Terminal

KEYS = ("plain", "claude:/work/a b", "claude:/work/c")
SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
SOURCE = {
    "bash": 'PS1="ready> "; eval "$(trio-broker completion bash)"; echo so""urced\n',
    "zsh": 'autoload -U compinit; compinit -u -D; eval "$(trio-broker completion zsh)"; echo so""urced\n',
    "fish": 'trio-broker completion fish | source; echo so""urced\n',
}


@pytest.fixture(scope="module")
def busy() -> Iterator[Home]:
    """A broker with three sessions, and the command in PATH."""
    with Home() as home:
        program = home.path / "bin" / "trio-broker"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {" ".join(TRIO_BROKER)} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        home.env["PATH"] = f"{program.parent}{os.pathsep}{home.env['PATH']}"
        home.run("prompt", "ask edit it", "-s", KEYS[0], "--no-wait", "--ask")
        for key in KEYS[1:]:
            home.run("sessions", "ensure", "-s", key)
        home.until(KEYS[0], "waiting")
        yield home


def offered(home: Home, line: str, **env: str) -> list[str]:
    """What bash is given for a line."""
    asked = {"_TRIO_BROKER_COMPLETE": "bash_complete", "COMP_LINE": line, "COMP_WORDBREAKS": " :=", **env}
    done = home.run(env=asked)
    assert (done.returncode, done.stderr) == (0, "")
    return [answer.partition(",")[2] for answer in done.stdout.splitlines() if answer]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("typed", "becomes"),
    [
        ("trio-broker statu", "trio-broker status"),
        ("trio-broker cancel -s pl", "trio-broker cancel -s plain"),
        ("trio-broker cancel -s claude:/work/a", "trio-broker cancel -s claude:/work/a b"),
        ("trio-broker fake watch -s claude:/work/c", "trio-broker fake watch -s claude:/work/c"),
        ("trio-broker prompt -a fak", "trio-broker prompt -a fake"),
        ("trio-broker sessions histo", "trio-broker sessions history"),
        ("trio-broker prompt --no-wa", "trio-broker prompt --no-wait"),
    ],
)
def test_tab_completes_the_line(busy: Home, shell: str, typed: str, becomes: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell} in PATH")
    env = {**busy.env, "TERM": "xterm", "HOME": str(busy.path), "HISTFILE": ""}
    with Terminal(SHELLS[shell], env) as person:
        person.type(SOURCE[shell])
        person.see("sourced")
        person.type(f"{typed}\t\x01echo '<' \x05 '>'\r")  # before and behind what it has become
        person.see(f"< {becomes} >")
        person.type("exit\r")


def test_ids_of_questions_and_what_follows_an_agents_name(busy: Home) -> None:
    asked = busy.json("pending")["asks"][0]["askId"]
    assert offered(busy, "trio-broker allow ") == [asked]
    assert offered(busy, "trio-broker deny ") == [asked]
    assert offered(busy, "trio-broker fa") == ["fake", "fast-agent"]
    assert "--prompt-id" in offered(busy, "trio-broker fake cancel --")


def test_bash_gets_what_it_puts_in_place_of_the_last_part_of_a_word(busy: Home) -> None:
    assert offered(busy, "trio-broker watch -s claude:/") == ["/work/a\\ b", "/work/c"]
    assert offered(busy, "trio-broker watch --session=claude:") == ["/work/a\\ b", "/work/c"]
    assert offered(busy, "trio-broker watch -s claude:/work/a\\ ") == ["/work/a\\ b"]
    assert offered(busy, "trio-broker watch -s 'claude:/work/a ") == ["claude:/work/a b"]
    whole = offered(busy, "trio-broker watch -s claude:/", COMP_WORDBREAKS=" ")
    assert whole == ["claude:/work/a\\ b", "claude:/work/c"]


def test_a_key_that_no_shell_would_take_is_left_out(home: Home) -> None:
    home.run("sessions", "ensure", "-s", "evil\x1b[2J")
    home.run("sessions", "ensure", "-s", "tame")
    assert offered(home, "trio-broker watch -s ") == ["tame"]


def test_without_a_broker_there_is_silence_and_none_is_started(home: Home, tmp_path: Path) -> None:
    assert offered(home, "trio-broker watch -s ") == []
    assert offered(home, "trio-broker stat") == ["status"]
    assert offered(home, "trio-broker watch -s ", TRIO_BROKER_URL="ws://127.0.0.1:9") == []
    assert offered(home, "trio-broker watch -s ", TRIO_BROKER_HOME=f"{tmp_path}/{'long' * 40}") == []
    assert not home.socket.exists()


def test_another_shell_is_refused_with_those_there_are(home: Home) -> None:
    done = home.run("completion", "tcsh")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'bash', 'zsh', 'fish'" in done.stderr
