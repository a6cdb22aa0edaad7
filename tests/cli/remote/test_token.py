"""Tokens from the command line: the text on stdout, once; prose on stderr."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trio_broker.auth.grant import Scope
from trio_broker.cli.remote.token import SCOPES
from trio_broker.testing.processes.home import Home


def test_every_scope_can_be_chosen() -> None:
    assert set(SCOPES) == {scope.value for scope in Scope}


def test_the_text_stands_alone_on_stdout_and_is_not_shown_again(shared: Home, tmp_path: Path) -> None:
    done = shared.run(
        *("token", "new", "--name", "bob", "--scope", "prompt", "--scope", "answer"),
        *("--session", "chat:*", "--root", str(tmp_path), "--expires", "30d"),
    )
    (secret,) = done.stdout.splitlines()
    assert done.returncode == 0 and secret not in done.stderr
    assert "token bob may" in done.stderr and "trio-broker token revoke bob" in done.stderr
    listed = shared.run("token", "list").stdout
    assert secret not in listed and "bob" in listed and "chat:*" in listed and str(tmp_path) in listed


def test_a_relative_root_is_that_of_the_shell(shared: Home) -> None:
    made = shared.run(
        "token", "new", "--name", "here", "--scope", "prompt", "--root", ".", "--format", "json"
    )
    found = json.loads(made.stdout)
    assert found["action"] == "token_created" and found["token"]
    assert all(Path(root).is_absolute() for root in found["roots"]) and found["expires"] is None


def test_a_token_that_is_revoked_is_gone(home: Home) -> None:
    assert home.run("token", "list").stdout == "no tokens\n"
    home.run("token", "new", "--name", "eve", "--scope", "observe")
    done = home.run("token", "revoke", "eve")
    assert (done.returncode, done.stdout) == (0, "") and "token eve is revoked" in done.stderr
    assert home.json("token", "list")["tokens"] == []
    assert home.run("token", "revoke", "eve").returncode == 2


@pytest.mark.parametrize(
    "words",
    [
        ["--scope", "admin"],
        ["--name", "x"],
        ["--name", "x", "--scope", "all"],
        ["--name", "x", "--scope", "prompt", "--expires", "soon"],
    ],
)
def test_a_wrong_command_line_makes_no_token(home: Home, words: list[str]) -> None:
    done = home.run("token", "new", *words)
    assert (done.returncode, done.stdout) == (2, "") and not home.socket.exists()
