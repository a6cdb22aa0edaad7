"""What an agent has its client do, `fs/…` and `terminal/…`, instead of doing it itself (DESIGN D5).

Nobody does it unless the configuration of the agent says who: the broker runs commands itself (`terminal = true`, see
`terminals`), and "client" stands for the client that opened the session. That is the one whose request started the
present process of the agent, or that had opened the session before and is still there. It and no other is asked: a
write goes to one editor, and reads see that editor's buffers. The agent is offered only what this client can do.

A request goes to the client under a number of its own, behind all that stands in the log, and its answer goes back as
it came. When the client leaves, the agent gets an error that names it, also for every request that the client has not
answered. Another client does not take its place before the agent is started again: the agent was promised one editor's
buffers, and writes to the files of another would be a surprise to both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import attrs

from trio_broker.agent.catalog import AgentSpec
from trio_broker.agent.connection import AgentConnection
from trio_broker.agent.lifecycle import SessionSettings, client_served
from trio_broker.config.config import ServedBy
from trio_broker.errors import BrokerError, CallCancelled, RemoteError, SessionOver
from trio_broker.journal.log import Log
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import Message
from trio_broker.protocol.pending import Reply
from trio_broker.session.agent_request import AskableClient
from trio_broker.session.terminals import Terminals
from trio_broker.session.turn_queue import TurnQueue

FILES, TERMINAL = "fs/", "terminal/"
WRITE = "fs/write_text_file"
CAPABILITIES = {"fs/read_text_file": "readTextFile", WRITE: "writeTextFile"}


class OpeningClient(AskableClient, Protocol):
    """A client that can open a session."""

    @property
    def client_capabilities(self) -> Mapping[str, Any]: ...
    @property
    def label(self) -> str: ...


@attrs.define(eq=False)
class Opener:
    """The client that opened a session, if any has. `attached` is None until the client hears the session.

    `offered`: what the present run of the agent was offered of its capabilities.
    """

    client: OpeningClient | None = None
    attached: bool | None = None
    offered: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def here(self) -> bool:
        return self.client is not None and self.attached is not False

    def offer(self, spec: AgentSpec) -> Mapping[str, Any]:
        """Offer an agent that starts now what it is to use of the client's capabilities; says what that is."""
        has = self.client.client_capabilities if self.client is not None and self.here else {}
        self.offered = client_served(spec, has)
        return self.offered


@attrs.define(eq=False)
class _Forwarded:
    """A request of the agent that the opener has; `number` is the one under which it was asked."""

    message: Message
    number: int | None = None  # not asked yet


@attrs.define(eq=False)
class ClientServices:
    """The requests of one run of an agent. Synchronous but for `run`.

    `to_client` gives the parameters of a request as clients may see them.
    """

    connection: AgentConnection
    log: Log
    settings: SessionSettings
    turns: TurnQueue
    opener: Opener
    to_client: Callable[[Message], bytes]
    publish_update: Callable[[dict[str, Any]], None]
    terminals: Terminals = attrs.field(init=False)
    _open: list[_Forwarded] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.terminals = Terminals(
            self.connection, self.settings, self._policy, self._note, self.publish_update
        )

    async def run(self) -> None:
        """Run the commands that the broker runs for the agent, until cancelled."""
        await self.terminals.run()

    def receive(self, message: Message) -> bool:
        """Take a request of the agent, if it is one that its configuration has somebody serve."""
        by = served_by(self.settings.spec, message.method or "")
        if by is ServedBy.BROKER:
            self.terminals.receive(message)
        elif by is ServedBy.CLIENT:
            self._forward(message)
        return by is not ServedBy.NOBODY

    def withdraw_by_agent(self, params: bytes) -> None:
        """`$/cancel_request` of the agent: if it is one of these requests, it is answered so."""
        value = jsonrpc.decode(params)
        token = jsonrpc.encode(value.get("requestId")) if isinstance(value, dict) else b"null"
        if not self.terminals.withdraw(token):
            for one in tuple(self._open):
                if jsonrpc.id_key(one.message.id or b"null") == jsonrpc.id_key(token):
                    self._end(one, CallCancelled("Request cancelled"))

    def update_opener(self) -> None:
        """The opener has come, and can be asked, or has left, and answers nothing more."""
        for one in tuple(self._open):
            if self.opener.attached is False:
                self._end(one, self._absence(one.message))
            elif one.number is None:
                self._ask(one)

    def close(self) -> None:
        """The run ends: the commands end, and nobody need answer any more."""
        self.terminals.close()
        for one in tuple(self._open):
            self._end(one, SessionOver(f"session {self.settings.key!r} is ending"))

    def _forward(self, message: Message) -> None:
        if not self._offers(message):
            self._reply_error(message, self._inability(message))
        elif self.opener.attached is False:
            self._reply_error(message, self._absence(message))
        elif self.terminals.closed:
            self._reply_error(message, SessionOver(f"session {self.settings.key!r} is ending"))
        else:
            self._open.append(_Forwarded(message))
            if self.opener.attached:
                self._ask(self._open[-1])

    def _ask(self, one: _Forwarded) -> None:
        client, method = self.opener.client, one.message.method or ""
        assert client is not None, "it offers what is asked"
        if method == WRITE:
            asked = jsonrpc.decode(one.message.params)
            path = asked.get("path") if isinstance(asked, dict) else None
            self._note(f"{client.label} is asked to write {path}")
        on_reply = partial(self._answered, one)
        one.number = client.request(self.log, method, self.to_client(one.message), on_reply)

    def _answered(self, one: _Forwarded, reply: Reply) -> None:
        self._open.remove(one)
        if isinstance(reply, BrokerError):
            self._reply_error(one.message, reply)
        elif reply.error is not None:
            self._send(jsonrpc.error_response(one.message.id or b"null", reply.error))
        else:
            self._send(jsonrpc.response(one.message.id or b"null", reply.result or b"null"))

    def _end(self, one: _Forwarded, error: BrokerError) -> None:
        """Answer it without the client, which need not answer any more."""
        self._open.remove(one)
        if one.number is not None and self.opener.client is not None:
            self.opener.client.withdraw(one.number)
        self._reply_error(one.message, error)

    def _offers(self, message: Message) -> bool:
        if (message.method or "").startswith(TERMINAL):
            return bool(self.opener.offered.get("terminal"))
        name = CAPABILITIES.get(message.method or "", "")
        return bool(self.opener.offered.get("fs", {}).get(name))

    def _inability(self, message: Message) -> RemoteError:
        if self.opener.client is None:
            who = f"no client opened this session when its agent was started, and {_setting(message)} asks no other"
        else:
            who = (
                f"the client {self.opener.client.label} that opened this session did not offer it when the agent was "
                f"started, and {_setting(message)} asks no other"
            )
        return RemoteError(jsonrpc.METHOD_NOT_FOUND, f"{message.method}: {who}")

    def _absence(self, message: Message) -> RemoteError:
        label = "" if self.opener.client is None else self.opener.client.label
        text = (
            f"{message.method}: the client {label} that opened this session has left, and {_setting(message)} asks no "
            "other"
        )
        return RemoteError(jsonrpc.INTERNAL_ERROR, text)

    def _reply_error(self, message: Message, error: BrokerError) -> None:
        self._send(jsonrpc.exception_response(message.id, error))

    def _send(self, frame: bytes) -> None:
        self.connection.send_quietly(frame)

    def _policy(self) -> Any:
        running = self.turns.running
        return (running and running.policy) or self.settings.policy

    def _note(self, text: str) -> None:
        shown = self.connection.redact(text.encode("utf-8", "replace")).decode()
        self.log.append("note", text=shown)


def served_by(spec: AgentSpec, method: str) -> ServedBy:
    """Who serves a request of that method of this agent."""
    if method.startswith(FILES):
        return spec.fs
    return spec.terminal if method.startswith(TERMINAL) else ServedBy.NOBODY


def _setting(message: Message) -> str:
    name = "fs" if (message.method or "").startswith(FILES) else "terminal"
    return f'{name} = "client" of the agent'
