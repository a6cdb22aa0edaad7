from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.auth.policy import Action, Policy, Rule, Unattended
from trio_broker.config.config import (
    AgentConfig,
    BrokerConfig,
    Config,
    PolicyConfig,
    ServedBy,
    load,
    loads,
    parse_leniently,
)
from trio_broker.config.validation import dotted
from trio_broker.errors import ConfigError

FULL = """
default_agent = "mine"
[broker]
max_sessions = 3
liveness = 1
[policy]
default = "approve-reads"
[agents.mine]
command = "my-agent 'two words' --acp"
args = ["-v"]
env = {KEY = "value"}
inherit_env = ["ANTHROPIC_API_KEY"]
cwd = "~/work"
start_timeout = 30
may_answer = true
[agents.list]
command = ["/opt/my agent", "--acp"]
"""


DEFAULT = "default_agent = 'mine'\n"
MINE = f"{DEFAULT}[agents.mine]\ncommand = 'x'\n"


def problem(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loads(text, "file.toml")
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (f"{MINE}[broker]\nqueue = 'x'\nliveness = -1", ["broker.queue", "broker.liveness"]),
        (f"{DEFAULT}agents = 3", ["agents"]),
        (
            f"{DEFAULT}[agents]\na = 1\n[agents.b]\ncolour = 1",
            ["agents.a", "agents.b.command", "agents.b.colour"],
        ),
        (f"{MINE}[[policy.rules]]\nkind = 'x'", ["policy.rules.1.action", "policy.rules.1.kind"]),
        (f"{MINE}[agents.a]\ncommand = ''\ncolour = 1", ["agents.a.command", "agents.a.colour"]),
        (f"{DEFAULT}broker = 1\n[listen]\nnope = 1", ["broker", "listen.nope"]),
    ],
)
def test_what_fits_is_kept_beside_all_that_does_not(text: str, keys: list[str]) -> None:
    config, found = parse_leniently(text, "file.toml")
    assert sorted(dotted(*where) for where, _ in found) == sorted(keys)
    assert config.default_agent == "mine" and [*config.agents] in (["mine"], [])


def test_a_missing_file_means_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path / "none.toml") == Config()


def test_the_defaults() -> None:
    broker = Config().broker
    assert (broker.max_sessions, broker.max_starting, broker.queue, broker.max_clients) == (1000, 8, 16, 256)
    assert (broker.idle_ttl, broker.liveness, broker.start_timeout) == (0.0, 5.0, 120.0)
    assert (broker.cancel_grace, broker.close_grace, broker.term_grace) == (30.0, 5.0, 5.0)
    assert (broker.max_line, broker.stderr_ring) == (64 << 20, 64 << 10)


def test_a_missing_file_that_was_named_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: there is no such file"):
        load(tmp_path / "none.toml", must_exist=True)


def test_a_full_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(FULL)
    assert load(path) == Config(
        default_agent="mine",
        broker=BrokerConfig(max_sessions=3, liveness=1.0),
        policy=PolicyConfig(default=Policy.APPROVE_READS),
        agents={
            "mine": AgentConfig(
                command=("my-agent", "two words", "--acp"),
                args=("-v",),
                env={"KEY": "value"},
                inherit_env=("ANTHROPIC_API_KEY",),
                cwd="~/work",
                start_timeout=30.0,
                may_answer=True,
            ),
            "list": AgentConfig(command=("/opt/my agent", "--acp")),
        },
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[broker]\nmax_sesions = 1", "broker.max_sesions: unknown key; did you mean max_sessions?"),
        ("[broker]\nxyzzy = 1", "broker.xyzzy: unknown key; expected one of max_sessions, max_starting"),
        ("brokers = 1", "brokers: unknown key; did you mean broker?"),
        ("broker = 1", "broker: expected a table, not a whole number 1"),
        ("agents = []", "agents: expected a table, not an array"),
        ("agents.a = 'x'", "agents.a: expected a table, not a string 'x'"),
        ("default_agent = 3", "default_agent: expected a string, not a whole number 3"),
        ("[broker]\nqueue = '3'", "broker.queue: expected a whole number, not a string '3'"),
        ("[broker]\nqueue = 3.0", "broker.queue: expected a whole number, not a number 3.0"),
        ("[broker]\nqueue = true", "broker.queue: expected a whole number, not a boolean True"),
        ("[broker]\nqueue = 2026-11-23", "broker.queue: expected a whole number, not a date or time"),
        ("[broker]\nliveness = false", "broker.liveness: expected a number, not a boolean False"),
        ("[broker]\nliveness = 0", "broker.liveness: expected a finite number above 0, not 0"),
        ("[broker]\nidle_ttl = nan", "broker.idle_ttl: expected a finite number of at least 0, not nan"),
        ("[broker]\nidle_ttl = inf", "broker.idle_ttl: expected a finite number of at least 0, not inf"),
        ("[broker]\nmax_sessions = 0", "broker.max_sessions: expected a finite number of at least 1, not 0"),
        (
            "[policy]\ndefault = 'yes'",
            "policy.default: expected one of ask, approve-all, approve-reads, deny-all",
        ),
        ("[broker]\npolicy = 'ask'", 'broker.policy: has moved: write default = "…" in [policy]'),
        ("[policy]\nexpire = -1", "policy.expire: expected a finite number of at least 0, not -1"),
        (
            "[policy]\nunattended = 'wait'",
            "policy.unattended: expected one of hold, deny, not a string 'wait'",
        ),
        ("[policy]\nnotify = ['a', 1]", "policy.notify: expected a string, not a whole number 1"),
        ("[policy]\nrules = 1", "policy.rules: expected an array of tables: [[policy.rules]], not a whole"),
        ("[policy]\nrules = [1]", "policy.rules.1: expected a table, not a whole number 1"),
        (
            f"{MINE}[[policy.rules]]",
            'policy.rules.1.action: is missing; expected what to do, as in action = "ask"',
        ),
        (
            "[[policy.rules]]\naction = 'ask'\n[[policy.rules]]\naction = 'yes'",
            "policy.rules.2.action: expected one of allow, deny, ask, not a string 'yes'",
        ),
        (
            "[[policy.rules]]\naction = 'ask'\nkinds = 'read'",
            "policy.rules.1.kinds: unknown key; did you mean kind?",
        ),
        (
            "[[policy.rules]]\naction = 'ask'\nkind = ['read', 'edits']",
            "policy.rules.1.kind: expected a kind of tool (read, search, think, edit, delete, move, execute",
        ),
        (
            "[[policy.rules]]\naction = 'ask'\ntitle = '('",
            "policy.rules.1.title: expected a regular expression of RE2, which searches in linear time",
        ),
        (
            f"{MINE}[[policy.rules]]\naction = 'ask'\npath = ''",
            "policy.rules.1.path: expected a path: absolute",
        ),
        (
            f"{MINE}[[policy.rules]]\naction = 'ask'\npath = '~x'",
            "policy.rules.1.path: expected a path: absolute",
        ),
        ("[agents.a]", "agents.a.command: is missing; expected a command"),
        ('[agents."a b"]', 'agents."a b".command: is missing'),
        (f"{MINE}[agents.a]\ncommand = ''", "agents.a.command: expected a command, not the empty ''"),
        ("[agents.a]\ncommand = []", "agents.a.command: expected a command, not the empty []"),
        (
            "[agents.a]\ncommand = 1",
            "agents.a.command: expected a command: a string, or an array of strings, not",
        ),
        ("[agents.a]\ncommand = ['a', 1]", "agents.a.command: expected a string, not a whole number 1"),
        ('[agents.a]\ncommand = "a \'b"', 'agents.a.command: expected a command, but "a \'b" has no closing'),
        (
            "[agents.a]\ncommand = 'a'\nargs = 'b'",
            "agents.a.args: expected an array of strings, not a string 'b'",
        ),
        ("[agents.a]\ncommand = 'a'\nenv = 'b'", "agents.a.env: expected a table, not a string 'b'"),
        (
            "[agents.a]\ncommand = 'a'\nenv = {A = 1}",
            "agents.a.env: 'A': expected a string, not a whole number 1",
        ),
        ("[agents.a]\ncommand = 'a'\nenvs = {}", "agents.a.envs: unknown key; did you mean env?"),
        (
            "[agents.a]\ncommand = 'a'\nstart_timeout = 0",
            "agents.a.start_timeout: expected a finite number above 0",
        ),
        (
            "[agents.a]\ncommand = 'a'\nmay_answer = 'yes'",
            "agents.a.may_answer: expected true or false, not a string 'yes'",
        ),
        ("[agents.a]\ncommand = 'a'\ncwd = 1", "agents.a.cwd: expected a string, not a whole number 1"),
    ],
)
def test_each_mistake_is_told_with_file_and_key(text: str, told: str) -> None:
    assert problem(text).startswith(f"file.toml: {told}")


def test_policy_rules_keep_their_order() -> None:
    config = loads(
        """
        [policy]
        notify = "notify-me --now"
        expire = 60
        unattended = "deny"
        [[policy.rules]]
        kind = "read"
        action = "allow"
        [[policy.rules]]
        kind = ["edit", "_mine"]
        agent = "claude"
        session = "repo/*"
        title = "^Edit"
        path = "~/work"
        action = "deny"
        """,
        "f",
    )
    assert config.policy == PolicyConfig(
        notify=("notify-me", "--now"),
        expire=60.0,
        unattended=Unattended.DENY,
        rules=(
            Rule(Action.ALLOW, kind=("read",)),
            Rule(Action.DENY, "claude", "repo/*", ("edit", "_mine"), "^Edit", "~/work"),
        ),
    )


def test_all_mistakes_are_told_at_once() -> None:
    lines = problem("x = 1\n[broker]\nqueue = ''\n[agents.a]\n[agents.b]\ncommand = 2").splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        "broker.queue",
        "agents.a.command",
        "agents.b.command",
        "x",
    ]


def test_details_help_a_program() -> None:
    with pytest.raises(ConfigError) as caught:
        loads("x = 1", "file.toml")
    assert caught.value.data() == {"kind": "config", "file": "file.toml", "keys": ["x"]}


def test_no_toml_is_told_with_its_line() -> None:
    assert problem("a = ").startswith("file.toml: is no TOML: Invalid value (at")


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"\xe4 = 1")
    for path in (tmp_path, tmp_path / "latin"):
        with pytest.raises(ConfigError, match="can't be read"):
            load(path)


toml_values = st.sampled_from(
    ["1", "-1", "0.5", "nan", "true", "'x'", "''", "[]", "['a']", "{}", "{a = 'b'}", "{a = 1}"]
)


@given(
    st.dictionaries(st.sampled_from(["default_agent", "broker", "agents", "agents_"]), toml_values),
    st.dictionaries(st.sampled_from(["command", "args", "env", "cwd", "start_timeout", "x"]), toml_values),
)
def test_whatever_fits_not_is_a_config_error(top: dict[str, str], agent: dict[str, str]) -> None:
    lines = [f"{key} = {value}" for key, value in top.items()]
    lines += [] if "agents" in top else ["[agents.a]", *(f"{key} = {value}" for key, value in agent.items())]
    try:
        loads("\n".join(lines), "f")
    except ConfigError as error:
        assert all(line.startswith("f: ") for line in error.message.splitlines())


@pytest.mark.parametrize(
    ("line", "terminal", "fs"),
    [
        ("", None, ServedBy.NOBODY),
        ("terminal = true", ServedBy.BROKER, ServedBy.NOBODY),
        ("terminal = false\nfs = false", ServedBy.NOBODY, ServedBy.NOBODY),
        ("terminal = 'client'\nfs = 'client'", ServedBy.CLIENT, ServedBy.CLIENT),
    ],
)
def test_who_serves_terminals_and_files(line: str, terminal: ServedBy | None, fs: ServedBy) -> None:
    agent = loads(MINE + line, "file.toml").agents["mine"]
    assert (agent.terminal, agent.fs) == (terminal, fs)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "terminal = 'broker'",
            'agents.mine.terminal: expected true (the broker runs commands), false or "client"',
        ),
        ("terminal = 1", "agents.mine.terminal: expected true"),
        ("terminal = 0", "agents.mine.terminal: expected true"),
        ("terminal = ['client']", "agents.mine.terminal: expected true"),
        ("fs = true", 'agents.mine.fs: expected "client" or false: the broker serves no files itself'),
        ("fs = 0", 'agents.mine.fs: expected "client"'),
        ("fs = {}", 'agents.mine.fs: expected "client"'),
        ("fs = 'Client'", 'agents.mine.fs: expected "client"'),
    ],
)
def test_what_else_is_said_of_them_is_a_mistake(line: str, says: str) -> None:
    assert says in problem(MINE + line)


@pytest.mark.parametrize("line", ["max_terminals = 0", "terminal_output = 10", "terminal_output = 'x'"])
def test_limits_of_terminals_have_a_least_value(line: str) -> None:
    assert f"broker.{line.split()[0]}: expected" in problem(f"[broker]\n{line}")


@pytest.mark.parametrize("path", ["*.secret", "src/?", "$HOME/x"])
def test_a_path_of_a_rule_is_not_a_pattern(path: str) -> None:
    """Such a rule would match nothing, and nobody would notice."""
    text = f"[[policy.rules]]\naction = 'deny'\npath = '{path}'"
    assert problem(text).startswith(f"file.toml: policy.rules.1.path: expected a path, not {path!r}")
