"""Testing an agent: a written exchange with it, over its stdin and stdout."""

from __future__ import annotations

from collections.abc import Callable

import trio

from trio_broker.testing import Blank, Play, open_agent, request


async def test_it_answers_a_prompt(fake_agent: Callable[..., list[str]], play: Callable[..., Play]) -> None:
    session = Blank("the session's id")
    told = play()
    told.feed(request(1, "initialize", protocolVersion=1, clientCapabilities={}))
    told.expect({"id": 1, "result": {"protocolVersion": 1}})
    told.feed(request(2, "session/new", cwd="/tmp", mcpServers=[]))
    told.until({"id": 2, "result": {"sessionId": session}})
    told.feed(request(3, "session/prompt", sessionId=session, prompt=[{"type": "text", "text": "say hello"}]))
    told.until(
        {
            "method": "session/update",
            "params": {"sessionId": session, "update": {"content": {"text": "hello"}}},
        }
    )
    told.expect({"id": 3, "result": {"stopReason": "end_turn"}})
    command = fake_agent()  # yours: ["my-agent", "--acp"]
    with trio.fail_after(30):
        async with open_agent(command) as stream:
            await told.act(stream)
