"""`acp`: an agent on stdio, with any agent behind it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from trio_broker.testing.processes.agent_process import AgentProcess, said
from trio_broker.testing.processes.home import FAKE, TRIO_BROKER, Home

Editor = Callable[..., AbstractContextManager[AgentProcess]]


@pytest.mark.parametrize(
    "words", [["-a", "demo"], ["--", *FAKE, "--name", "behind"], ["--approve-all", "--", *FAKE]], ids=str
)
def test_any_agent_can_be_behind_it(editor: Editor, shared: Home, tmp_path: Path, words: list[str]) -> None:
    with editor(shared, *words) as talk:
        info = talk.call("initialize", protocolVersion=1, clientCapabilities={})["result"]["agentInfo"]
        assert info["name"] == ("demo" if "demo" in words else "behind" if "behind" in words else "fake")
        talk.start(str(tmp_path))
        if "--approve-all" in words:
            assert said(talk.turn("ask edit it")) == "allow"


def test_the_agents_name_may_stand_before_it(shared: Home, tmp_path: Path) -> None:
    with AgentProcess([*TRIO_BROKER, "fake", "acp"], shared.env) as talk:
        talk.start(str(tmp_path))
        assert said(talk.turn("say hello")) == "hello"


def test_it_starts_the_broker_when_there_is_none(editor: Editor, home: Home, tmp_path: Path) -> None:
    with editor(home) as talk:
        talk.start(str(tmp_path))
        assert said(talk.turn("say hello")) == "hello"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-a", "nobody"], "there is no agent 'nobody'"),
        (["--frobnicate"], "No such option"),
    ],
)
def test_a_mistake_is_exit_2_on_stderr_and_stdout_stays_clean(
    shared: Home, words: list[str], says: str
) -> None:
    done = shared.run("acp", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr


def test_what_an_agent_that_can_not_start_tells_the_editor(editor: Editor, shared: Home) -> None:
    with editor(shared, "--", "no-such-program") as talk:
        error = talk.call("initialize", protocolVersion=1, clientCapabilities={})["error"]
        assert error["data"]["kind"] == "spawn_failed"
        assert "'no-such-program' could not be started" in error["message"]
        assert talk.hang_up() == 0
