"""How a process gets the conversation: a new one, or the one before, as far as its agent can take it up (DESIGN D7)."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from trio_broker.agent.connection import AgentConnection
from trio_broker.agent.lifecycle import AUTH_REQUIRED, AgentRun
from trio_broker.errors import RemoteError
from trio_broker.journal.log import Log
from trio_broker.protocol import acp, jsonrpc
from trio_broker.protocol.codec import structure
from trio_broker.session.router import Relay
from trio_broker.session.state import State


@attrs.define(eq=False)
class Resuming:
    """`on_there` hears the agent's id of the conversation, and its answer, as soon as there is one."""

    life: AgentRun
    line: AgentConnection
    state: State
    relay: Relay
    log: Log
    on_there: Callable[[str, bytes], None]

    async def run(self) -> str | None:
        """Get it, mode and options as they were; says how it was taken up: exact, loaded, new, or None if it began."""
        how = None
        if (before := self.state.agent_session_id) is None:
            await self._begin()
        else:
            how = await self._take_up(before)
        await self._set_again()
        return how

    async def _begin(self) -> None:
        result = await self.life.call(self.line, "session/new", self._params)
        self.on_there(structure(result, acp.NewSessionResponse).session_id, result)

    async def _take_up(self, agent_session_id: str) -> str:
        params = jsonrpc.replace_members(self._params, sessionId=agent_session_id)
        refusals = []
        for how, method in self.life.resume_methods():
            self.relay.replaying = True
            try:
                result = await self.life.call(self.line, method, params)
            except RemoteError as error:
                if error.rpc_code == AUTH_REQUIRED:
                    raise
                refusals.append(f"{method}: {error.message}")
                continue
            finally:
                self.relay.replaying = False
            self._tell(how)
            self.on_there(agent_session_id, result)
            return how
        why = "; ".join(refusals) or "the agent can't resume a conversation"
        self._tell("new", f"the agent does not remember what was said before: {why}")
        await self._begin()
        return "new"

    @property
    def _params(self) -> bytes:
        return self.life.settings.session_params

    def _tell(self, how: str, note: str | None = None) -> None:
        self.log.append("agent", event="resumed", how=how, note=note)

    async def _set_again(self) -> None:
        """Mode and options as they were before (a new process begins with its own)."""
        for method, fields in self.state.to_set_again():
            params = jsonrpc.encode({"sessionId": self.relay.agent_session_id, **fields})
            try:
                self.state.answered(method, params, await self.line.call(method, params))
            except RemoteError as error:
                self.log.append("note", text=f"{method} could not be set again: {error.message}")
