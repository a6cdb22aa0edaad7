"""The open asks of one session: what its agent asked and a person, or a policy, has to answer.

An ask is data with an id, not a held call. First the policy; what it leaves to people goes to every controller, each
under its own number, and to those that come later. The first answer wins and closes the others' dialogs; a client that
has none (it can't, it answers nonsense, it leaves) abstains, and so does one that only closes its dialog while others
still show theirs, unless it is the primary one. When all have abstained nobody is there: a permission or an elicitation
is held, or refused, as `unattended` in [policy] has it. Every request of the agent is answered exactly once (RACES
C13): `_settle` takes it out of `open`, and there is no other way to answer. Each answer is in the log, with who gave
it, also where nobody was asked. An option id is never invented.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import attrs
import trio

from trio_broker.agent.connection import AgentConnection
from trio_broker.agent.lifecycle import SessionSettings
from trio_broker.auth import policy
from trio_broker.auth.call import Call
from trio_broker.auth.policy import Unattended
from trio_broker.journal.log import Log
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.elicitation.form import FORM, URL
from trio_broker.protocol.jsonrpc import Message
from trio_broker.protocol.pending import Reply
from trio_broker.session.agent_request import (
    CANCELLED_CALL,
    ELICITATION,
    HELD,
    PERMISSION,
    AgentRequest,
    Answer,
    AskableClient,
    malformed_reason,
    next_request_id,
    permission_answer,
)
from trio_broker.session.tool_calls import ToolCalls
from trio_broker.session.turn_queue import TurnQueue

NOT_OFFERED = ("fs/", "terminal/")  # never offered to agents (D5); an agent that asks all the same is told so
CANCELLED_BY_CANCEL = HELD  # the rest is left to finish
HOME = os.path.expanduser("~")
UNATTENDED_AFTER = (
    1.0  # seconds that nobody is there until that counts: a client that attaches anew was not away
)
ELICITED = 100  # elicitations by URL whose completion may still be told
RESTART = "restart"
EXPIRED = "the broker ended while this waited for an answer"


class Audience(Protocol):
    """Who can be asked, in the order in which they came, and who of them first; and what clients may see."""

    session_id: str | None

    @property
    def controllers(self) -> Sequence[AskableClient]: ...
    def primary(self) -> AskableClient | None: ...
    def to_client(self, message: Message) -> bytes: ...


@attrs.define(eq=False)
class AgentRequests:
    """The asks of one life. Synchronous but for `run`.

    `on_change` hears of each that is opened or settled, `on_unattended` of what nobody sees.
    """

    connection: AgentConnection
    log: Log
    settings: SessionSettings
    turns: TurnQueue
    audience: Audience
    tool_calls: ToolCalls = attrs.field(factory=ToolCalls)
    on_change: Callable[[], None] = lambda: None
    on_unattended: Callable[[AgentRequest], None] = lambda _: None
    open: list[AgentRequest] = attrs.field(factory=list)
    closed: bool = False
    settled_at: float = 0.0  # when the agent last had an answer
    elicited: dict[str, AskableClient] = attrs.field(factory=dict)  # who opened which URL
    _changed: trio.Event = attrs.field(factory=trio.Event)

    def is_waiting(self) -> bool:
        return bool(self.open and self.visible)  # most often there is none: this is asked all the time

    @property
    def visible(self) -> list[AgentRequest]:
        """Those that clients may know of: an id that was told is never another question's, so it has to be safe."""
        return [request for request in self.open if request.number and self.log.may_tell(request.number)]

    def find(self, id: str) -> AgentRequest | None:
        return next((request for request in self.open if request.id == id), None)

    # What the agent asks

    def receive_request(self, message: Message, child: str | None = None) -> None:
        """A request of the agent: answer it by policy, or ask the clients, or hold it until one is here.

        `child`: the child session under whose id it came, if it did.
        """
        request = AgentRequest(message, self.audience.to_client(message), child)
        if request.method == PERMISSION:
            if (why := malformed_reason(request)) is not None:
                self.refuse(message, jsonrpc.INVALID_PARAMS, why)
                return
            request.merge(self.tool_calls.add_request(message.session_id, request.tool_call))
        if (self.closed or self._cancelling()) and request.method in CANCELLED_BY_CANCEL:
            self._answer_unasked(request, "closed" if self.closed else "cancel", request.withdrawal())
        elif request.method == PERMISSION:
            self._permission(request)
        elif self.closed or not self._can_wait(request):
            self._answer_unasked(request, "broker", request.no_client_answer())
        else:
            self._hold(request)

    def _can_wait(self, request: AgentRequest) -> bool:
        """Whether somebody can answer it: now, or for an elicitation of a mode that agents may use, later."""
        if request.method.startswith(NOT_OFFERED):
            return False
        return request.mode in (FORM, URL) or bool(self._able_clients(request))

    def withdraw_by_agent(self, params: bytes) -> None:
        """`$/cancel_request` of the agent: no client need answer any more; the agent still gets a reply."""
        value = jsonrpc.decode(params)
        token = jsonrpc.encode(value.get("requestId")) if isinstance(value, dict) else b"null"
        error = jsonrpc.error_object(
            CANCELLED_CALL, "Request cancelled"
        )  # as ACP wants it, whatever was asked
        for request in tuple(self.open):
            if request.message.id is not None and jsonrpc.id_key(request.message.id) == jsonrpc.id_key(token):
                self._settle(request, "agent", Answer("withdrawn", error=error))

    def complete_elicitation(self, message: Message) -> None:
        """What a URL was opened for is done: the client that opened it is told, and no other."""
        value = jsonrpc.decode(message.params)
        id = value.get("elicitationId") if isinstance(value, dict) else None
        if (client := self.elicited.pop(str(id), None)) is not None:
            client.send_after_log(
                self.log, jsonrpc.notification(message.method or "", self.audience.to_client(message))
            )

    def refuse(self, message: Message, code: int, text: str) -> None:
        """Answer a request of the agent with an error, without asking anybody."""
        request = AgentRequest(message, message.params)
        answer = Answer("refused", error=jsonrpc.error_object(code, text))
        self._answer_unasked(request, "broker", answer, text)

    # What clients do

    def offer(self) -> None:
        """Ask whoever can answer and has not been asked yet; for when a client has come or gone.

        Not before what led to the question is shown: an end that is not on disk yet may hold it back.
        """
        for request in [ask for ask in self.open if ask.number <= self.log.last]:
            for client in self._able_clients(request):
                if client not in request.asked_clients:
                    self._ask(request, client)
            self._update_unattended(request)

    def client_left(self, client: AskableClient) -> None:
        """`client` is gone, or hears this session no more: it shows no dialog, and nobody waits for its answer."""
        for request in self.open:
            request.abstained.discard(client)  # it may come back as one that can
            if (number := request.asked_clients.pop(client, None)) is not None:
                client.withdraw(number)
        self.elicited = {id: who for id, who in self.elicited.items() if who is not client}
        self.offer()

    def answer(self, request: AgentRequest, by: str, answer: Answer) -> None:
        """Settle an ask that is open, in somebody's name."""
        self._settle(request, by, answer)

    # What ends them all

    def cancel(self) -> None:
        """A cancel ends all of the turn's asks: permissions as `cancelled`, elicitations as `cancel` (ACP §2.1)."""
        for request in tuple(self.open):
            if request.method in CANCELLED_BY_CANCEL:
                self._settle(request, "cancel", request.withdrawal())

    def close(self, by: str) -> None:
        """The agent ends, `by` whom or what: no dialog means anything any more, and no new ones are opened."""
        self.closed = True
        outcome, note = ("expired", EXPIRED) if by == RESTART else ("withdrawn", None)
        for request in tuple(self.open):
            self._settle(request, by, attrs.evolve(request.withdrawal(), outcome=outcome), note)

    # Time

    async def run(self) -> None:
        """Heed, for ever, that an ask expires, or that nobody is there to answer it."""
        while True:
            self._changed = trio.Event()
            with trio.move_on_at(min(map(self._deadline, self.open), default=math.inf)):
                await self._changed.wait()
            for request in tuple(self.open):
                if trio.current_time() >= self._deadline(request):
                    self._on_deadline(request)

    def _deadline(self, request: AgentRequest) -> float:
        """When something is to be done about it although nobody has done anything."""
        alone = (
            math.inf
            if request.unattended_since is None or request.unattended_handled
            else request.unattended_since + UNATTENDED_AFTER
        )
        return min(alone, self._expires_at(request))

    def _expires_at(self, request: AgentRequest) -> float:
        return request.opened_at + (self.settings.asking.expire or math.inf)

    def _on_deadline(self, request: AgentRequest) -> None:
        asking = self.settings.asking
        if trio.current_time() >= self._expires_at(request):
            note = f"nobody answered for {asking.expire:g} s (expire in [policy])"
            self._settle(request, "expiry", request.refusal("expired"), note)
            return
        request.unattended_handled = True
        self.on_unattended(request)
        if asking.unattended is Unattended.DENY or request.deny_unattended:
            why = f"{request.reason}; " if request.reason else ""
            setting = (
                "the prompt has a policy" if request.deny_unattended else 'unattended = "deny" in [policy]'
            )
            note = f"{why}nobody was there ({setting})"
            self._settle(request, "policy:unattended", request.refusal(), note)

    # Details

    def _permission(self, request: AgentRequest) -> None:
        settings, running = self.settings, self.turns.running
        chosen = (running and running.policy) or settings.policy
        call = Call(
            request.tool_call,
            settings.spec.name,
            settings.key,
            settings.cwd,
            HOME,
            tuple(request.call.kinds),
            tuple(request.call.titles),
            tuple(request.call.earlier),
            request.call.unclear,
        )
        decision = policy.decide(settings.asking.rules, chosen, call, request.options)
        if decision.ask:
            request.reason = decision.reason
            # The author of a prompt with a policy of its own does not wait for anybody to answer.
            request.deny_unattended = decision.reason is not None and bool(running and running.policy)
            self._hold(request)
        else:
            answer = permission_answer(decision.option_id)
            self._reply(request, answer)
            self._log_answer(request, decision.by, answer)

    def _cancelling(self) -> bool:
        return self.turns.running is not None and self.turns.running.cancelling

    def _hold(self, request: AgentRequest) -> None:
        self.open.append(request)  # first: who reads of it in the log finds it
        request.id = next_request_id(self.log)
        facts = {
            "askId": request.id,
            "method": request.method,
            "title": request.title,
            "childSessionId": request.child_session_id,
            "reason": request.reason,
        }
        request.number = self.log.append("ask", {"params": request.params}, **facts).first
        if request.number > self.log.last:
            self.log.hold(request.number, self._show)
        self._show()

    def _show(self) -> None:
        self.offer()
        self.on_change()

    def _able_clients(self, request: AgentRequest) -> list[AskableClient]:
        """Who can be asked this now, those that are being asked among them, but nobody who abstained."""
        able = [client for client in self.audience.controllers if client not in request.abstained]
        if request.method == ELICITATION and not request.options:
            able = [client for client in able if client.can_elicit(request.mode)]
        if (number := request.request_number) is not None:
            return [client for client in able if client.client_request_id(self.log, number) is not None]
        if not request.single_client:
            return able
        wanted = next(iter(request.asked_clients), self.audience.primary())
        return [client for client in able if client is wanted]

    def _ask(self, request: AgentRequest, client: AskableClient) -> None:
        method, params = request.method, request.params
        if method == ELICITATION and not client.can_elicit(request.mode):
            method, params = PERMISSION, request.as_permission(self.audience.session_id)
        elif (number := request.request_number) is not None:
            params = jsonrpc.replace_members(params, requestId=client.client_request_id(self.log, number))
        on_reply = partial(self._answered, request, client, method)
        request.asked_clients[client] = client.request(self.log, method, params, on_reply)

    def _answered(self, request: AgentRequest, client: AskableClient, method: str, reply: Reply) -> None:
        del request.asked_clients[client]
        answer = request.parse_reply(reply, method)
        if answer is None or (
            answer.dismisses and request.asked_clients and client is not self.audience.primary()
        ):
            request.abstained.add(client)
            self._update_unattended(request)
            return
        if answer.outcome == "accept" and request.elicitation_id is not None:
            self.elicited = dict([*self.elicited.items()][-ELICITED:]) | {request.elicitation_id: client}
        self._settle(request, client.identity, answer)

    def _update_unattended(self, request: AgentRequest) -> None:
        """See whether nobody is there any more: what a person can answer from anywhere waits, nothing else does."""
        if request.asked_clients:
            request.unattended_since = None
        elif request.method not in HELD:
            self._settle(request, "nobody", request.no_client_answer())
        elif request.unattended_since is None:
            request.unattended_since = trio.current_time()
        self._changed.set()

    def _settle(self, request: AgentRequest, by: str, answer: Answer, note: str | None = None) -> None:
        self.open.remove(request)
        self.settled_at = trio.current_time()
        for client, number in request.asked_clients.items():
            client.withdraw(number)
        request.asked_clients.clear()
        self._reply(request, answer)
        self._log_answer(request, by, answer, note)
        self.on_change()
        self._changed.set()

    def _reply(self, request: AgentRequest, answer: Answer) -> None:
        id = request.message.id or b"null"
        if answer.error is not None:
            self.connection.send_quietly(jsonrpc.error_response(id, answer.error))
        else:
            self.connection.send_quietly(jsonrpc.response(id, answer.result))

    def _answer_unasked(
        self, request: AgentRequest, by: str, answer: Answer, note: str | None = None
    ) -> None:
        self._reply(request, answer)
        self._log_answer(request, by, answer, note)

    def _log_answer(self, request: AgentRequest, by: str, answer: Answer, note: str | None = None) -> None:
        option = None if answer.option_id is None else request.option(answer.option_id)
        self.log.append(
            "answer",
            askId=request.id or None,
            method=request.method,
            childSessionId=request.child_session_id,
            by=by,
            outcome=answer.outcome,
            optionId=answer.option_id,
            option=option and option["name"],
            optionKind=option and option["kind"],
            title=request.title,
            after=trio.current_time() - request.opened_at if request.id else None,
            note=note,
        )
