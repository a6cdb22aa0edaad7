"""A secret that an agent was given does not come back out of it, wherever the agent says it."""

from __future__ import annotations

import json

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from trio_broker.agent.catalog import AgentSpec
from trio_broker.agent.lifecycle import SessionSettings
from trio_broker.agent.redact import Redactor, is_secret
from trio_broker.testing.in_process.rig import open_rig
from trio_broker.testing.processes.home import CONFIG, FAKE, Home

SECRET, LIKE_A_KEY = 'pass"wörd/1', "sk0123456789abcdefghijkl"
SECRETS = st.text(min_size=8).filter(lambda text: text.isprintable() and "redacted" not in text)


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("ANTHROPIC_API_KEY", "0123456789", True),
        ("db_password", "hunter2hunter2", True),
        ("X", LIKE_A_KEY, True),
        ("API_KEY", "short", False),
        ("CLAUDE_CONFIG_DIR", "/work/claude/configuration1", False),
        ("MODE", "a-rather-long-word-without-digits", False),
        ("DEBUG", "true", False),
    ],
)
def test_what_counts_as_secret(name: str, value: str, secret: bool) -> None:
    assert is_secret(name, value) is secret


@given(SECRETS, st.text(), st.text(), st.booleans())
def test_a_secret_in_json_is_gone_and_json_stays_json(
    secret: str, before: str, behind: str, ascii: bool
) -> None:
    redact = Redactor({"API_KEY": secret})
    line = json.dumps({"text": before + "\n" + secret + "\n" + behind}, ensure_ascii=ascii)
    found = json.loads(redact(line.encode("utf-8", "surrogatepass")))["text"]
    assert secret not in found.split("\n") and "[redacted API_KEY]" in found


def test_the_longer_of_two_secrets_is_taken_first() -> None:
    redact = Redactor({"A_KEY": "12345678", "B_KEY": "1234567890"})
    assert redact(b"1234567890 12345678") == b"[redacted B_KEY] [redacted A_KEY]"


def test_nothing_else_is_touched() -> None:
    data = b"x" * 1000
    assert Redactor({"A_KEY": "12345678", "DEBUG": "x"})(data) is data


@pytest.mark.parametrize(
    "servers", [[], None, 7, ["x"], [{"env": 7}], [{"env": [7, {"name": 1, "value": 2}]}]]
)
def test_servers_that_make_no_sense_hide_nothing(servers: object) -> None:
    params = json.dumps({"mcpServers": servers}).encode()
    settings = SessionSettings("k", AgentSpec("a", ("a",)), "/", params, env=(("API_KEY", SECRET),))
    assert settings.secrets() == {"API_KEY": SECRET}


async def test_what_is_for_mcp_servers_is_no_ones_but_the_agents(autojump_clock: MockClock) -> None:
    programs = {"name": "a", "command": "a", "args": [], "env": [{"name": "API_KEY", "value": SECRET}]}
    headers = [{"name": "Authorization", "value": f"Bearer {LIKE_A_KEY}"}]
    remote = {"type": "http", "name": "b", "url": "https://b", "headers": headers}
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k", mcpServers=[programs, remote])
            assert SECRET in str(rig.agent("k").got("session/new")[0]["params"])
            await rig.agent("k").write_stderr(f"no way in with {SECRET}")
            await user.prompt(session, f"say {SECRET}; say Bearer {LIKE_A_KEY}")
            said = user.said(session) + str(await user.call("_trio_broker/logs", key="k"))
            assert SECRET not in said and LIKE_A_KEY not in said
            assert said.count("[redacted MCP_server_0_API_KEY]") == 2
            assert "[redacted MCP_server_1_Authorization]" in said


def test_no_file_and_no_answer_of_a_broker_has_it() -> None:
    config = f"""{CONFIG}env = {{ API_KEY = {json.dumps(SECRET)}, ODD = "{LIKE_A_KEY}" }}
[agents.bad]
command = {json.dumps([*FAKE, "--stderr", SECRET, "--exit-at-start", "3"])}
env = {{ API_KEY = {json.dumps(SECRET)} }}
"""
    with Home(config) as home:
        outputs = [
            home.run("fake", "env", "--format", "json"),
            home.run("fake", f"error -32000 it was {SECRET}", "-s", "k"),
            home.run("bad", "hello", "-s", "b"),
            home.run("sessions", "history"),
            home.run("sessions", "show", "-s", "b"),
            home.run("status", "--format", "json"),
            home.run("agents", "list", "--format", "json"),
        ]
        said = "".join(done.stdout + done.stderr for done in outputs)
        assert "[redacted API_KEY]" in said and "[redacted ODD]" in said
        assert not leaks(said.encode())
        home.run("down")
        for file in (home.path / "state").rglob("*"):
            kept = file.read_bytes() if file.is_file() else b""
            if b"error -32000" not in kept:  # the words of the prompt are the user's own
                assert not leaks(kept), file


def leaks(data: bytes) -> bool:
    once = json.dumps(SECRET)[1:-1]
    forms = (SECRET.encode(), once.encode(), json.dumps(once)[1:-1].encode(), LIKE_A_KEY.encode())
    return any(form in data for form in forms)
