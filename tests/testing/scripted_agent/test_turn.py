"""What every action of the scripted agent relies on: the client's capabilities, and an error for a wrong argument."""

from __future__ import annotations

import json

import pytest

from trio_broker.testing.processes.agent_process import Json, open_scripted_agent, said, stop_reason
from trio_broker.testing.scripted_agent.turn import refusal_text, unescaped


@pytest.mark.parametrize("act", ["ask-raw {", "ask-raw hello", "options [1,]", r"edit f \x", r"raw \u12"])
def test_a_wrong_argument_ends_the_turn_with_an_error_that_says_so(act: str) -> None:
    with open_scripted_agent() as agent:
        agent.start()
        error = agent.turn(f"{act}; say never")[-1]["error"]
        assert error["code"] == -32602 and "an action's argument is wrong: " in error["message"]
        assert stop_reason(agent.turn("say again")) == "end_turn"


def test_the_capabilities_of_the_client_are_those_of_its_initialize() -> None:
    capabilities: Json = {"fs": {"readTextFile": True}, "terminal": True, "x": [1]}
    with open_scripted_agent() as agent:
        agent.start(capabilities=capabilities)
        assert json.loads(said(agent.turn("capabilities"))) == capabilities
        agent.call("initialize", protocolVersion=1, clientCapabilities="all")
        agent.session = agent.call("session/new", cwd="/", mcpServers=[])["result"]["sessionId"]
        assert said(agent.turn("capabilities")) == "{}"


@pytest.mark.parametrize(
    ("text", "meant"),
    [(r"a\nb", "a\nb"), (r"\x3b \x1b[2J", "; \x1b[2J"), ("é — 🌍", "é — 🌍"), (r"a\\nb", r"a\nb")],
)
def test_escapes_are_those_of_python_and_all_other_characters_stay(text: str, meant: str) -> None:
    assert unescaped(text) == meant


def test_a_response_that_is_no_error_is_shown_whole() -> None:
    assert refusal_text({"result": None}) == 'no error: {"result": null}'
