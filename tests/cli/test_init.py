"""`config init`: a file that says everything and changes nothing, and never takes the place of another unasked."""

from __future__ import annotations

import re
import stat

import attrs
import pytest

from trio_broker.cli.sample import SAMPLE
from trio_broker.config import (
    AgentConfig,
    BrokerConfig,
    Config,
    JournalConfig,
    ListenConfig,
    PolicyConfig,
    loads,
)
from trio_broker.testing.processes.home import Home

SETTING = re.compile(r"^#(?=[a-z_]+ = |\[)", re.MULTILINE)


def test_as_it_is_written_it_changes_nothing() -> None:
    assert loads(SAMPLE, "sample") == Config()


def test_with_every_setting_taken_out_of_its_comment_the_defaults_are_still_in_force() -> None:
    said = loads(SETTING.sub("", SAMPLE), "sample")
    assert said.agents.keys() == {"mine"} and len(said.policy.rules) == 1
    plain = attrs.evolve(said, agents={}, policy=attrs.evolve(said.policy, rules=()))
    listen = attrs.evolve(plain.listen, websocket=None, tls_cert=None, tls_key=None)  # examples: no default
    assert attrs.evolve(plain, listen=listen) == Config()


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
