"""An agent made with the official Python SDK: `python agent.py`. It asks before it answers, unless told to wait."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from uuid import uuid4

import acp
from acp import schema

YES = schema.PermissionOption(option_id="yes", name="Yes", kind="allow_once")
NO = schema.PermissionOption(option_id="no", name="No", kind="reject_once")


class Agent:
    def __init__(self) -> None:
        self.cancelled: dict[str, asyncio.Event] = {}

    def on_connect(self, conn: acp.Client) -> None:
        self.client = conn

    async def initialize(self, protocol_version: int, *_: Any, **__: Any) -> acp.InitializeResponse:
        info = schema.Implementation(name="python-sdk", version="1")
        return acp.InitializeResponse(protocol_version=acp.PROTOCOL_VERSION, agent_info=info)

    async def new_session(self, cwd: str, *_: Any, **__: Any) -> acp.NewSessionResponse:
        session_id = uuid4().hex
        self.cancelled[session_id] = asyncio.Event()
        return acp.NewSessionResponse(session_id=session_id)

    async def prompt(self, session_id: str, prompt: list[Any], **_: Any) -> acp.PromptResponse:
        if session_id not in self.cancelled:
            raise acp.RequestError(-32002, "Session not found", {"sessionId": session_id})
        cancelled = self.cancelled[session_id] = asyncio.Event()
        text = prompt[0].text
        await self.say(session_id, f"you said: {text}; ")
        if text == "wait":
            await cancelled.wait()
            return acp.PromptResponse(stop_reason="cancelled")
        if text == "fail":
            raise acp.RequestError(-32123, "no credit", {"left": 0})
        call = schema.ToolCallUpdate(tool_call_id="1", title="edit it", kind="edit")
        asked = await self.client.request_permission(session_id, call, [YES, NO])
        if asked.outcome.outcome != "selected":
            return acp.PromptResponse(stop_reason="cancelled")
        chosen = asked.outcome.option_id
        await self.say(session_id, f"you chose: {chosen}")
        return acp.PromptResponse(stop_reason="end_turn")

    async def say(self, session_id: str, text: str) -> None:
        await self.client.session_update(session_id, acp.update_agent_message_text(text))

    async def cancel(self, session_id: str, **_: Any) -> None:
        if session_id in self.cancelled:
            self.cancelled[session_id].set()


if __name__ == "__main__":
    asyncio.run(acp.run_agent(cast(acp.Agent, Agent())))
