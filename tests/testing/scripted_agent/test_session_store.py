"""What the scripted agent stores of its sessions is there for another process."""

from __future__ import annotations

from pathlib import Path

from trio_broker.testing.processes.agent_process import (
    open_scripted_agent,
    said,
    updates,
)


def test_its_memory_is_there_in_another_process(tmp_path: Path) -> None:
    memory = ("--memory", str(tmp_path))
    with open_scripted_agent(*memory) as agent:
        agent.start("/work")
        agent.turn("think hm; say hello; usage")
        session = {"sessionId": agent.session}
    where = {**session, "cwd": "/work", "mcpServers": []}
    with open_scripted_agent(*memory) as agent:
        agent.call("initialize", protocolVersion=1)
        assert agent.call("session/list", cwd="/work")["result"]["sessions"] == [{"cwd": "/work", **session}]
        *replay, response = agent.until(agent.request("session/load", **where))
        assert "result" in response
        tags = [one["sessionUpdate"] for one in updates(replay)]
        assert tags == ["user_message_chunk", "agent_thought_chunk", "agent_message_chunk"]
        agent.session = agent.session or session["sessionId"]
        assert said(agent.turn("say more")) == "more"
    with open_scripted_agent(*memory) as agent:
        *replay, response = agent.until(agent.request("session/resume", **where))
        assert (replay, "result" in response) == ([], True)
        assert agent.call("session/delete", **session)["result"] == {}
        assert agent.call("session/delete", **session)["result"] == {}
        assert agent.call("session/load", **where)["error"]["code"] == -32002
        assert agent.call("session/list")["result"]["sessions"] == []
