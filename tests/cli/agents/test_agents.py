"""`agents list | show`, and wrong command lines of the group."""

from __future__ import annotations

import json
import os
import sys

import pytest

from trio_broker.agent import catalog
from trio_broker.testing.processes.home import Home


def test_show_tells_how_an_agent_is_started_and_hides_its_keys(home: Home) -> None:
    home.config.write_text(
        '[agents.mine]\ncommand = "/nowhere/mine --acp"\nenv = { KEY = "hidden" }\n'
        'inherit_env = ["PATH", "NO_SUCH_KEY"]\ncwd = "/w"\nstart_timeout = 7\n',
        encoding="utf-8",
    )
    done = home.run("agents", "show", "mine")
    assert done.stdout == (
        "agent:       mine\n"
        "command:     /nowhere/mine --acp\n"
        f"from:        config ({home.config})\n"
        "program:     /nowhere/mine is not in PATH\n"
        "also called: -\n"
        "env:         KEY, PATH, NO_SUCH_KEY (not set here)\n"
        "cwd:         /w\n"
        "timeout:     7 s to start\n"
        "commands:    run by the agent itself\n"
        "files:       read and written by the agent itself\n"
    )
    with home.config.open("a", encoding="utf-8") as file:
        file.write("may_answer = true\n")
    assert home.run("agents", "show", "mine").stdout == (
        f"{done.stdout}may answer:  what it runs has your rights: it can answer its own questions\n"
    )
    found = home.json("agents", "show", "mine")
    assert found["mayAnswer"] is True
    assert (found["env"], found["inheritEnv"]) == (["KEY"], {"PATH": True, "NO_SUCH_KEY": False})
    assert "hidden" not in json.dumps(found)


def test_show_by_nickname_tells_what_can_be_installed(home: Home) -> None:
    done = home.run("agents", "show", "claude-code", env={"PATH": os.path.dirname(sys.executable)})
    lines = done.stdout.splitlines()
    assert lines[0] == "agent:       claude"
    assert lines[2] == "from:        built-in"
    assert lines[-1].startswith("installable: npm @agentclientprotocol/claude-agent-acp@")
    assert lines[-1].endswith("`trio-broker agents install claude`")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["test"], "say which: `trio-broker agents test NAME`"),
        (["test", "nobody"], "there is no agent 'nobody'"),
        (["test", "demo", "--cwd", "/no/such"], "there is no directory /no/such"),
        (["show", "nobody"], "there is no agent 'nobody'"),
        (["install", "nobody"], "no package is known for 'nobody', only for auggie, claude"),
        (["install", "x", "--package", "npm:tiny"], "names no package of one version; write npm:@scope"),
        (["install", "x", "--package", "npm:tiny@latest"], "names no package of one version"),
        (["install", "x", "--package", "gem:tiny@1"], "names no package of one version"),
        (["install", "../x", "--package", "npm:tiny@1.0.0"], "is no name to install under"),
        (["install", "x", "--package", "npm:tiny@1.0.0", "--args", "it's"], "has no closing quotation"),
        (["remove", "claude"], "'claude' is not installed; installed: nothing"),
    ],
)
def test_a_mistake_is_exit_2_and_says_what_to_write(home: Home, words: list[str], says: str) -> None:
    done = home.run("agents", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr and "Traceback" not in done.stderr


def test_agents_marks_the_default_and_what_is_missing(home: Home) -> None:
    home.config.write_text(
        f'default_agent = "here"\n[agents.here]\ncommand = "{sys.executable} -V"\n'
        '[agents.missing]\ncommand = "no-such-program --acp"\n',
        encoding="utf-8",
    )
    rows = [row.split() for row in home.run("agents", "list").stdout.splitlines()]
    assert ["*", "here", "config", sys.executable, "-V"] in rows
    assert ["?", "missing", "config", "no-such-program", "--acp"] in rows
    assert any(row[:2] == ["demo", "built-in"] for row in rows)
    agents = {one["name"]: one for one in home.json("agents", "list")["agents"]}
    assert agents.keys() == {"here", "missing", *catalog.BUILTIN}
    assert (agents["here"]["default"], agents["here"]["found"]) == (True, True)
    assert (agents["missing"]["default"], agents["missing"]["found"]) == (False, False)


def test_show_tells_who_runs_the_commands_of_an_agent_and_serves_its_files(home: Home) -> None:
    home.config.write_text(
        "[agents.mine]\ncommand = 'x'\nterminal = 'client'\nfs = 'client'\n", encoding="utf-8"
    )
    shown = home.run("agents", "show", "mine").stdout
    assert "commands:    run by the client that opened the session" in shown
    assert "files:       read and written by the client that opened the session" in shown
    found = home.json("agents", "show", "fast-agent")
    assert (found["terminal"], found["fs"]) == (True, False)
    assert "run by the agent itself" in home.run("agents", "show", "claude").stdout
    assert 'terminal = "client"' in home.run("config", "show").stdout
