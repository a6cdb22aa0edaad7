"""`config show`, `config check` and `agents list`: none of them needs a broker."""

from __future__ import annotations

import sys
import tomllib

from trio_broker import catalog
from trio_broker.testing.home import FAKE, Home

WRONG = """
default_agnet = "x"

[broker]
queue = "many"
term_grace = -1

[policy]
default = "perhaps"

[agents.a]
args = "--acp"

[agents.b]
command = ""
colour = "red"
"""


def test_check_tells_every_mistake_with_file_key_and_what_was_expected(home: Home) -> None:
    home.config.write_text(WRONG, encoding="utf-8")
    done = home.run("config", "check")
    assert (done.returncode, done.stdout) == (2, "")
    told = [line.removeprefix("trio-broker: ") for line in done.stderr.splitlines()]
    assert all(line.startswith(f"{home.config}: ") for line in told)
    words = [line.removeprefix(f"{home.config}: ") for line in told]
    assert "default_agnet: unknown key; did you mean default_agent?" in words
    assert "broker.queue: expected a whole number, not a string 'many'" in words
    assert any(word.startswith("policy.default: expected one of ask, approve-all") for word in words)
    assert "agents.a.args: expected an array of strings, not a string '--acp'" in words
    assert any(word.startswith("agents.a.command: is missing; expected a command") for word in words)
    assert any(word.startswith("agents.b.command: expected a command") for word in words)
    assert any(word.startswith("agents.b.colour: unknown key; expected one of command") for word in words)


def test_check_of_a_good_file_and_of_none(home: Home) -> None:
    assert home.run("config", "check").stdout == f"{home.config}: ok, 1 agent configured\n"
    home.config.unlink()
    assert "there is none, so the defaults are in force" in home.run("config", "check").stdout


def test_show_is_toml_that_says_where_everything_is(home: Home) -> None:
    with home.config.open("a", encoding="utf-8") as file:
        file.write('[[policy.rules]]\nkind = ["read", "search"]\naction = "allow"\n')
    done = home.run("config", "show")
    found = tomllib.loads(done.stdout)
    assert found["policy"]["rules"] == [{"action": "allow", "kind": ["read", "search"]}]
    assert found["broker"]["queue"] == 16 and found["policy"]["default"] == "ask"
    assert found["agents"]["fake"]["command"] == list(FAKE)
    assert f"# socket: {home.socket}" in done.stdout and f"# config: {home.config}" in done.stdout
    home.config.write_text(done.stdout, encoding="utf-8")
    assert home.run("config", "show").stdout == done.stdout


def test_show_as_json_has_the_same(home: Home) -> None:
    found = home.json("config", "show")
    assert found["paths"]["socket"] == str(home.socket)
    assert found["default_agent"] == "fake" and found["broker"]["max_clients"] == 256


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


def test_none_of_it_starts_a_broker(home: Home) -> None:
    for words in (["config", "show"], ["config", "check"], ["agents", "list"]):
        assert home.run(*words).returncode == 0
    assert not home.socket.exists()
