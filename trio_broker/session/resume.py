"""How a process gets the conversation: a new one, or the one before, as far as its agent can take it up (DESIGN D7)."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from trio_broker.agent.connection import AgentConnection
from trio_broker.agent.lifecycle import AgentRun
from trio_broker.errors import AUTH_REQUIRED, RemoteError
from trio_broker.journal.log import Log
from trio_broker.protocol import acp, jsonrpc
from trio_broker.protocol.codec import structure
from trio_broker.session.router import Router
from trio_broker.session.state import ConversationState


@attrs.define(eq=False)
class Resumption:
    """`on_session` is called with the agent's id of the conversation, and its answer, as soon as there is one."""

    agent_run: AgentRun
    connection: AgentConnection
    state: ConversationState
    router: Router
    log: Log
    on_session: Callable[[str, bytes], None]

    async def run(self) -> str | None:
        """Get it, mode and options as they were; says how it was taken up: exact, loaded, new, or None if it began."""
        how = None
        if (before := self.state.agent_session_id) is None:
            await self._new()
        else:
            how = await self._resume_or_load(before)
        await self._restore_settings()
        return how

    async def _new(self) -> None:
        result = await self.connection.call("session/new", self._params)
        self.on_session(structure(result, acp.NewSessionResponse).session_id, result)

    async def _resume_or_load(self, agent_session_id: str) -> str:
        params = jsonrpc.replace_members(self._params, sessionId=agent_session_id)
        refusals = []
        for how, method in self.agent_run.resume_methods():
            self.router.replaying = True
            try:
                result = await self.connection.call(method, params)
            except RemoteError as error:
                if error.rpc_code == AUTH_REQUIRED:
                    raise
                refusals.append(f"{method}: {error.message}")
                continue
            finally:
                self.router.replaying = False
            self._log_event(how)
            self.on_session(agent_session_id, result)
            return how
        why = "; ".join(refusals) or "the agent can't resume a conversation"
        self._log_event("new", f"the agent does not remember what was said before: {why}")
        await self._new()
        return "new"

    @property
    def _params(self) -> bytes:
        return self.agent_run.settings.session_params

    def _log_event(self, how: str, note: str | None = None) -> None:
        self.log.append("agent", event="resumed", how=how, note=note)

    async def _restore_settings(self) -> None:
        """Mode and options as they were before (a new process begins with its own)."""
        for method, fields in self.state.settings_to_restore():
            params = jsonrpc.encode({"sessionId": self.router.agent_session_id, **fields})
            try:
                self.state.apply_setting(method, params, await self.connection.call(method, params))
            except RemoteError as error:
                self.log.append("note", text=f"{method} could not be set again: {error.message}")
