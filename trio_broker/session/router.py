"""What goes between one agent and its session's clients: updates into the log, all else to whom it concerns.

Frames pass untouched: only the session id is translated, at the known places, and only while the public one differs
from the agent's (D3): two agents named their sessions alike, or the agent came back under a new name.

A process serves one session (D4), so an id that no session has is that of a child: a subagent, whose session the agent
opened by itself. Its requests go to the session's people, under the session's id and with the child's id in `_meta`;
its updates are in the log, as events of their own, because no client has a session of that id. An id that another
session of this broker has, or had, is a mistake of the agent (RACES C16).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs

from trio_broker.agent.catalog import AgentSpec
from trio_broker.agent.connection import AgentConnection
from trio_broker.auth.policy import Policy
from trio_broker.errors import BadMessage
from trio_broker.journal.log import Log
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.extensions import with_child_session
from trio_broker.protocol.jsonrpc import Kind, Message
from trio_broker.session.agent_request import ELICITATION, AgentRequest
from trio_broker.session.client_services import ClientServices, Opener, OpeningClient
from trio_broker.session.permissions import AgentRequests
from trio_broker.session.tool_calls import ToolCalls

EARLY_KEPT = 256  # messages before the session is named: commands, modes and titles, hardly ever a turn
UPDATE = b'_update"'  # a search for it is a fraction of one for these
STATE = re.compile(
    rb'"(?:current_mode_update|config_option_update|session_info_update|available_commands_update|usage_update)"'
)


class AttachedClient(OpeningClient, Protocol):
    """A client that is attached to a session. It hears the log by itself; here it is who can be asked."""


@attrs.define(eq=False)
class Router:
    """`author` names the client whose prompt runs, who is asked first. `on_state` hears of each state update.

    `is_known_id`: whether a session of this broker has this id, or had it.
    """

    log: Log
    author: Callable[[], object]
    refuse: Callable[[Message], None]
    on_state: Callable[[dict[str, Any]], None]
    is_known_id: Callable[[str], bool] = lambda _: False
    session_id: str | None = None
    agent_session_id: str | None = None
    requests: AgentRequests | None = None
    services: ClientServices | None = None
    opener: Opener = attrs.field(factory=Opener)
    connection: AgentConnection | None = None
    misrouted: int = 0
    unseen_since: int | None = None  # since when the agent spoke of its own accord with nobody there
    replaying: bool = False  # the agent loads a conversation: what it says is known already (RACES B16)
    tool_calls: ToolCalls = attrs.field(factory=ToolCalls)
    listeners: list[AttachedClient] = attrs.field(factory=list)
    observers: set[AttachedClient] = attrs.field(factory=set)  # those of them that are not asked
    _early_messages: deque[Message] = attrs.field(factory=lambda: deque(maxlen=EARLY_KEPT))

    def start_run(self, connection: AgentConnection) -> None:
        """A new run of the agent begins; until `set_ids`, what it says has no conversation to belong to."""
        self.connection, self.requests, self.services = connection, None, None
        self._early_messages.clear()

    def offer_services(self, spec: AgentSpec, client: OpeningClient | None) -> Mapping[str, Any]:
        """The capabilities that the next run of this agent is offered of the client that opens, or has opened, it.

        The client that opened the session before stays its opener as long as it is there.
        """
        if client is not None and not self.opener.here:
            self.opener = Opener(client)
        return self.opener.offer(spec)

    def set_ids(self, agent_session_id: str, session_id: str, requests: AgentRequests) -> None:
        """The session has its ids now: what the agent said before it named them is heard (ACP §1.13, rule 4)."""
        self.agent_session_id, self.session_id, self.requests = agent_session_id, session_id, requests
        self.services = ClientServices(
            requests.connection,
            self.log,
            requests.settings,
            requests.turns,
            self.opener,
            self.to_client,
            self.publish_update,
        )
        before, self._early_messages = self._early_messages, deque(maxlen=EARLY_KEPT)
        for message in before:
            self.receive(message)
        if self.connection is not None:
            self.connection.set_session_id(agent_session_id)

    def attach(self, listener: AttachedClient, *, observes: bool = False) -> None:
        """From now on `listener` can be asked, unless it `observes`. Attaching twice is once."""
        if listener not in self.listeners:
            self.listeners.append(listener)
            if observes:
                self.observers.add(listener)
            self.unseen_since = None
            self._update_opener(listener, attached=True)
            if self.requests is not None:
                self.requests.offer()

    def detach(self, listener: AttachedClient) -> None:
        if listener in self.listeners:
            self.listeners.remove(listener)
            self.observers.discard(listener)
            self.client_left(listener)
            if self.requests is not None:
                self.requests.client_left(listener)

    def client_left(self, client: object) -> None:
        """`client` serves the agent no more, if it did; it may have left before it was attached."""
        self._update_opener(client, attached=False)

    def _update_opener(self, client: object, *, attached: bool) -> None:
        if client is self.opener.client:
            self.opener.attached = attached
            if self.services is not None:
                self.services.update_opener()

    @property
    def controllers(self) -> list[AttachedClient]:
        """Those who can be asked, in the order in which they came."""
        return [listener for listener in self.listeners if listener not in self.observers]

    def primary(self) -> AttachedClient | None:
        """Who is asked first: the client whose prompt runs, if it is still attached, else who came last."""
        author, controllers = self.author(), self.controllers
        running = next((listener for listener in controllers if listener is author), None)
        return running or (controllers[-1] if controllers else None)

    # What the line tells

    def receive(self, message: Message) -> None:
        """A request of the agent, or a notification that is no update of this session."""
        if self.requests is None and message.kind is Kind.REQUEST and not self._has_named_session(message):
            self._refuse_early(message)
        elif self.requests is None:
            if not self.replaying or message.method != "session/update":
                self._early_messages.append(message)
        elif (child := self._child_id(message)) is not None and self.is_known_id(child):
            self._reject_misrouted(message)
        elif message.kind is Kind.REQUEST:
            if self.services is None or not self.services.receive(message):
                self.requests.receive_request(message, child)
        elif message.method == "$/cancel_request":
            if self.services is not None:
                self.services.withdraw_by_agent(message.params)
            self.requests.withdraw_by_agent(message.params)
        elif message.method == "session/update":
            self._receive_update(message, child)
        elif message.method == "elicitation/complete":
            self.requests.complete_elicitation(message)
        else:
            self._forward(message)

    def _has_named_session(self, message: Message) -> bool:
        """Whether the agent has answered `session/new` already: the answer came with this request, in one block."""
        answered = self.connection is not None and not len(self.connection.pending)
        return answered and message.session_id is not None

    def _child_id(self, message: Message) -> str | None:
        """The id of a message that names another session than this one."""
        return None if message.session_id in (None, self.agent_session_id) else message.session_id

    def _refuse_early(self, message: Message) -> None:
        """At once: the agent may wait for it before it answers `session/new`. No client knows the session yet."""
        self.refuse(message)
        request = AgentRequest(message, message.params)
        self.log.append(
            "answer",
            method=request.method,
            by="broker",
            outcome="decline" if request.method == ELICITATION else "refused",
            title=request.title,
            note="the agent asked before it had opened the session, when nobody could be asked",
        )

    def receive_updates(
        self, count: int, lines: bytes, *, plain: bool = False, tool_calls: bool = True
    ) -> None:
        """Whole lines, each an update of this session; `plain` and `tool_calls` are explained in Handler."""
        if tool_calls:
            self.tool_calls.add_updates(lines)
        if self.services is not None:
            lines = self.services.terminals.for_clients(lines)
        if self.session_id != self.agent_session_id:
            lines = b"".join(self._with_public_id(line) for line in lines.rstrip(b"\n").split(b"\n"))
        first = self.log.append_updates(count, lines, plain=plain).first
        if not self.listeners and self.unseen_since is None and self.author() is None:
            self.unseen_since = first
        if not plain and UPDATE in lines and STATE.search(lines):
            self._update_states(lines)

    def _receive_update(self, message: Message, child: str | None) -> None:
        """One that names no session can be shown to nobody: no client could tell whose it is."""
        if child is not None:
            self.tool_calls.add_updates(message.raw + b"\n")
            self.log.append("child", {"params": message.params}, childSessionId=child)
        elif message.session_id is not None:
            self.receive_updates(1, message.raw + b"\n")
        elif self.connection is not None:
            self.connection.reject(message.raw)

    def end_run(self, by: str) -> None:
        """The agent's run ends, `by` this cause: none of its requests waits any more."""
        if self.services is not None:
            self.services.close()
        if self.requests is not None:
            self.requests.close(by)

    def end_turn(self, policy: Policy) -> None:
        """A turn under this policy ends: say which actions the agent did not ask about."""
        if note := self.tool_calls.end_turn(policy):
            self.log.append("note", text=note)

    def publish_update(self, update: dict[str, Any] | None) -> None:
        """Tell everyone, in the log and so in order, what the agent told only one of them."""
        if update is not None:
            params = jsonrpc.encode({"sessionId": self.session_id, "update": update})
            self.log.append_updates(1, jsonrpc.notification("session/update", params))

    async def wait_for_room(self) -> None:
        """An agent is read no faster than its words can be kept; it never waits for a client."""
        if self.log.keeper.crowded(self.log.number):
            await self.log.keeper.wait_room(self.log.number)

    def to_client(self, message: Message) -> bytes:
        """The parameters of a message of the agent as clients may see them."""
        if (child := self._child_id(message)) is not None:
            return with_child_session(message.params, self.session_id, child)
        if self.session_id == self.agent_session_id or message.session_id is None:
            return message.params
        return jsonrpc.replace_members(message.params, sessionId=self.session_id)

    def to_agent(self, params: bytes) -> bytes:
        """The parameters of a client's message as the agent knows them."""
        if self.session_id == self.agent_session_id:
            return params
        return jsonrpc.replace_members(params, sessionId=self.agent_session_id)

    def _with_public_id(self, line: bytes) -> bytes:
        message = jsonrpc.parse_envelope(line)
        return jsonrpc.notification(message.method or "", self.to_client(message))

    def _forward(self, message: Message) -> None:
        """A notification that ACP has no place for in a conversation: to whoever is there, as it came."""
        params = self.to_client(message)
        same = params is message.params
        frame = message.raw + b"\n" if same else jsonrpc.notification(message.method or "", params)
        for listener in tuple(self.listeners):
            listener.send_after_log(self.log, frame)

    def _reject_misrouted(self, message: Message) -> None:
        """Another session's message on this line: counted, kept, never mixed in; a request is refused (RACES C16)."""
        self.misrouted += 1
        if self.connection is not None:
            self.connection.reject(message.raw)
        if message.kind is Kind.REQUEST and self.requests is not None:
            text = f"this line's session is {self.agent_session_id}, and {message.session_id} is another one"
            self.requests.refuse(message, jsonrpc.INVALID_PARAMS, text)

    def _update_states(self, lines: bytes) -> None:
        for line in lines.rstrip(b"\n").split(b"\n"):
            if not STATE.search(line):
                continue
            try:
                value = jsonrpc.decode(jsonrpc.parse_envelope(line).params)
            except BadMessage:  # a number that Python can't hold; clients get the line as it is
                continue
            update = value.get("update") if isinstance(value, dict) else None
            if isinstance(update, dict):
                self.on_state(update)
