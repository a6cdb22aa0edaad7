"""One question of an agent: what it is, who has been asked, and what counts as an answer.

An answer to a permission is `selected`, with an option that was offered, or `cancelled`; an answer to an elicitation
has an `action`; whatever else the agent asked is answered by any reply. All others, errors among them, are abstentions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol

import attrs
import trio

from trio_broker.auth import policy
from trio_broker.errors import BadMessage, BrokerError, Misuse
from trio_broker.journal.log import Log
from trio_broker.protocol import acp, jsonrpc
from trio_broker.protocol.codec import structure, unstructure
from trio_broker.protocol.jsonrpc import Message
from trio_broker.protocol.pending import Reply
from trio_broker.session.tool_calls import ToolCall

PERMISSION = "session/request_permission"
ELICITATION = "elicitation/create"
ELICITATION_MEMBERS = ("mode", "message", "requestedSchema", "url", "elicitationId")
CANCELLED_CALL = -32800
DISMISSED = ("cancelled", "cancel")


class AskableClient(Protocol):
    """A client that can be asked; it hears the question after all that stands in the log before it."""

    @property
    def name(self) -> str: ...
    @property
    def identity(self) -> str: ...
    def request(self, log: Log, method: str, params: bytes, on_reply: Callable[[Reply], None]) -> int: ...
    def withdraw(self, number: int) -> None: ...
    def send_after_log(self, log: Log, frame: bytes) -> None: ...
    def can_elicit(self, mode: object) -> bool: ...
    def client_request_id(self, log: Log, number: int) -> object | None: ...


@attrs.frozen
class Answer:
    """What the agent is told, a raw `result` or `error`, and how the log names it."""

    outcome: str
    result: bytes = b"null"
    error: bytes | None = None
    option_id: str | None = None

    @property
    def dismisses(self) -> bool:
        """It says only that somebody closed the dialog."""
        return self.outcome in DISMISSED


def permission_answer(option_id: str | None, outcome: str | None = None) -> Answer:
    """The answer to a permission that chooses this option; None: `cancelled`."""
    chosen = acp.CANCELLED if option_id is None else acp.selected(option_id)
    return Answer(outcome or str(chosen["outcome"]), jsonrpc.encode({"outcome": chosen}), option_id=option_id)


def elicitation_answer(action: str, **content: Any) -> Answer:
    """The answer to an elicitation."""
    return Answer(action, jsonrpc.encode({"action": action, **content}))


@attrs.define(eq=False)
class AgentRequest:
    """One open request of the agent. `params`: as clients may see them. `call`: the whole tool call of a permission.

    `id` is unique over all sessions; `number` is that of its event in the log. `asked_clients` has who shows a
    dialog, and under which number; `abstained` who could not answer, or would not.
    """

    message: Message
    params: bytes
    id: str = ""
    number: int = 0
    asked_clients: dict[AskableClient, int] = attrs.field(factory=dict)
    abstained: set[AskableClient] = attrs.field(factory=set)
    opened_at: float = attrs.field(factory=trio.current_time)
    unattended_since: float | None = None
    unattended_handled: bool = False  # that nobody is there has been dealt with
    call: ToolCall = attrs.field(factory=ToolCall)
    reason: str | None = None  # why people are asked although a policy might have decided
    deny_unattended: bool = False  # whatever `unattended` says
    _members: dict[str, Any] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        members = jsonrpc.decode(self.message.params)
        self._members = members if isinstance(members, dict) else {}

    @property
    def method(self) -> str:
        return self.message.method or ""

    def merge(self, call: ToolCall) -> None:
        """Complete the request's tool call with the members that its announcement and updates had.

        A request that repeats them all keeps its own bytes.
        """
        self.call, own = call, self.tool_call
        missing = {
            name: value for name, value in call.members.items() if name != "status" and own.get(name) is None
        }
        if missing:
            self._members["toolCall"] = own | missing
            self.params = jsonrpc.replace_members(self.params, toolCall=self._members["toolCall"])

    @property
    def tool_call(self) -> dict[str, Any]:
        call = self._members.get("toolCall")
        return call if isinstance(call, dict) else {}

    @cached_property
    def options(self) -> list[dict[str, Any]]:
        """What a permission offers; an empty list for any other question."""
        return (
            [unstructure(option) for option in self.permission_request().options]
            if self.method == PERMISSION
            else []
        )

    @property
    def title(self) -> str:
        call = self.tool_call
        titles = {
            PERMISSION: call.get("title") or call.get("toolCallId") or "a tool call",
            ELICITATION: self._members.get("message"),
        }
        title = titles.get(self.method)
        return title if isinstance(title, str) else self.method

    @property
    def kind(self) -> str | None:
        kind = self.tool_call.get("kind")
        return kind if isinstance(kind, str) else None

    @property
    def elicitation(self) -> dict[str, Any] | None:
        """The members of an elicitation that a person needs to answer it; None for any other request."""
        if self.method != ELICITATION:
            return None
        return {name: self._members.get(name) for name in ELICITATION_MEMBERS}

    @property
    def mode(self) -> object:
        """How an elicitation wants to be shown."""
        return self._members.get("mode")

    @property
    def elicitation_id(self) -> str | None:
        id = self._members.get("elicitationId")
        return id if isinstance(id, str) else None

    @property
    def request_number(self) -> int | None:
        """The number of our request which an elicitation belongs to, 0 if of none; None: it is the session's."""
        if self.method != ELICITATION or self.message.session_id is not None:
            return None
        number = self._members.get("requestId")
        return number if isinstance(number, int) and not isinstance(number, bool) else 0

    @property
    def single_client(self) -> bool:
        """Only one client is ever asked it at a time: its answer is bound to that one, or nobody knows what it is."""
        return self.method != PERMISSION and not (self.method == ELICITATION and self.mode == "form")

    def permission_request(self) -> acp.RequestPermissionRequest:
        """A permission, read. Raises BadMessage."""
        return structure(self.message.params, acp.RequestPermissionRequest)

    def parse_reply(self, reply: Reply) -> Answer | None:
        """What a client's reply answers; None if that is no answer."""
        if isinstance(reply, BrokerError):
            return None
        if reply.error is not None:
            known = self.method in (PERMISSION, ELICITATION)
            return None if known else Answer("error", error=reply.error)
        result = reply.result or b"null"
        if self.method == PERMISSION:
            return self._read_permission(result)
        if self.method == ELICITATION:
            value = jsonrpc.decode(result)
            action = value.get("action") if isinstance(value, dict) else None
            return Answer(action, result) if isinstance(action, str) else None  # ACP may get more of them
        return Answer("answered", result)

    def _read_permission(self, result: bytes) -> Answer | None:
        value = jsonrpc.decode(result)
        outcome = value.get("outcome") if isinstance(value, dict) else None
        if not isinstance(outcome, dict):
            return None
        if outcome.get("outcome") == "cancelled":
            return Answer("cancelled", result)
        chosen = self.option(outcome.get("optionId"))
        if outcome.get("outcome") != "selected" or chosen is None:
            return None
        return Answer("selected", result, option_id=chosen["optionId"])

    def option(self, id: str | None) -> dict[str, Any] | None:
        """The option of that id, if it was offered."""
        return next((option for option in self.options if option["optionId"] == id), None)

    def choose(self, option_id: str) -> Answer:
        """The answer that chooses this option. Raises Misuse if it was not offered."""
        if self.option(option_id) is None:
            raise Misuse(
                f"ask {self.id} offers no option {option_id!r}; {self._offered()}", **self._choices()
            )
        return permission_answer(option_id)

    def decide(self, *, allow: bool, always: bool, content: object = None) -> Answer:
        """The answer of a person who says yes or no. Raises Misuse where no option, or action, says just that."""
        if self.method == ELICITATION:
            return self._act(allow=allow, content=content)
        if self.method != PERMISSION:
            raise Misuse(f"ask {self.id} is a {self.method}: only the client that was asked can answer it")
        word, when = "allow" if allow else "reject", "always" if always else "once"
        chosen = policy.pick_option(self.options, f"{word}_{when}")
        if chosen is None and (allow or any(one["kind"] in policy.REJECT for one in self.options)):
            raise Misuse(
                f"ask {self.id} has no option to {word} {when}; {self._offered()}", **self._choices()
            )
        return permission_answer(chosen)

    def _act(self, *, allow: bool, content: object) -> Answer:
        if not allow:
            return elicitation_answer("decline")
        if self.mode == "form" and not isinstance(content, dict):
            raise Misuse(
                f"ask {self.id} is a form: give params.content, an object with its fields, to accept it"
            )
        return (
            elicitation_answer("accept") if content is None else elicitation_answer("accept", content=content)
        )

    def refusal(self, outcome: str | None = None) -> Answer:
        """What to tell the agent when nobody answers: never more than "not now"."""
        if self.method == PERMISSION:
            return permission_answer(policy.pick_option(self.options, "reject_once"), outcome)
        if self.method == ELICITATION:
            return attrs.evolve(elicitation_answer("cancel"), outcome=outcome or "cancel")
        return self.no_client_answer()

    def no_client_answer(self) -> Answer:
        """What to tell the agent when there is nobody who could answer this kind of question."""
        if self.method == ELICITATION:
            return elicitation_answer("decline")
        text = f"Method not found: {self.method}"
        return Answer("refused", error=jsonrpc.error_object(jsonrpc.METHOD_NOT_FOUND, text))

    def withdrawal(self) -> Answer:
        """What to tell the agent when the question has become pointless: its turn is cancelled, or it ends."""
        if self.method == PERMISSION:
            return permission_answer(None, "withdrawn")
        if self.method == ELICITATION:
            return attrs.evolve(elicitation_answer("cancel"), outcome="withdrawn")
        return Answer("withdrawn", error=jsonrpc.error_object(CANCELLED_CALL, "Request cancelled"))

    def _choices(self) -> dict[str, Any]:
        return {"askId": self.id, "options": self.options}

    def _offered(self) -> str:
        offered = ", ".join(f"{one['optionId']} ({one['name']}, {one['kind']})" for one in self.options)
        return f"it offers {offered or 'none'}"


def next_request_id(log: Log) -> str:
    """The id of an ask whose event is the next one of this log: unique over all sessions, and over restarts."""
    return f"{log.number}-{log.next}"


def malformed_reason(request: AgentRequest) -> str | None:
    """Why a permission can't be asked anybody."""
    try:
        request.permission_request()
    except BadMessage as error:
        return error.message
    return None
