from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trio_broker.agent.catalog import (
    ALIASES,
    BUILTIN,
    AgentSpec,
    from_command,
    installed_names,
    names,
    no_default_agent,
    resolve,
)
from trio_broker.config.config import AgentConfig, Config, ServedBy
from trio_broker.errors import Misuse, UnknownAgent

NOWHERE = "/nonexistent"


def configured(**agents: str) -> Config:
    return Config(agents={name: AgentConfig(command=(command,)) for name, command in agents.items()})


def test_the_demo_agent_is_this_very_package() -> None:
    spec = resolve("demo", Config(), path=NOWHERE)
    assert spec.argv == (sys.executable, "-m", "trio_broker", "demo-agent")
    assert spec.source == "built-in"


def test_an_installed_program_is_preferred_over_npx(tmp_path: Path) -> None:
    assert resolve("claude", Config(), path=NOWHERE).argv[:2] == ("npx", "-y")
    program = tmp_path / "claude-agent-acp"
    program.write_text("")
    program.chmod(0o755)
    assert resolve("claude", Config(), path=str(tmp_path)).argv == ("claude-agent-acp",)


def test_an_agent_that_is_only_a_program_is_named_though_it_is_missing() -> None:
    assert resolve("cursor", Config(), path=NOWHERE).argv == ("cursor-agent", "acp")


def test_the_configuration_comes_first_and_an_alias_last() -> None:
    config = configured(claude="mine", **{"codex-acp": "other"})
    assert resolve("claude", config).argv == ("mine",)
    assert resolve("codex-acp", config).name == "codex-acp"
    assert resolve("claude-code", config, path=NOWHERE).source == "built-in"


def test_a_configured_agent_has_all_that_was_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/h")
    agent = AgentConfig(("~/bin/a", "x"), ("y",), {"K": "v"}, ("KEY",), "~/w", 7.0)
    assert resolve("a", Config(agents={"a": agent})) == AgentSpec(
        name="a",
        argv=("/h/bin/a", "x", "y"),
        env={"K": "v"},
        inherit_env=("KEY",),
        cwd="/h/w",
        start_timeout=7.0,
        source="config",
    )


def test_case_matters_only_between_configured_agents() -> None:
    assert resolve("Cursor", Config()).name == "cursor"
    config = configured(Big="1", BIG="2")
    assert resolve("BIG", config).argv == ("2",)
    with pytest.raises(UnknownAgent, match="'big' may mean Big or BIG"):
        resolve("big", config)


def test_an_unknown_agent_is_told_with_near_names_and_the_way_to_add_it() -> None:
    with pytest.raises(UnknownAgent, match=r"did you mean claude.*\[agents\.cluade\] with command") as caught:
        resolve("cluade", Config())
    assert caught.value.data()["kind"] == "unknown_agent"
    assert "claude" in caught.value.details["near"]
    with pytest.raises(UnknownAgent, match=r'known are amp, .*\[agents\."x y z"\]'):
        resolve("x y z", Config())


def test_names_are_those_of_both_sources() -> None:
    found = names(configured(zzz="x", claude="y"))
    assert found == sorted({*BUILTIN, "zzz"})


@pytest.mark.parametrize("name", BUILTIN)
def test_every_built_in_agent_resolves(name: str) -> None:
    assert all(resolve(name, Config(), path=NOWHERE).argv)


def test_no_alias_hides_an_agent() -> None:
    assert not ALIASES.keys() & BUILTIN.keys()
    assert len(ALIASES) == sum(len(known.aliases) for known in BUILTIN.values())


def test_a_command_given_on_the_spot() -> None:
    assert from_command(["/opt/my agent", "-x"]) == AgentSpec(
        "my agent", ("/opt/my agent", "-x"), source="command"
    )
    with pytest.raises(Misuse, match="empty"):
        from_command([])


def test_those_to_offer_are_the_configured_and_those_whose_program_is_here(tmp_path: Path) -> None:
    assert installed_names(Config(), path=NOWHERE) == []
    program = tmp_path / "opencode"
    program.write_text("")
    program.chmod(0o755)
    (tmp_path / "npx").symlink_to(program)
    assert installed_names(Config(), path=str(tmp_path)) == ["opencode"]  # npx would have to fetch the others
    assert installed_names(configured(zed="mine"), path=str(tmp_path)) == ["zed", "opencode"]


def test_the_error_for_who_named_no_agent_offers_them() -> None:
    assert "installed are a, b; name one (-a NAME)" in str(no_default_agent(["a", "b"]))
    assert no_default_agent(["a", "b"]).details == {"agents": ["a", "b"]}
    assert "-a demo needs no keys" in str(no_default_agent([]))


NEEDS_TERMINAL = [
    ("fast-agent", AgentConfig(("anything",))),
    ("fast-agent-mcp", AgentConfig(("anything",))),
    ("mine", AgentConfig(("uvx", "fast-agent-mcp@1.2", "acp"))),
    ("mine", AgentConfig(("uvx", "--from", "fast-agent-mcp==0.4", "fast-agent", "acp"))),
    ("mine", AgentConfig(("/opt/bin/fast-agent-acp",), ("-x",))),
]


@pytest.mark.parametrize(("name", "agent"), NEEDS_TERMINAL)
def test_an_agent_that_asks_only_with_a_terminal_has_one_however_it_is_named_and_started(
    name: str, agent: AgentConfig
) -> None:
    assert resolve(name, Config(agents={name: agent})).terminal is ServedBy.BROKER
    assert from_command([*agent.command, *agent.args], name).terminal is ServedBy.BROKER


def test_the_configuration_has_the_last_word_on_terminals() -> None:
    for chosen in ServedBy:
        agent = AgentConfig(("fast-agent-mcp",), terminal=chosen)
        assert resolve("fast-agent", Config(agents={"fast-agent": agent})).terminal is chosen


@pytest.mark.parametrize("name", BUILTIN)
def test_no_other_agent_is_offered_terminals_or_files(name: str) -> None:
    spec = resolve(name, Config(), path=NOWHERE)
    assert spec.terminal is ServedBy(name == "fast-agent") and spec.fs is ServedBy.NOBODY
    assert from_command(spec.argv).terminal is spec.terminal
