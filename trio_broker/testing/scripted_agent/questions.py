"""The actions of a turn that ask: permission requests of every form, and elicitations."""

from __future__ import annotations

import json
from typing import Any

from trio_broker.testing.scripted_agent.stdio import Json, PendingResponse, text_block
from trio_broker.testing.scripted_agent.turn import KINDS, BaseTurn, error_text

ALL_KINDS = (*KINDS, "switch_mode", "other")
CHILD = "child-1"  # the session of a subagent
CHOICES = ("red", "green", "blue")
SIZES = [{"const": "s", "title": "Small"}, {"const": "l", "title": "Large"}]
FORM: Json = {
    "name": {
        "type": "string",
        "title": "Name",
        "description": "Of the branch",
        "minLength": 1,
        "maxLength": 40,
    },
    "count": {"type": "integer", "title": "Count", "minimum": 1, "maximum": 9, "default": 3},
    "ratio": {"type": "number", "title": "Ratio", "minimum": 0, "maximum": 1},
    "force": {"type": "boolean", "title": "Force", "default": False},
    "color": {"type": "string", "title": "Color", "enum": [*CHOICES], "default": "green"},
    "size": {"type": "string", "title": "Size", "oneOf": SIZES},
    "tags": {
        "type": "array",
        "title": "Tags",
        "items": {"type": "string", "enum": ["a", "b", "c"]},
        "maxItems": 2,
    },
}


class Questions(BaseTurn):
    """A turn that can ask. Every question is followed by what came back, as a piece of the answer."""

    # permission requests

    def do_options(self, text: str) -> None:
        """`options JSON`: the options of the session's permission requests from now on."""
        self.session.permission_options = json.loads(text)

    def do_ask(self, title: str) -> None:
        self._request_permission(title)

    def do_collide(self, rest: str) -> None:
        """`collide [TITLE]`: an ask under the very id of the prompt."""
        self._request_permission(rest or "collide", self.id)

    def do_string_id_ask(self, rest: str) -> None:
        self._request_permission(rest or "string id", f"ask-{self.calls}")

    def _request_permission(self, title: str, id: object = None) -> None:
        self.say(self.permission(self.tool_call(title), id))

    def do_ask_by_id(self, rest: str) -> None:
        """`ask-by-id [KIND] TITLE`: announced in full, and the request has the id alone."""
        kind, _, title = rest.partition(" ")
        call = self.announce(title, kind) if title and kind in ALL_KINDS else self.announce(rest, "execute")
        self.ask_and_finish(call)

    def do_ask_short(self, title: str) -> None:
        """`ask-short TITLE`: announced in full, and the request has another title and no kind."""
        self.ask_and_finish(self.announce(title), title="Bash")

    def do_ask_as(self, rest: str) -> None:
        """`ask-as KIND1 KIND2 TITLE`: announced as one kind, and the request says another."""
        announced, asked, title = rest.split(maxsplit=2)
        self.ask_and_finish(self.announce(title, announced), title=title, kind=asked)

    def do_ask_updated(self, rest: str) -> None:
        """`ask-updated KIND1 KIND2 TITLE`: an update changes the kind, and the request has the id alone."""
        announced, updated, title = rest.split(maxsplit=2)
        call = self.announce(title, announced)
        self.update("tool_call_update", toolCallId=call["toolCallId"], kind=updated)
        self.ask_and_finish(call)

    def do_ask_raw(self, text: str) -> None:
        """`ask-raw JSON`: this JSON is the toolCall of the request; an object without a toolCallId gets one."""
        call = json.loads(text)
        if isinstance(call, dict):
            call.setdefault("toolCallId", self.tool_call("raw")["toolCallId"])
        self.say(self.permission(call))

    def do_ask_many(self, rest: str) -> None:
        """`ask-many N TITLE`: N requests that are open together; says all answers when the last one is here."""
        count, title = rest.split(maxsplit=1)
        calls = [self.tool_call(f"{title} {number}") for number in range(1, int(count) + 1)]
        pending = [self.begin_permission(call) for call in calls]
        self.say(", ".join(chosen(one.wait()) for one in pending))

    def do_ask_child(self, title: str) -> None:
        """`ask-child TITLE`: a tool call and its request, both under the id of a child session."""
        call = self.tool_call(title)
        self.connection.update(CHILD, "tool_call", **call)
        answer = chosen(self.begin_permission(call, session=CHILD).wait())
        status = "completed" if self.is_allowed(answer) else "failed"
        id = call["toolCallId"]
        self.connection.update(CHILD, "tool_call_update", toolCallId=id, status=status)
        self.connection.update(CHILD, "agent_message_chunk", content=text_block(f"the child got {answer}"))
        self.say(answer)

    def announce(self, title: str, kind: str = "", **fields: Any) -> Json:
        """Send a new tool call, which is returned; one that executes has its title as the command."""
        call = self.tool_call(title, kind, **fields)
        if call["kind"] == "execute":
            call.setdefault("rawInput", {"command": title})
        self.update("tool_call", **call)
        return call

    def ask_and_finish(self, call: Json, **members: object) -> None:
        """Ask with the id of a tool call and these members only; it is completed, or has failed, as was chosen."""
        id = call["toolCallId"]
        answer = self.permission({"toolCallId": id, **members})
        self.update(
            "tool_call_update", toolCallId=id, status="completed" if self.is_allowed(answer) else "failed"
        )
        self.say(answer)

    def permission(self, call: object, id: object = None) -> str:
        """The id of the option that was chosen for a tool call; else `cancelled`, or the error."""
        return chosen(self.begin_permission(call, id).wait())

    def begin_permission(
        self, call: object, id: object = None, *, session: str = "", options: object = None
    ) -> PendingResponse:
        """Send the request; `chosen` makes a word of its response. It has the session's id and options by default."""
        params = {
            "sessionId": session or self.session.id,
            "toolCall": call,
            "options": options or self.session.permission_options,
        }
        return self.connection.begin_request("session/request_permission", params, id)

    def is_allowed(self, answer: str) -> bool:
        """Whether this is the id of an option that allows."""
        options = self.session.permission_options
        found = [one for one in options if isinstance(one, dict)] if isinstance(options, list) else []
        return any(
            one.get("optionId") == answer and str(one.get("kind")).startswith("allow") for one in found
        )

    # elicitations

    def do_elicit(self, _: str) -> None:
        self._elicit_form("Your name?", {"name": {"type": "string"}}, "name")

    def do_elicit_choice(self, _: str) -> None:
        self._elicit_form("Which color?", {"color": {"type": "string", "enum": [*CHOICES]}}, "color")

    def do_elicit_boolean(self, _: str) -> None:
        self._elicit_form("Go on?", {"go": {"type": "boolean", "title": "Go on"}}, "go")

    def do_elicit_form(self, _: str) -> None:
        self._elicit_form("Some details, please.", FORM, "name", "force")

    def do_elicit_url(self, url: str) -> None:
        """`elicit-url URL`: asks to open it; once that is accepted, says that it is complete."""
        id = "elicitation-1"
        response = self._elicit({"mode": "url", "message": "Please log in.", "elicitationId": id, "url": url})
        if (response.get("result") or {}).get("action") == "accept":
            self.connection.notify("elicitation/complete", {"elicitationId": id})

    def do_elicit_raw(self, text: str) -> None:
        """`elicit-raw JSON`: this object is the params; without a sessionId it gets the session's."""
        self._elicit(json.loads(text))

    def do_ask_user(self, question: str) -> None:
        """`ask-user QUESTION`: by a form where the client offers forms, else by a permission request."""
        if self.offers("elicitation", "form"):
            form = _form(question, {"answer": {"type": "string", "enum": [*CHOICES]}}, "answer")
            self.say(_answer(self._request_elicitation(form)))
            return
        options = [{"optionId": one, "name": one.title(), "kind": "allow_once"} for one in CHOICES]
        self.say(chosen(self.begin_permission(self.tool_call(question, "other"), options=options).wait()))

    def _elicit_form(self, message: str, properties: Json, *required: str) -> None:
        self._elicit(_form(message, properties, *required))

    def _elicit(self, params: Json) -> Json:
        response = self._request_elicitation(params)
        self.say(json.dumps(response["result"]) if "result" in response else error_text(response))
        return response

    def _request_elicitation(self, params: Json) -> Json:
        return self.connection.request("elicitation/create", {"sessionId": self.session.id, **params})

    # others

    def do_unknown_request(self, _: str) -> None:
        self.say(error_text(self.connection.request("_x/unknown", {"sessionId": self.session.id})))


def chosen(response: Json) -> str:
    """What was chosen for a permission request: the option's id, `cancelled`, or the error."""
    outcome = (response.get("result") or {}).get("outcome") or {}
    return outcome.get("optionId") or outcome.get("outcome") or error_text(response)


def _form(message: str, properties: Json, *required: str) -> Json:
    schema = {"type": "object", "properties": properties, "required": [*required]}
    return {"mode": "form", "message": message, "requestedSchema": schema}


def _answer(response: Json) -> str:
    """What was answered to the form of `ask-user`: the choice, the action, or the error."""
    result = response.get("result")
    if not isinstance(result, dict):
        return error_text(response)
    content = result.get("content")
    return str(content.get("answer")) if isinstance(content, dict) else str(result.get("action"))
