"""Questions that need a capability of the client: forms, and commands in its terminals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from trio_broker.testing.check import schema
from trio_broker.testing.check.base import ACP, Check, CheckContext
from trio_broker.testing.check.conversation import Conversation, Json
from trio_broker.testing.check.outcomes import Failed, Unsupported
from trio_broker.testing.check.suite.turns import CANCELLING, check_cancelled, wait_ended

ELICITATION, TERMINALS = f"{ACP}elicitation", f"{ACP}terminals"
CREATE = "elicitation/create"
FORMS: Json = {"elicitation": {"form": {}}}
NO_FORMS: tuple[Json, ...] = ({"elicitation": {}}, {"elicitation": {"form": None, "url": {}}})
SAMPLES = {
    "email": "somebody@example.org",
    "uri": "https://example.org/",
    "date": "2026-12-01",
    "date-time": "2026-12-01T12:00:00Z",
}


async def accept(context: CheckContext) -> str:
    return await _answer_with(context, _accepted)


async def decline(context: CheckContext) -> str:
    return await _answer_with(context, _declined)


def _accepted(params: Json) -> Json:
    """The answer to a form; whatever else was sent is declined."""
    if params.get("mode") != "form" or schema.problems(params, "CreateElicitationRequest"):
        return _declined(params)
    return {"action": "accept", "content": filled(params)}


def _declined(_: Json) -> Json:
    return {"action": "decline"}


async def _answer_with(context: CheckContext, answer: Callable[[Json], Json]) -> str:
    async with context.session(FORMS) as conversation:
        asked, prompt = await _form(conversation, context)
        conversation.serves[CREATE] = answer
        await conversation.send({"id": asked["id"], "result": answer(asked["params"])})
        reason = await wait_ended(conversation, prompt)
        return f"the turn ended with {reason}"


async def form_cancelled(context: CheckContext) -> str:
    async with context.session(FORMS) as conversation:
        asked, prompt = await _form(conversation, context)
        conversation.serves[CREATE] = lambda _: {"action": "cancel"}
        conversation.permit = lambda _: ""
        await conversation.notify("session/cancel", {"sessionId": conversation.session})
        await conversation.send({"id": asked["id"], "result": {"action": "cancel"}})
        await check_cancelled(conversation, prompt, "")
    return ""


async def unoffered(context: CheckContext) -> str:
    """`{}` offers no mode at all, and one mode does not offer the other."""
    for capabilities in NO_FORMS:
        async with context.session(capabilities) as conversation:
            prompt = await conversation.prompt(context.settings.elicit)
            await wait_ended(conversation, prompt)
            asked = conversation.agent_request(CREATE)
            if asked is not None and _mode(asked) == "form":
                raise Failed(f"it sent a form, and the client offered only {capabilities}")
            asks = conversation.agent_request("session/request_permission") is not None
    return "it asked for a permission instead" if asks else "it asked nothing"


async def _form(conversation: Conversation, context: CheckContext) -> tuple[Json, object]:
    """The form that a turn comes to, and the id of the prompt. Raises Unsupported if there is none, and Failed."""
    conversation.serves[CREATE] = lambda _: None
    prompt = await conversation.prompt(context.settings.elicit)
    asked = await conversation.wait_for(
        lambda: (
            conversation.agent_request(CREATE) or ({} if context.answered(conversation, prompt) else None)
        ),
        "form or end of the turn",
    )
    if not asked:
        raise Unsupported("it asked by no form; if it can, give a prompt that makes it with --prompt-elicit")
    if _mode(asked) != "form":
        raise Failed(f"it sent mode {_mode(asked)!r}, and the client offered only forms")
    if found := schema.problems(asked["params"], "CreateElicitationRequest"):
        raise Failed(f"the form can't be filled in: {found[0]}")
    await context.wait_quiet()
    if context.answered(conversation, prompt):
        raise Failed("the turn ended while its form was open: no answer was waited for")
    return asked, prompt


def _mode(asked: Json) -> object:
    params = asked.get("params")
    return params.get("mode") if isinstance(params, dict) else None


def filled(form: Json) -> Json:
    """Content for a form that fits the schema of ACP. A field is left out if nothing is known to fit it."""
    fields: Json = form["requestedSchema"].get("properties") or {}
    values = {name: _value(field) for name, field in fields.items()}
    return {name: value for name, value in values.items() if value is not None}


def _value(field: Json) -> Any:
    if field.get("default") is not None:
        return field["default"]
    match field.get("type"):
        case "boolean":
            return True
        case "integer" | "number":
            least, most = field.get("minimum"), field.get("maximum")
            return least if least is not None else 1 if most is None else min(1, most)
        case "array":
            return _choices(field.get("items") or {})[: field.get("minItems") or 1][: field.get("maxItems")]
        case "string":
            return (_choices(field) or [_text(field)])[0]
    return None


def _choices(field: Json) -> list[Any]:
    titled = field.get("oneOf") or field.get("anyOf") or []
    return [*(field.get("enum") or []), *(one.get("const") for one in titled)]


def _text(field: Json) -> str | None:
    if field.get("pattern") is not None:
        return None
    text = SAMPLES.get(str(field.get("format")), "ok")
    return text.ljust(field.get("minLength") or 0, "k")[: field.get("maxLength")]


@attrs.define(eq=False)
class Terminals:
    """Terminals that run nothing: each command has ended well, without a word, as soon as it is created."""

    created: list[str] = attrs.field(factory=list)
    released: list[str] = attrs.field(factory=list)
    misused: str = ""

    def serve(self, conversation: Conversation) -> None:
        ended = {"exitCode": 0}
        shown = {"output": "", "truncated": False, "exitStatus": ended}
        conversation.serves["terminal/create"] = self._create
        for method, result in (("output", shown), ("wait_for_exit", ended), ("kill", {}), ("release", {})):
            conversation.serves[f"terminal/{method}"] = self._use(f"terminal/{method}", result)

    def _create(self, _: Json) -> Json:
        self.created.append(f"terminal-{len(self.created) + 1}")
        return {"terminalId": self.created[-1]}

    def _use(self, method: str, result: Json) -> Callable[[Json], Json]:
        def use(params: Json) -> Json:
            terminal = str(params.get("terminalId"))
            if terminal not in self.created:
                self.misused = self.misused or f"{method} of {terminal}, which was not created"
            elif terminal in self.released:
                self.misused = self.misused or f"{method} of {terminal}, which was released before"
            if method == "terminal/release":
                self.released.append(terminal)
            return result

        return use


async def release(context: CheckContext) -> str:
    terminals = Terminals()
    async with context.session({"terminal": True}) as conversation:
        terminals.serve(conversation)
        await wait_ended(conversation, await conversation.prompt(context.settings.terminal))
        await context.wait_quiet()
    if not terminals.created:
        words = (
            "it used no terminal of the client; if it can, give a prompt that makes it with --prompt-terminal"
        )
        raise Unsupported(words)
    if terminals.misused:
        raise Failed(terminals.misused)
    if left := [one for one in terminals.created if one not in terminals.released]:
        raise Failed(f"the turn is over, and {', '.join(left)} was not released")
    return f"{len(terminals.created)} created and released"


CHECKS = (
    Check("elicitation.accept", "a form is filled in, and the turn goes on to its end", ELICITATION, accept),
    Check("elicitation.decline", "a form is declined, and the turn goes on to its end", ELICITATION, decline),
    Check(
        "elicitation.cancel",
        "a turn that is cancelled at a form ends as cancelled",
        CANCELLING,
        form_cancelled,
    ),
    Check(
        "elicitation.unoffered",
        "a client that offers no forms gets none, and the turn goes on to its end",
        f"{ELICITATION}#checking-support",
        unoffered,
    ),
    Check(
        "terminal.release", "each terminal of a turn is released, and not used after that", TERMINALS, release
    ),
)
