"""The open asks of one session: what its agent asked and a person, or a policy, has to answer.

An ask is data with an id, not a held call. Every request of the agent is answered exactly once (RACES C13): by the
policy, by the client that was asked, by a cancel, or by a refusal when nobody can. An option id is never invented.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import attrs
import trio

from trio_broker import policy
from trio_broker.errors import BadMessage, BrokerError
from trio_broker.life import Settings
from trio_broker.line import Line, Reply
from trio_broker.log import Log
from trio_broker.policy import Call, Decision, Policy
from trio_broker.turns import Turns
from trio_broker.wire import acp, jsonrpc
from trio_broker.wire.convert import structure, unstructure
from trio_broker.wire.jsonrpc import Message

PERMISSION = "session/request_permission"
ELICITATION = "elicitation/create"
OFF = ("fs/", "terminal/")  # never offered to agents (D5); an agent that asks all the same is told so
CANCELLED = {PERMISSION: b'{"outcome":{"outcome":"cancelled"}}', ELICITATION: b'{"action":"cancel"}'}
NOT_FOUND = -32601
CANCELLED_CALL = -32800
HOME = os.path.expanduser("~")
INVALID = "\0"  # no option is called so


class Asked(Protocol):
    """A client that can be asked; it hears the question after all that stands in the log before it."""

    @property
    def name(self) -> str: ...
    def request(self, log: Log, method: str, params: bytes, on_reply: Callable[[Reply], None]) -> int: ...
    def withdraw(self, number: int) -> None: ...
    def can_elicit(self, mode: object) -> bool: ...


@attrs.define(eq=False)
class Ask:
    """One open request of the agent; `client` has been asked under `number`, or nobody has yet."""

    message: Message
    params: bytes
    title: str
    opened_at: float = attrs.field(factory=trio.current_time)
    client: Asked | None = None
    number: int = 0
    id: int = 0  # the number of its event in the log

    @property
    def method(self) -> str:
        return self.message.method or ""


@attrs.define(eq=False)
class Asks:
    """`primary` names the client to ask, or nobody."""

    line: Line
    log: Log
    settings: Settings
    turns: Turns
    primary: Callable[[], Asked | None]
    outward: Callable[[Message], bytes]
    on_change: Callable[[], None]
    open: list[Ask] = attrs.field(factory=list)
    closed: bool = False

    def waiting(self) -> bool:
        return bool(self.open)

    def take(self, message: Message) -> None:
        """A request of the agent: answer it by policy, or ask a client, or hold a permission until one is here."""
        if (self.closed or self._cancelling()) and message.method in CANCELLED:
            self._respond(message, CANCELLED[message.method])
        elif message.method == PERMISSION:
            self._permission(message)
        elif self.closed or (message.method or "").startswith(OFF) or not self._can(message):
            self._nobody(message)
        else:
            self._hold(Ask(message, self.outward(message), message.method or ""))

    def offer(self) -> None:
        """Ask the primary client whatever nobody has been asked yet; for when a client has come or gone."""
        for ask in tuple(self.open):
            if ask.client is None and (client := self.primary()) is not None:
                ask.client = client
                ask.number = client.request(
                    self.log, ask.method, ask.params, partial(self._answered, ask, client)
                )

    def lost(self, client: Asked) -> None:
        """`client` is gone: what it was asked goes to another, or waits; what can't wait is refused."""
        for ask in tuple(self.open):
            if ask.client is client:
                client.withdraw(ask.number)  # it may have detached only, and would answer a second time
                ask.client = None
                if ask.method != PERMISSION and self.primary() is None:
                    self._drop(ask)
                    self._note_other(ask, "nobody", "abstained")
                    self._nobody(ask.message)
        self.offer()

    def cancel(self) -> None:
        """A cancel ends all of the turn's asks: permissions as `cancelled`, elicitations as `cancel` (ACP §2.1)."""
        for ask in tuple(self.open):
            if ask.method in CANCELLED:
                self._withdraw(ask, "cancel")
                self._respond(ask.message, CANCELLED[ask.method])

    def agent_withdrew(self, params: bytes) -> None:
        """`$/cancel_request` of the agent: the client need not answer any more; the agent still gets a reply."""
        value = jsonrpc.decode(params)
        token = jsonrpc.encode(value.get("requestId")) if isinstance(value, dict) else b"null"
        for ask in tuple(self.open):
            if ask.message.id is not None and jsonrpc.id_key(ask.message.id) == jsonrpc.id_key(token):
                self._withdraw(ask, "agent")
                self.refuse(ask.message, CANCELLED_CALL, "Request cancelled")

    def close(self) -> None:
        """The agent ends: tell the clients that their dialogs mean nothing any more, and open no new ones."""
        self.closed = True
        for ask in tuple(self.open):
            self._withdraw(ask, "agent gone")

    def _permission(self, message: Message) -> None:
        try:
            asked = structure(message.params, acp.RequestPermissionRequest)
        except BadMessage as error:
            self.refuse(message, -32602, error.message)
            return
        options = [unstructure(option) for option in asked.options]
        decision = policy.decide(self.settings.asking.rules, self._policy(), self._call(asked), options)
        if decision.ask:
            self._hold(Ask(message, self.outward(message), _title(asked.tool_call)))
        else:
            self._decided(message, asked, decision, decision.by)

    def _policy(self) -> Policy:
        running = self.turns.running
        return (running and running.policy) or self.settings.policy

    def _cancelling(self) -> bool:
        return self.turns.running is not None and self.turns.running.cancelling

    def _call(self, asked: acp.RequestPermissionRequest) -> Call:
        settings = self.settings
        return Call(asked.tool_call, settings.spec.name, settings.key, settings.cwd, HOME)

    def _decided(
        self,
        message: Message,
        asked: acp.RequestPermissionRequest,
        decision: Decision,
        by: str,
        ask: Ask | None = None,
    ) -> None:
        outcome = acp.CANCELLED if decision.option_id is None else acp.selected(decision.option_id)
        self._respond(message, jsonrpc.encode({"outcome": outcome}))
        self._note(by, asked, decision.option_id, ask)

    def _note(
        self, by: str, asked: acp.RequestPermissionRequest, option_id: str | None, ask: Ask | None
    ) -> None:
        option = next((option for option in asked.options if option.option_id == option_id), None)
        self.log.append(
            "answer",
            askId=ask and ask.id,
            by=by,
            outcome="cancelled" if option is None else "selected",
            optionId=option_id,
            option=option and option.name,
            optionKind=option and option.kind,
            title=_title(asked.tool_call),
            after=ask and trio.current_time() - ask.opened_at,
        )

    def _hold(self, ask: Ask) -> None:
        self.open.append(ask)
        ask.id = self.log.append("ask", {"params": ask.params}, method=ask.method, title=ask.title).first
        self.offer()
        self.on_change()

    def _answered(self, ask: Ask, client: Asked, reply: Reply) -> None:
        self._drop(ask)
        if isinstance(reply, BrokerError) or reply.error is not None:
            self._abstained(ask, client, reply)
        elif ask.method != PERMISSION:
            self._respond(ask.message, reply.result or b"null")
            self._note_other(ask, client.name, "answered")
        elif (chosen := _chosen(ask.message, reply.result or b"null")) != INVALID:
            self._respond(ask.message, reply.result or b"null")
            self._note(client.name, _asked(ask), chosen or None, ask)
        else:
            self._abstained(ask, client, reply)

    def _abstained(self, ask: Ask, client: Asked, reply: Reply) -> None:
        """The only client there is can't or won't answer: refuse, in the agent's own options where it gave some."""
        if ask.method == PERMISSION:
            asked = _asked(ask)
            options = [unstructure(option) for option in asked.options]
            decision = policy.decide((), Policy.DENY_ALL, self._call(asked), options)
            self._decided(ask.message, asked, decision, decision.by, ask)
            return
        self._note_other(ask, client.name, "abstained")
        if ask.method == ELICITATION:
            self._respond(ask.message, b'{"action":"decline"}')
        elif isinstance(reply, Message) and reply.error is not None:
            self.line.answer(jsonrpc.error_response(ask.message.id or b"null", reply.error))
        else:
            self._nobody(ask.message)

    def _note_other(self, ask: Ask, by: str, outcome: str) -> None:
        after = trio.current_time() - ask.opened_at
        self.log.append("answer", askId=ask.id, by=by, outcome=outcome, title=ask.title, after=after)

    def _can(self, message: Message) -> bool:
        client = self.primary()
        if client is None or message.method != ELICITATION:
            return client is not None
        value = jsonrpc.decode(message.params)
        return client.can_elicit(value.get("mode") if isinstance(value, dict) else None)

    def _nobody(self, message: Message) -> None:
        if message.method == ELICITATION:
            self._respond(message, b'{"action":"decline"}')
        else:
            self.refuse(message, NOT_FOUND, f"Method not found: {message.method}")

    def _withdraw(self, ask: Ask, by: str) -> None:
        self._drop(ask)
        self._note_other(ask, by, "withdrawn")
        if ask.client is not None:
            ask.client.withdraw(ask.number)

    def _drop(self, ask: Ask) -> None:
        self.open.remove(ask)
        self.on_change()

    def _respond(self, message: Message, result: bytes) -> None:
        self.line.answer(jsonrpc.response(message.id or b"null", result))

    def refuse(self, message: Message, code: int, text: str) -> None:
        """Answer a request of the agent with an error."""
        self.line.answer(jsonrpc.error_response(message.id or b"null", jsonrpc.error_object(code, text)))


def _title(tool_call: dict[str, Any]) -> str:
    title = tool_call.get("title") or tool_call.get("toolCallId")
    return title if isinstance(title, str) else "a tool call"


def _asked(ask: Ask) -> acp.RequestPermissionRequest:
    return structure(ask.message.params, acp.RequestPermissionRequest)


def _chosen(message: Message, result: bytes) -> str:
    """The option that a client's answer selects, "" for `cancelled`, INVALID for what was not offered."""
    value = jsonrpc.decode(result)
    outcome = value.get("outcome") if isinstance(value, dict) else None
    if not isinstance(outcome, dict):
        return INVALID
    if outcome.get("outcome") == "cancelled":
        return ""
    asked = structure(message.params, acp.RequestPermissionRequest)
    chosen = outcome.get("optionId")
    return next((option.option_id for option in asked.options if option.option_id == chosen), INVALID)
