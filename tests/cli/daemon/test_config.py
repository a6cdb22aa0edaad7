"""`config show | init | reload`, and the file that `init` writes."""

from __future__ import annotations

import re
import stat
import tomllib
from pathlib import Path

import attrs
import pytest

from trio_broker.cli.daemon.config import SAMPLE
from trio_broker.config.config import (
    AgentConfig,
    BrokerConfig,
    Config,
    JournalConfig,
    ListenConfig,
    PolicyConfig,
    loads,
)
from trio_broker.testing.processes.home import CONFIG, FAKE, Home


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


def test_none_of_it_starts_a_broker(home: Home) -> None:
    for words in (["config", "show"], ["config", "check"], ["agents", "list"]):
        assert home.run(*words).returncode == 0
    assert not home.socket.exists()


def test_the_configuration_is_read_anew(home: Home, tmp_path: Path) -> None:
    home.run("up")
    assert home.run("exec", "say hi", "-a", "mine").returncode == 2
    mine = CONFIG.replace("[agents.fake]", "[agents.mine]").replace('"fake"', '"mine"')
    home.config.write_text(f"{mine}\n[journal]\nkeep_days = 3\n", encoding="utf-8")
    done = home.run("config", "reload")
    assert done.returncode == 0
    assert done.stderr == (
        "the broker has read its configuration anew; [journal] will hold from the broker's next start on\n"
    )
    assert home.run("exec", "say hi", "-a", "mine", "--format", "quiet").stdout == "hi\n"
    assert home.json("config", "reload") == {
        "action": "config_reloaded",
        "agents": ["mine"],
        "later": ["journal"],
    }
    home.config.write_text("[broker]\nqueue = 'many'\n", encoding="utf-8")
    done = home.run("config", "reload")
    assert done.returncode == 2 and re.search(r"broker\.queue: expected ", done.stderr)


SETTING = re.compile(r"^#(?=[a-z_]+ = |\[)", re.MULTILINE)


def test_as_it_is_written_it_changes_nothing() -> None:
    assert loads(SAMPLE, "sample") == Config()


def test_with_every_setting_taken_out_of_its_comment_the_defaults_are_still_in_force() -> None:
    said = loads(SETTING.sub("", SAMPLE), "sample")
    assert said.agents.keys() == {"mine"} and len(said.policy.rules) == 1
    plain = attrs.evolve(said, agents={}, policy=attrs.evolve(said.policy, rules=()))
    listen = attrs.evolve(plain.listen, websocket=None, tls_cert=None, tls_key=None)  # examples: no default
    assert attrs.evolve(plain, listen=listen, default_agent=None) == Config()  # the agent is an example, too


@pytest.mark.parametrize("table", [BrokerConfig, PolicyConfig, ListenConfig, JournalConfig, AgentConfig])
def test_every_setting_there_is_stands_in_it(table: type) -> None:
    names = [field.name for field in attrs.fields(table)]
    assert [name for name in names if f"#{name} = " not in SAMPLE and f"policy.{name}]]" not in SAMPLE] == []


def test_init_writes_a_private_file_that_check_accepts(home: Home) -> None:
    home.config.unlink()
    done = home.run("config", "init")
    assert (done.returncode, done.stdout) == (0, f"{home.config}\n")
    assert "edit it, then `trio-broker config check`" in done.stderr
    assert home.config.read_text(encoding="utf-8") == SAMPLE
    assert stat.S_IMODE(home.config.stat().st_mode) == 0o600
    assert home.json("config", "check") == {
        "path": str(home.config),
        "ok": True,
        "exists": True,
        "agents": 0,
        "warnings": [],
    }


def test_a_file_that_is_there_stays_unless_it_is_forced_and_then_it_is_kept(home: Home) -> None:
    before = home.config.read_text(encoding="utf-8")
    done = home.run("config", "init")
    assert (done.returncode, done.stdout) == (2, "")
    assert "is there already; edit it, or give --force" in done.stderr
    assert home.config.read_text(encoding="utf-8") == before
    assert home.json("config", "init", "--force") == {"action": "config_written", "path": str(home.config)}
    assert home.config.read_text(encoding="utf-8") == SAMPLE
    assert home.config.with_name("config.toml~").read_text(encoding="utf-8") == before


def test_where_it_cant_be_written_another_file_is_asked_for(home: Home) -> None:
    done = home.run("--config", "/proc/none/config.toml", "config", "init")
    assert (done.returncode, done.stdout) == (2, "")
    assert "can't be written" in done.stderr and "name another file with --config" in done.stderr
