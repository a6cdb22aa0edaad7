"""Turns: prompts and their end, cancels, and questions for permission."""

from __future__ import annotations

from trio_broker.testing.check.base import ACP, TOO_SHORT, Check, CheckContext
from trio_broker.testing.check.conversation import Conversation, Direction, Json, option_of_kind, text_blocks
from trio_broker.testing.check.outcomes import Failed, Unsupported, Untried
from trio_broker.testing.check.suite.sessions import UNKNOWN_ID

TURN, TOOLS, CONTENT = f"{ACP}prompt-turn", f"{ACP}tool-calls", f"{ACP}content"
CANCELLING = f"{TURN}#cancellation"
LONGER_HINT = "; if it was over anyway, give a longer --prompt-long"
TRIES = 6  # to cancel a turn that is over soon
REQUIRED_PROOFS = 2  # turns that ran on after the cancel was read: one may have been ending just then
REASONS = ("end_turn", "max_tokens", "max_turn_requests", "refusal", "cancelled")


async def wait_ended(conversation: Conversation, prompt: object) -> str:
    """The stop reason of a turn that nobody cancelled. Raises Failed."""
    reason = await conversation.stop_reason(prompt)
    if reason not in REASONS:
        raise Failed(f"stopReason {reason!r} is none of {', '.join(REASONS)}")
    if reason == "cancelled":
        raise Failed("the turn ended as cancelled, and nobody had cancelled it")
    return reason


async def reply(context: CheckContext) -> str:
    async with context.session() as conversation:
        reason = await wait_ended(conversation, await conversation.prompt(context.settings.prompt))
        await context.wait_quiet()
        return f"{len(conversation.updates())} updates, then {reason}"


async def again(context: CheckContext) -> str:
    async with context.session() as conversation:
        for _ in range(2):
            await wait_ended(conversation, await conversation.prompt(context.settings.prompt))
    return ""


async def link(context: CheckContext) -> str:
    file = {"type": "resource_link", "uri": f"file://{context.settings.cwd}/check.txt", "name": "check.txt"}
    async with context.session() as conversation:
        params = {"sessionId": conversation.session, "prompt": [*text_blocks(context.settings.prompt), file]}
        await wait_ended(conversation, await conversation.request("session/prompt", params))
    return ""


async def cancel(context: CheckContext) -> str:
    async with context.session() as conversation:
        try:
            prompt = await context.long_turn(conversation)
        except Untried:
            return await _cancel_soon(conversation, context)
        await conversation.notify("session/cancel", {"sessionId": conversation.session})
        await check_cancelled(conversation, prompt)
        await context.wait_quiet()
    return ""


async def _cancel_soon(conversation: Conversation, context: CheckContext) -> str:
    """Cancel short turns, in turn at their first sign and at once.

    A request goes behind each cancel. If it is answered before the prompt is, the turn was running when the cancel was
    read, and has to end as cancelled. If not, nothing was shown: the agent may have been done before it read on.
    """
    ignored = 0
    for attempt in range(TRIES):
        prompt = await conversation.prompt(context.settings.long)
        if attempt % 2 == 0:
            await context.wait_turn_started(conversation, prompt)
        await conversation.notify("session/cancel", {"sessionId": conversation.session})
        behind = await conversation.request("_trio_broker_check/alive")
        await conversation.reply(behind, "a request behind session/cancel")
        answer = await conversation.reply(prompt, "session/prompt after session/cancel")
        if "result" in answer and await conversation.stop_reason(prompt) == "cancelled":
            await context.wait_quiet()
            return "soon after its beginning"
        answered = [
            one.get("id")
            for one in (
                frame.message for frame in conversation.frames if frame.direction is Direction.RECEIVED
            )
            if isinstance(one, dict) and "method" not in one
        ]
        ignored += answered.index(behind) < answered.index(prompt)
        if ignored == REQUIRED_PROOFS:
            await check_cancelled(conversation, prompt, ", and it was running when the cancel was read")
    raise Untried(TOO_SHORT, "--prompt-long")


async def check_cancelled(conversation: Conversation, prompt: object, hint: str = LONGER_HINT) -> None:
    """See that a turn ends as cancelled; the hint goes behind what is wrong. Raises Failed."""
    answer = await conversation.reply(prompt, "session/prompt after session/cancel")
    if "error" in answer:
        raise Failed(f"the cancelled turn was answered with an error: {answer['error']}")
    reason = await conversation.stop_reason(prompt)
    if reason != "cancelled":
        raise Failed(f"the cancelled turn ended with {reason}{hint}")


async def cancel_next(context: CheckContext) -> str:
    async with context.session() as conversation:
        prompt = await context.long_turn(conversation)
        await conversation.notify("session/cancel", {"sessionId": conversation.session})
        await conversation.reply(prompt, "session/prompt after session/cancel")
        await wait_ended(conversation, await conversation.prompt(context.settings.prompt))
    return ""


async def cancel_idle(context: CheckContext) -> str:
    async with context.session() as conversation:
        since = len(conversation.frames)
        await conversation.notify("session/cancel", {"sessionId": conversation.session})
        await conversation.check_alive("a cancel while nothing ran")
        await context.wait_quiet()
        await wait_ended(conversation, await conversation.prompt(context.settings.prompt))
        _check_unanswered(conversation, since)
    return ""


async def cancel_unknown(context: CheckContext) -> str:
    async with context.ready() as conversation:
        since = len(conversation.frames)
        await conversation.notify("session/cancel", {"sessionId": UNKNOWN_ID})
        await conversation.check_alive("a cancel for a session that does not exist")
        await context.wait_quiet()
        _check_unanswered(conversation, since)
    return ""


def _check_unanswered(conversation: Conversation, since: int) -> None:
    messages = [frame.message for frame in conversation.frames[since:] if isinstance(frame.message, dict)]
    if any("method" not in one and one.get("id") is None and "error" in one for one in messages):
        raise Failed("session/cancel is a notification, and was answered")


async def cancel_other(context: CheckContext) -> str:
    """A cancel is of one session, and another's turn is not its business."""
    async with context.session() as conversation:
        one = conversation.session
        await conversation.new_session(context.settings.cwd)
        prompt = await context.long_turn(conversation)
        await conversation.notify("session/cancel", {"sessionId": one})
        await conversation.check_alive("a cancel")
        await context.wait_quiet()
        if context.answered(conversation, prompt):
            raise Failed("the cancel of one session ended the turn of another")
        await conversation.notify("session/cancel", {"sessionId": conversation.session})
        await conversation.reply(prompt, "session/prompt after session/cancel")
    return ""


async def allow(context: CheckContext) -> str:
    return await _answer_with(context, "allow")


async def reject(context: CheckContext) -> str:
    return await _answer_with(context, "reject")


async def _answer_with(context: CheckContext, kind: str) -> str:
    async with context.session() as conversation:
        conversation.permit = _leave_open
        prompt = await conversation.prompt(context.settings.ask)
        asked = await _permission_request(conversation, context, prompt)
        chosen = option_of_kind(options_of(asked), f"{kind}_once") or option_of_kind(options_of(asked), kind)
        if chosen is None:
            raise Unsupported(f"it asks, but offers no option to {kind}")
        conversation.permit = lambda options: option_of_kind(options, kind)
        since = len(conversation.frames)
        await conversation.choose(asked, chosen)
        reason = await conversation.stop_reason(prompt)
        if reason not in REASONS:
            raise Failed(f"stopReason {reason!r} is none of {', '.join(REASONS)}")
        if kind == "reject" and _was_done(conversation, asked, since):
            raise Failed(
                f"option {chosen!r} was chosen, and the tool call was told as completed all the same"
            )
        return f"option {chosen!r} was chosen, and the turn ended with {reason}"


def _was_done(conversation: Conversation, asked: Json, since: int) -> bool:
    """Whether the tool call that was asked about was told as completed, which is: with success."""
    call = asked["params"].get("toolCall")
    id = call.get("toolCallId") if isinstance(call, dict) else None
    return any(
        one.get("toolCallId") == id and one.get("status") == "completed"
        for one in conversation.updates(since=since)
    )


async def ask_cancelled(context: CheckContext) -> str:
    async with context.session() as conversation:
        conversation.permit = _leave_open
        prompt = await conversation.prompt(context.settings.ask)
        asked = await _permission_request(conversation, context, prompt)
        await conversation.notify("session/cancel", {"sessionId": conversation.session})
        await conversation.choose(asked, "")
        conversation.permit = lambda _: ""
        await check_cancelled(conversation, prompt, "")
    return ""


async def _permission_request(conversation: Conversation, context: CheckContext, prompt: object) -> Json:
    """The question that the turn comes to. Raises Untried if there is none, Failed if it can't be answered."""
    asked = await conversation.wait_for(
        lambda: (
            conversation.agent_request("session/request_permission")
            or ({} if context.answered(conversation, prompt) else None)
        ),
        "question or end of the turn",
    )
    if not asked:
        raise Untried("it asked nothing; give a prompt that makes it ask with --prompt-ask", "--prompt-ask")
    params = asked.get("params")
    if not isinstance(params, dict) or params.get("sessionId") != conversation.session:
        raise Failed("the question names another session, or none")
    ids = [one.get("optionId") for one in options_of(asked)]
    if not ids:
        raise Failed("the question has no options")
    if len(set(map(str, ids))) != len(ids):
        raise Failed("two options of the question have the same optionId")
    await context.wait_quiet()
    if context.answered(conversation, prompt):
        raise Failed("the turn ended while its question was open: no answer was waited for")
    since = next(index for index, frame in enumerate(conversation.frames) if frame.message is asked)
    if _was_done(conversation, asked, since):
        raise Failed("the tool call was told as completed while its question was open")
    return asked


def options_of(asked: Json) -> list[Json]:
    options = asked["params"].get("options")
    return [one for one in options if isinstance(one, dict)] if isinstance(options, list) else []


def _leave_open(options: list[Json]) -> str | None:
    return None


CHECKS = (
    Check("prompt.reply", "a prompt is answered with a stop reason when its turn is over", TURN, reply),
    Check("prompt.again", "a session takes one prompt after another", TURN, again),
    Check("prompt.link", "a prompt may have a resource_link in it", CONTENT, link),
    Check(
        "cancel.turn", "a cancelled turn ends with stop reason cancelled, and no error", CANCELLING, cancel
    ),
    Check("cancel.next", "after a cancel the session takes the next prompt", CANCELLING, cancel_next),
    Check(
        "cancel.idle",
        "a cancel while nothing runs does nothing, also to the next turn",
        CANCELLING,
        cancel_idle,
    ),
    Check(
        "cancel.unknown",
        "a cancel for a session that does not exist does nothing",
        CANCELLING,
        cancel_unknown,
    ),
    Check("cancel.other", "a cancel does not touch the turn of another session", CANCELLING, cancel_other),
    Check("ask.allow", "a question is answered with yes, and the turn goes on to its end", TOOLS, allow),
    Check("ask.reject", "a question is answered with no, and the turn goes on to its end", TOOLS, reject),
    Check(
        "ask.cancel", "a turn that is cancelled at a question ends as cancelled", CANCELLING, ask_cancelled
    ),
)
