"""One question of an agent: what it is, who has been asked, and what counts as an answer.

An answer to a permission is `selected`, with an option that was offered, or `cancelled`; an answer to an elicitation
has an `action`; whatever else the agent asked is answered by any reply. All others, errors among them, are abstentions.

An elicitation that is a single choice has options, too: a client that cannot show forms is asked for a permission
instead, and its choice is converted back to the form's answer.
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
from trio_broker.protocol.elicitation.form import ACCEPT, CANCEL, DECLINE, FORM, Form
from trio_broker.protocol.jsonrpc import Message
from trio_broker.protocol.pending import Reply
from trio_broker.session.tool_calls import ToolCall

PERMISSION = "session/request_permission"
ELICITATION = "elicitation/create"
HELD = (PERMISSION, ELICITATION)  # a person can answer these from anywhere, so they can wait for one
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


def elicitation_answer(action: str, option_id: str | None = None, **content: Any) -> Answer:
    """The answer to an elicitation; `option_id`: the option that stands for it."""
    return Answer(action, jsonrpc.encode({"action": action, **content}), option_id=option_id)


@attrs.define(eq=False)
class AgentRequest:
    """One open request of the agent. `params`: as clients may see them. `call`: the whole tool call of a permission.
    `child_session_id`: the agent's child session that asks; None if the session itself does.

    `id` is unique over all sessions; `number` is that of its event in the log. `asked_clients` has who shows a
    dialog, and under which number; `abstained` who could not answer, or would not.
    """

    message: Message
    params: bytes
    child_session_id: str | None = None
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
    def form(self) -> Form | None:
        """The fields of an elicitation in mode form; None for any other request."""
        return Form.of(self._members.get("requestedSchema")) if self.mode == FORM else None

    @cached_property
    def options(self) -> list[dict[str, Any]]:
        """What a permission offers, or a form that is a single choice; an empty list for any other question."""
        if self.form is not None:
            return self.form.options
        if self.method != PERMISSION:
            return []
        return [unstructure(option) for option in self.permission_request().options]

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
        """How an elicitation wants to be shown; None for any other request. With a schema and no mode, it is a form."""
        if self.method != ELICITATION:
            return None
        mode = self._members.get("mode")
        return FORM if mode is None and "requestedSchema" in self._members else mode

    def as_permission(self, session_id: str | None) -> bytes:
        """The parameters of a permission request that asks for the single choice of a form, in this session."""
        assert self.form is not None, "it has options"
        tool_call = self.form.as_tool_call(f"elicitation-{self.id}", self.title)
        asked = {"sessionId": session_id, "toolCall": tool_call, "options": self.options}
        meta = jsonrpc.decode(self.params).get("_meta")
        return jsonrpc.encode(asked | ({"_meta": meta} if isinstance(meta, dict) else {}))

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
        return self.method != PERMISSION and self.form is None

    def permission_request(self) -> acp.RequestPermissionRequest:
        """A permission, read. Raises BadMessage."""
        return structure(self.message.params, acp.RequestPermissionRequest)

    def parse_reply(self, reply: Reply, method: str | None = None) -> Answer | None:
        """What a client's reply answers; None if that is no answer. `method`: the one it was asked by, if another."""
        if isinstance(reply, BrokerError):
            return None
        if reply.error is not None:
            return None if self.method in HELD else Answer("error", error=reply.error)
        result = reply.result or b"null"
        if PERMISSION in (self.method, method):
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
            return Answer("cancelled", result) if self.form is None else elicitation_answer(CANCEL)
        chosen = self.option(outcome.get("optionId"))
        if outcome.get("outcome") != "selected" or chosen is None:
            return None
        if self.form is not None:
            return self.choose(chosen["optionId"])
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
        if self.form is None:
            return permission_answer(option_id)
        content = self.form.content_of(option_id)
        if content is None:
            return elicitation_answer(DECLINE, option_id)
        return elicitation_answer(ACCEPT, option_id, content=content)

    def decide(self, *, allow: bool, always: bool, content: dict[str, Any] | None = None) -> Answer:
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

    def _act(self, *, allow: bool, content: dict[str, Any] | None) -> Answer:
        if not allow:
            return elicitation_answer(DECLINE)
        if self.form is not None:
            return elicitation_answer(ACCEPT, content=self._filled_in(self.form, content))
        if content is not None:
            raise Misuse(f"ask {self.id} is not a form, so it takes no params.content", **self._choices())
        return elicitation_answer(ACCEPT)

    def _filled_in(self, form: Form, content: dict[str, Any] | None) -> dict[str, Any]:
        """This content, which fits. Raises Misuse; nobody accepts a form with values that they have not given."""
        if content is None:
            as_it_stands = "" if form.unset() else ", or accept it as it stands with --accept"
            raise Misuse(
                f"ask {self.id} is a form: `trio-broker answer {self.id} --field NAME=VALUE` fills it in"
                f"{as_it_stands} (params.content: an object with its fields){_lines(form)}",
                **self._choices(),
            )
        try:
            form.check(content)
        except Misuse as error:
            text = f"ask {self.id}: {error.message}{_lines(form)}"
            raise Misuse(text, **error.details, **self._choices()) from error
        return content

    def dismiss(self) -> Answer:
        """The answer of a person who closes the question without a decision. Raises Misuse."""
        if self.method == ELICITATION:
            return elicitation_answer(CANCEL)
        if self.method == PERMISSION:
            return permission_answer(None)
        raise Misuse(f"ask {self.id} is a {self.method}: only the client that was asked can answer it")

    def refusal(self, outcome: str | None = None) -> Answer:
        """What to tell the agent when nobody answers: never more than "not now"."""
        if self.method == PERMISSION:
            return permission_answer(policy.pick_option(self.options, "reject_once"), outcome)
        if self.method == ELICITATION:
            return attrs.evolve(elicitation_answer(CANCEL), outcome=outcome or CANCEL)
        return self.no_client_answer()

    def no_client_answer(self) -> Answer:
        """What to tell the agent when there is nobody who could answer this kind of question."""
        if (
            self.method == ELICITATION
        ):  # ACP: a mode that was not offered is an error, not a refusal of the user
            text = f"params.mode: expected form or url, not {jsonrpc.encode(self.mode).decode()[:100]}"
            return Answer("refused", error=jsonrpc.error_object(jsonrpc.INVALID_PARAMS, text))
        text = f"Method not found: {self.method}"
        return Answer("refused", error=jsonrpc.error_object(jsonrpc.METHOD_NOT_FOUND, text))

    def withdrawal(self) -> Answer:
        """What to tell the agent when the question has become pointless: its turn is cancelled, or it ends."""
        if self.method == PERMISSION:
            return permission_answer(None, "withdrawn")
        if self.method == ELICITATION:
            return attrs.evolve(elicitation_answer(CANCEL), outcome="withdrawn")
        return Answer("withdrawn", error=jsonrpc.error_object(CANCELLED_CALL, "Request cancelled"))

    def _choices(self) -> dict[str, Any]:
        return {"askId": self.id, "options": self.options}

    def _offered(self) -> str:
        offered = ", ".join(f"{one['optionId']} ({one['name']}, {one['kind']})" for one in self.options)
        return f"it offers {offered or 'none'}"


def _lines(form: Form) -> str:
    return f"\n{form.summary()}" if form.fields else ""


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
