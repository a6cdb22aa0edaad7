"""Turns: prompts and their end, cancels, and questions for permission."""

from __future__ import annotations

from trio_broker.testing.check.base import ACP, TOO_SHORT, Bench, Check
from trio_broker.testing.check.conversation import Conversation, Json, Way, blocks, of_kind
from trio_broker.testing.check.outcomes import Failed, Unsupported, Untried
from trio_broker.testing.check.suite.sessions import NOBODY

TURN, TOOLS, CONTENT = f"{ACP}prompt-turn", f"{ACP}tool-calls", f"{ACP}content"
CANCELLING = f"{TURN}#cancellation"
LONGER = "; if it was over anyway, give a longer --prompt-long"
TRIES = 6  # to cancel a turn that is over soon
PROOFS = 2  # turns that ran on after the cancel was read: one may have been ending just then
REASONS = ("end_turn", "max_tokens", "max_turn_requests", "refusal", "cancelled")


async def ended(talk: Conversation, prompt: object) -> str:
    """The stop reason of a turn that nobody cancelled. Raises Failed."""
    reason = await talk.stop_reason(prompt)
    if reason not in REASONS:
        raise Failed(f"stopReason {reason!r} is none of {', '.join(REASONS)}")
    if reason == "cancelled":
        raise Failed("the turn ended as cancelled, and nobody had cancelled it")
    return reason


async def reply(bench: Bench) -> str:
    async with bench.session() as talk:
        reason = await ended(talk, await talk.prompt(bench.settings.prompt))
        await bench.settle()
        return f"{len(talk.updates())} updates, then {reason}"


async def again(bench: Bench) -> str:
    async with bench.session() as talk:
        for _ in range(2):
            await ended(talk, await talk.prompt(bench.settings.prompt))
    return ""


async def link(bench: Bench) -> str:
    file = {"type": "resource_link", "uri": f"file://{bench.settings.cwd}/check.txt", "name": "check.txt"}
    async with bench.session() as talk:
        params = {"sessionId": talk.session, "prompt": [*blocks(bench.settings.prompt), file]}
        await ended(talk, await talk.request("session/prompt", params))
    return ""


async def cancel(bench: Bench) -> str:
    async with bench.session() as talk:
        try:
            prompt = await bench.long_turn(talk)
        except Untried:
            return await _cancel_soon(talk, bench)
        await talk.notify("session/cancel", {"sessionId": talk.session})
        await _cancelled(talk, prompt)
        await bench.settle()
    return ""


async def _cancel_soon(talk: Conversation, bench: Bench) -> str:
    """Cancel short turns, in turn at their first sign and at once.

    A request goes behind each cancel. If it is answered before the prompt is, the turn was running when the cancel was
    read, and has to end as cancelled. If not, nothing was shown: the agent may have been done before it read on.
    """
    ignored = 0
    for attempt in range(TRIES):
        prompt = await talk.prompt(bench.settings.long)
        if attempt % 2 == 0:
            await bench.begun(talk, prompt)
        await talk.notify("session/cancel", {"sessionId": talk.session})
        behind = await talk.request("_trio_broker_check/alive")
        await talk.reply(behind, "a request behind session/cancel")
        answer = await talk.reply(prompt, "session/prompt after session/cancel")
        if "result" in answer and await talk.stop_reason(prompt) == "cancelled":
            await bench.settle()
            return "soon after its beginning"
        answered = [
            one.get("id")
            for one in (frame.message for frame in talk.frames if frame.way is Way.CAME)
            if isinstance(one, dict) and "method" not in one
        ]
        ignored += answered.index(behind) < answered.index(prompt)
        if ignored == PROOFS:
            await _cancelled(talk, prompt, ", and it was running when the cancel was read")
    raise Untried(TOO_SHORT, "--prompt-long")


async def _cancelled(talk: Conversation, prompt: object, hint: str = LONGER) -> None:
    answer = await talk.reply(prompt, "session/prompt after session/cancel")
    if "error" in answer:
        raise Failed(f"the cancelled turn was answered with an error: {answer['error']}")
    reason = await talk.stop_reason(prompt)
    if reason != "cancelled":
        raise Failed(f"the cancelled turn ended with {reason}{hint}")


async def cancel_next(bench: Bench) -> str:
    async with bench.session() as talk:
        prompt = await bench.long_turn(talk)
        await talk.notify("session/cancel", {"sessionId": talk.session})
        await talk.reply(prompt, "session/prompt after session/cancel")
        await ended(talk, await talk.prompt(bench.settings.prompt))
    return ""


async def cancel_idle(bench: Bench) -> str:
    async with bench.session() as talk:
        since = len(talk.frames)
        await talk.notify("session/cancel", {"sessionId": talk.session})
        await talk.alive("a cancel while nothing ran")
        await bench.settle()
        await ended(talk, await talk.prompt(bench.settings.prompt))
        _unanswered(talk, since)
    return ""


async def cancel_unknown(bench: Bench) -> str:
    async with bench.ready() as talk:
        since = len(talk.frames)
        await talk.notify("session/cancel", {"sessionId": NOBODY})
        await talk.alive("a cancel for a session that does not exist")
        await bench.settle()
        _unanswered(talk, since)
    return ""


def _unanswered(talk: Conversation, since: int) -> None:
    messages = [frame.message for frame in talk.frames[since:] if isinstance(frame.message, dict)]
    if any("method" not in one and one.get("id") is None and "error" in one for one in messages):
        raise Failed("session/cancel is a notification, and was answered")


async def cancel_other(bench: Bench) -> str:
    """A cancel is of one session, and another's turn is not its business."""
    async with bench.session() as talk:
        one = talk.session
        await talk.new_session(bench.settings.cwd)
        prompt = await bench.long_turn(talk)
        await talk.notify("session/cancel", {"sessionId": one})
        await talk.alive("a cancel")
        await bench.settle()
        if bench.answered(talk, prompt):
            raise Failed("the cancel of one session ended the turn of another")
        await talk.notify("session/cancel", {"sessionId": talk.session})
        await talk.reply(prompt, "session/prompt after session/cancel")
    return ""


async def allow(bench: Bench) -> str:
    return await _answered(bench, "allow")


async def reject(bench: Bench) -> str:
    return await _answered(bench, "reject")


async def _answered(bench: Bench, kind: str) -> str:
    async with bench.session() as talk:
        talk.permit = _nobody
        prompt = await talk.prompt(bench.settings.ask)
        asked = await _question(talk, bench, prompt)
        chosen = of_kind(options_of(asked), f"{kind}_once") or of_kind(options_of(asked), kind)
        if chosen is None:
            raise Unsupported(f"it asks, but offers no option to {kind}")
        talk.permit = lambda options: of_kind(options, kind)
        since = len(talk.frames)
        await talk.choose(asked, chosen)
        reason = await talk.stop_reason(prompt)
        if reason not in REASONS:
            raise Failed(f"stopReason {reason!r} is none of {', '.join(REASONS)}")
        if kind == "reject" and _was_done(talk, asked, since):
            raise Failed(
                f"option {chosen!r} was chosen, and the tool call was told as completed all the same"
            )
        return f"option {chosen!r} was chosen, and the turn ended with {reason}"


def _was_done(talk: Conversation, asked: Json, since: int) -> bool:
    """Whether the tool call that was asked about was told as completed, which is: with success."""
    call = asked["params"].get("toolCall")
    id = call.get("toolCallId") if isinstance(call, dict) else None
    return any(
        one.get("toolCallId") == id and one.get("status") == "completed" for one in talk.updates(since=since)
    )


async def ask_cancelled(bench: Bench) -> str:
    async with bench.session() as talk:
        talk.permit = _nobody
        prompt = await talk.prompt(bench.settings.ask)
        asked = await _question(talk, bench, prompt)
        await talk.notify("session/cancel", {"sessionId": talk.session})
        await talk.choose(asked, "")
        talk.permit = lambda _: ""
        await _cancelled(talk, prompt, "")
    return ""


async def _question(talk: Conversation, bench: Bench, prompt: object) -> Json:
    """The question that the turn comes to. Raises Untried if there is none, Failed if it can't be answered."""
    asked = await talk.until(
        lambda: talk.asked() or ({} if bench.answered(talk, prompt) else None), "question or end of the turn"
    )
    if not asked:
        raise Untried("it asked nothing; give a prompt that makes it ask with --prompt-ask", "--prompt-ask")
    params = asked.get("params")
    if not isinstance(params, dict) or params.get("sessionId") != talk.session:
        raise Failed("the question names another session, or none")
    ids = [one.get("optionId") for one in options_of(asked)]
    if not ids:
        raise Failed("the question has no options")
    if len(set(map(str, ids))) != len(ids):
        raise Failed("two options of the question have the same optionId")
    await bench.settle()
    if bench.answered(talk, prompt):
        raise Failed("the turn ended while its question was open: no answer was waited for")
    return asked


def options_of(asked: Json) -> list[Json]:
    options = asked["params"].get("options")
    return [one for one in options if isinstance(one, dict)] if isinstance(options, list) else []


def _nobody(options: list[Json]) -> str | None:
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
