"""`agents login`: an agent's own login in the caller's terminal, with the environment of the broker."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from trio_broker.testing.processes.home import Home

AGENT = Path(__file__).with_name("login_agent.py")


def configure(home: Home, *flags: str, more: str = "") -> None:
    """The agent `mine` with these flags, which inherits ACCOUNTS."""
    command = json.dumps([sys.executable, "-S", "-E", str(AGENT), *flags])
    home.config.write_text(
        f'default_agent = "mine"\n[agents.mine]\ncommand = {command}\ninherit_env = ["ACCOUNTS"]\n{more}',
        encoding="utf-8",
    )


@pytest.fixture
def accounts(home: Home, tmp_path: Path) -> Path:
    """The file with the account, in the directory that this shell and the broker have in ACCOUNTS."""
    home.env["ACCOUNTS"] = str(tmp_path)
    return tmp_path / "account"


@pytest.mark.parametrize("says", ["auth/status", "update"])
def test_a_person_chooses_a_login_and_sees_which_account_results(
    home: Home, accounts: Path, says: str
) -> None:
    configure(home, "--says", says)
    with home.terminal("agents", "login", "mine") as person:
        person.see("no broker runs: the login uses the environment of this shell")
        person.see("1  Browser (browser)")
        person.see("2  Console (console)")
        person.see("Which one")
        person.type("1\n")
        person.see("--login BY=browser TERM=xterm")
        person.see("name: ")
        person.type("me@example.org\n")
        person.see("agent mine is logged in: Max, me@example.org")
        assert person.end() == 0
        assert "Old" not in person.screen
    assert accounts.read_text(encoding="utf-8") == "me@example.org"
    assert not home.socket.exists(), "no broker was needed"


def test_an_account_that_the_agent_does_not_name_is_not_invented(home: Home, accounts: Path) -> None:
    configure(home)
    done = home.run("agents", "login", "mine", "--method", "console", input="me\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("agent mine accepts sessions now; it does not say which account it uses\n")
    assert "--login --quick BY=None" in done.stdout


def test_the_login_has_the_environment_of_the_broker_and_the_terminal_of_the_caller(
    home: Home, accounts: Path, tmp_path: Path
) -> None:
    configure(home, "--says", "update", more='env = { BROWSER = "configured" }\n')
    assert home.run("up", env={"TERM": "dumb", "KEY_OF_CALLER": "theirs"}).returncode == 0
    other = tmp_path / "other"
    other.mkdir()
    home.env |= {"ACCOUNTS": str(other), "KEY_OF_CALLER": "mine", "BROWSER": "of the shell"}
    with home.terminal("agents", "login", "mine", "--method", "browser") as person:
        person.see("which differs from this shell's: ACCOUNTS")
        person.see("TERM=xterm BROWSER=configured KEY_OF_CALLER=None")
        person.see("name: ")
        person.type("me\n")
        person.see("logged in: Max, me")
        assert person.end() == 0
    assert accounts.read_text(encoding="utf-8") == "me" and not list(other.iterdir())
    assert home.run("prompt", "hello", "-s", "k").returncode == 0, "the broker's sessions have the login"
    assert str(accounts.parent) not in home.log, "what the broker gave out is not logged"


def test_sessions_from_before_the_login_are_named(home: Home, accounts: Path) -> None:
    configure(home, "--late")
    assert home.run("sessions", "ensure", "-s", "one").returncode == 0
    done = home.run("agents", "login", "mine", "--method", "browser", input="me\n")
    assert done.returncode == 0
    assert (
        "1 session of it started before the login and can use the earlier one: one; "
        "`trio-broker sessions restart -s KEY` restarts one"
    ) in done.stderr


@pytest.mark.parametrize(("name", "code"), [("exit 3", 3), ("", 1)])
def test_a_login_that_came_to_nothing_is_not_a_success(
    home: Home, accounts: Path, name: str, code: int
) -> None:
    configure(home)
    done = home.run("agents", "login", "mine", "--method", "browser", input=f"{name}\n")
    assert done.returncode == code
    assert "run `trio-broker agents login mine` again" in done.stderr
    says = "ended with exit code 3" if code == 3 else "still demands a login"
    assert says in done.stderr and "accepts sessions" not in done.stdout


def test_ctrl_c_is_the_logins_own(home: Home, accounts: Path) -> None:
    configure(home)
    with home.terminal("agents", "login", "mine", "--method", "browser") as person:
        person.see("name: ")
        person.ctrl_c()
        person.see("interrupted")
        person.see("ended with exit code 7")
        assert person.end() == 7


def test_an_end_of_the_command_ends_the_login(home: Home, accounts: Path) -> None:
    configure(home)
    with home.terminal("agents", "login", "mine", "--method", "browser") as person:
        person.see("name: ")
        os.kill(person.process.pid, signal.SIGTERM)
        person.see("ended with exit code 143")
        assert person.end() == 143


def test_a_login_that_dies_leaves_the_terminal_as_it_was(home: Home, tmp_path: Path) -> None:
    raw = [{"id": "raw", "name": "Raw", "type": "terminal", "args": ["--login"]}]
    script = tmp_path / "raw_agent.sh"
    script.write_text(
        "#!/bin/sh\n"
        f'for word in "$@"; do [ "$word" = --login ] && {{ stty raw -echo; echo broken; kill -9 $$; }}; done\n'
        f"exec {sys.executable} -S -E {AGENT} --methods '{json.dumps(raw)}'\n",
        encoding="utf-8",
    )
    script.chmod(0o755)
    home.config.write_text(f'[agents.mine]\ncommand = "{script}"\n', encoding="utf-8")
    with home.terminal("agents", "login", "mine") as person:
        person.see("broken")
        person.see("ended with exit code 137")
        assert person.end() == 137
        assert "again\r\n" in person.screen, "newlines are translated as before"


ENV_VAR = [{"id": "key", "name": "Key", "type": "env_var", "vars": [{"name": "MINE_KEY"}, 5]}]


@pytest.mark.parametrize(
    ("flags", "words", "says"),
    [
        ([], ["--method", "none"], "no login 'none' in a terminal; it has: browser, console"),
        ([], ["--method", "odd"], "no login 'odd' in a terminal"),
        ([], [], "has several logins; choose one with --method: browser, console"),
        (["--methods", "[]"], [], "agent 'mine' offers no login; use its own program, or a key"),
        (["--methods", '[{"id":"o","name":"O"}]'], [], "no login in a terminal, but o (type agent)"),
        (["--methods", json.dumps(ENV_VAR)], [], "key (type env_var, by the variable MINE_KEY)"),
        (["--methods", json.dumps(ENV_VAR)], [], "`inherit_env` of [agents.mine]"),
    ],
)
def test_where_there_is_no_such_login_the_error_says_what_there_is(
    home: Home, accounts: Path, flags: list[str], words: list[str], says: str
) -> None:
    configure(home, *flags)
    done = home.run("agents", "login", "mine", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr and "Traceback" not in done.stderr


def test_a_login_for_a_broker_elsewhere_is_refused(home: Home) -> None:
    done = home.run("--url", "ws://127.0.0.1:1", "agents", "login", "known-there")
    assert done.returncode == 2
    assert "connect to that machine (ssh), and run `trio-broker agents login NAME` there" in done.stderr


def test_an_agent_that_does_not_start_is_an_error_of_the_start(home: Home) -> None:
    done = home.run("agents", "login", "--", sys.executable, "-c", "raise SystemExit(9)")
    assert done.returncode == 1 and "exit code 9 before it had a session" in done.stderr


def test_a_failed_prompt_names_the_command(home: Home, accounts: Path) -> None:
    """Whether the agent demands the login for the session or for the first prompt."""
    for flags in ([], ["--late"]):
        configure(home, *flags)
        done = home.run("exec", "hello")
        assert done.returncode == 1
        assert done.stderr.count("Authentication required (to log in: `trio-broker agents login mine`)") == 1
        assert "authMethods" not in done.stderr and "own program" not in done.stderr
        home.run("down")


def test_test_and_doctor_name_the_command(home: Home, accounts: Path) -> None:
    configure(home, "--says", "auth/status")
    shown = home.run("agents", "test", "mine").stdout
    assert re.search(r"login browser: BY=browser .* --login, by `trio-broker agents login mine`", shown)
    found = json.loads(home.run("doctor", "--format", "json").stdout)["findings"]
    (mine,) = [one for one in found if one["what"] == "agent mine"]
    assert "demands a login" in mine["text"] and mine["mend"] == "`trio-broker agents login mine`"
    accounts.write_text("me", encoding="utf-8")
    found = json.loads(home.run("doctor", "--format", "json").stdout)["findings"]
    (mine,) = [one for one in found if one["what"] == "agent mine"]
    assert (mine["state"], mine["mend"]) == ("ok", "")


def test_an_editor_with_a_terminal_gets_a_login_that_it_can_run(home: Home, accounts: Path) -> None:
    """By the rule of ACP: its own command for the agent, with the method's arguments and variables."""
    configure(home, "--says", "update")
    command = ["acp", "-a", "mine"]

    def methods(capabilities: dict[str, Any]) -> list[Any]:
        params = {"protocolVersion": 1, "clientCapabilities": capabilities}
        asked = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
        lines = home.run(*command, input=json.dumps(asked) + "\n").stdout.splitlines()
        found: list[Any] = json.loads(lines[0])["result"]["authMethods"]
        return found

    assert [method["id"] for method in methods({})] == ["other"]
    browser, *_ = methods({"auth": {"terminal": True}})
    assert (browser["id"], browser["type"], browser["args"]) == ("browser", "terminal", [])
    home.env |= browser["env"]
    with home.terminal(*command, *browser["args"]) as person:
        person.see("name: ")
        person.type("me\n")
        person.see("logged in: Max, me")
        assert person.end() == 0
