"""The requests and flags of the scripted agent, over real pipes."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import time
from collections.abc import Callable

import pytest
from jsonschema import Draft202012Validator

from trio_broker.testing.processes.agent_process import (
    BRIEFLY,
    LIMIT,
    SCRIPTED_AGENT,
    open_scripted_agent,
    said,
    updates,
)

Validator = Callable[[str], Draft202012Validator]


def test_an_unknown_flag_is_told() -> None:
    done = subprocess.run([*SCRIPTED_AGENT, "--nope"], capture_output=True, timeout=LIMIT, check=False)
    assert done.returncode == 1
    assert b"unknown flag '--nope'" in done.stderr and b"--slow-start" in done.stderr


def test_what_it_says_fits_the_published_schema(validator: Validator) -> None:
    script = "say a; think b; tool read it; plan; hello"
    notification = validator("SessionNotification")
    with open_scripted_agent("--early-update") as agent:
        validator("InitializeResponse").validate(agent.call("initialize", protocolVersion=1)["result"])
        early, new = agent.until(agent.request("session/new", cwd="/tmp", mcpServers=[]))
        validator("NewSessionResponse").validate(new["result"])
        agent.session = new["result"]["sessionId"]
        *turn, response = agent.turn(script)
        validator("PromptResponse").validate(response["result"])
        for message in [early, *turn]:
            notification.validate(message["params"])


def test_a_cancel_may_be_answered_with_an_error() -> None:
    with open_scripted_agent("--error-on-cancel") as agent:
        agent.start()
        prompt = agent.prompt("hang")
        agent.cancel()
        assert agent.until(prompt)[-1]["error"]["code"] == -32603


@pytest.mark.parametrize("by_flag", [True, False])
def test_sigterm_may_be_ignored(by_flag: bool) -> None:
    with open_scripted_agent(*["--ignore-term"] * by_flag) as agent:
        agent.start()
        agent.turn("say x" if by_flag else "ignore-term")
        agent.process.terminate()
        assert said(agent.turn("say alive")) == "alive"
        assert agent.hang_up() == 0


def test_sigterm_ends_it_otherwise() -> None:
    with open_scripted_agent() as agent:
        agent.start()
        agent.prompt("say x; hang")
        agent.message()
        agent.process.terminate()
        assert agent.process.wait(LIMIT) == -signal.SIGTERM


def test_the_end_of_stdin_may_be_ignored() -> None:
    with open_scripted_agent("--ignore-eof") as agent:
        agent.start()
        with pytest.raises(subprocess.TimeoutExpired):
            agent.hang_up(BRIEFLY)
        agent.process.terminate()
        assert agent.process.wait(LIMIT) == -signal.SIGTERM


def test_ways_not_to_start() -> None:
    assert (
        subprocess.run([*SCRIPTED_AGENT, "--exit-at-start", "3"], timeout=LIMIT, check=False).returncode == 3
    )
    with open_scripted_agent("--no-start") as agent:
        agent.request("initialize", protocolVersion=1)
        assert agent.call("_echo")["id"] == 2  # the answer to the first would have come first
    begin = time.monotonic()
    with open_scripted_agent("--slow-start", "0.3") as agent:
        agent.call("initialize", protocolVersion=1)
        assert time.monotonic() - begin > 0.25
    with open_scripted_agent("--protocol", "7") as agent:
        assert agent.call("initialize", protocolVersion=1)["result"]["protocolVersion"] == 7


def test_authentication() -> None:
    with open_scripted_agent("--auth") as agent:
        method = agent.call("initialize", protocolVersion=1)["result"]["authMethods"][0]["id"]
        assert agent.call("session/new", cwd="/", mcpServers=[])["error"]["code"] == -32000
        assert agent.call("authenticate", methodId="nope")["error"]["code"] == -32602
        assert agent.call("authenticate", methodId=method)["result"] == {}
        assert "result" in agent.call("session/new", cwd="/", mcpServers=[])
        assert agent.call("logout")["result"] == {}
        assert agent.call("session/new", cwd="/", mcpServers=[])["error"]["code"] == -32000


def test_load_replays(validator: Validator) -> None:
    with open_scripted_agent("--load") as agent:
        assert (
            agent.call("initialize", protocolVersion=1)["result"]["agentCapabilities"]["loadSession"] is True
        )
        *replay, response = agent.until(
            agent.request("session/load", sessionId="old", cwd="/", mcpServers=[])
        )
        assert [one["sessionUpdate"] for one in updates(replay)] == [
            "user_message_chunk",
            "agent_message_chunk",
        ]
        validator("LoadSessionResponse").validate(response["result"])
    with open_scripted_agent() as agent:
        assert agent.call("session/load", sessionId="old", cwd="/", mcpServers=[])["error"]["code"] == -32601


def test_the_other_requests(validator: Validator) -> None:
    with open_scripted_agent() as agent:
        state = agent.start("/work")
        assert [mode["id"] for mode in state["modes"]["availableModes"]] == ["ask", "code"]
        session = {"sessionId": agent.session}
        assert agent.call("session/set_mode", modeId="code", **session)["result"] == {}
        assert agent.call("session/set_mode", modeId="x", **session)["error"]["code"] == -32602
        options = agent.call("session/set_config_option", configId="model", value="large", **session)[
            "result"
        ]
        validator("SetSessionConfigOptionResponse").validate(options)
        assert options["configOptions"][0]["currentValue"] == "large"
        assert (
            agent.call("session/set_config_option", configId="x", value="y", **session)["error"]["code"]
            == -32602
        )
        assert agent.call("session/list")["result"]["sessions"] == [{"cwd": "/work", **session}]
        assert agent.call("session/list", cwd="/other")["result"]["sessions"] == []
        assert agent.call("session/close", **session)["result"] == {}
        assert agent.call("session/prompt", prompt=[], **session)["error"]["code"] == -32002
        assert agent.call("session/fork", **session)["error"]["code"] == -32601


def test_deaf_reads_nothing_after_the_session() -> None:
    with open_scripted_agent("--deaf") as agent:
        agent.start()
        agent.prompt("say x")
        with pytest.raises(queue.Empty):
            agent.line(0.2)


def test_read_late_reads_on_only_when_its_stdout_was_consumed() -> None:
    with open_scripted_agent("--read-late") as agent:
        agent.start()
        messages = agent.turn("say " + "x" * 200_000)
        assert sum(len(json.dumps(message)) for message in messages) > 2**20
        assert said(messages).endswith("x" * 200_000)


def test_ask_late_asks_for_a_permission_while_it_reads_nothing() -> None:
    with open_scripted_agent("--ask-late") as agent:
        agent.start()
        messages = agent.turn("say " + "x" * 200_000)
        asked = [place for place, message in enumerate(messages) if message.get("id") == "late"]
        assert len(asked) == 1 and 100 < asked[0] < len(messages) - 100


def test_what_it_can_not_do_without_a_memory_it_refuses() -> None:
    with open_scripted_agent() as agent:
        agent.start()
        for method in ("session/resume", "session/delete"):
            assert agent.call(method, sessionId=agent.session)["error"]["code"] == -32601


def test_what_lacks_a_field_is_refused() -> None:
    with open_scripted_agent() as agent:
        agent.start()
        assert agent.call("session/new", mcpServers=[])["error"]["code"] == -32602
        assert agent.call("session/prompt", sessionId=agent.session)["error"]["code"] == -32602
