"""Sessions: made, listed, taken up again, closed; their modes and options."""

from __future__ import annotations

from typing import Any

from trio_broker.testing.check.base import ACP, Check, CheckContext
from trio_broker.testing.check.conversation import Conversation, Json, error_text, text_blocks
from trio_broker.testing.check.outcomes import Failed, Unsupported

SETUP, LIST, SCHEMA = f"{ACP}session-setup", f"{ACP}session-list", f"{ACP}schema"
MODES, OPTIONS = f"{ACP}session-modes", f"{ACP}session-config-options"
UNKNOWN_ID = "trio-broker-check-no-such-session"
PAGES = 200  # of a list, and it has no end
MESSAGE_CHUNKS = ("user_message_chunk", "agent_message_chunk")


async def new(context: CheckContext) -> str:
    async with context.session() as conversation:
        return f"the session is {conversation.session}"


async def unknown(context: CheckContext) -> str:
    async with context.ready() as conversation:
        error = await conversation.expect_error(
            "session/prompt", {"sessionId": UNKNOWN_ID, "prompt": text_blocks("hello")}
        )
        await conversation.check_alive("a prompt for a session that does not exist")
        return f"error {error_text(error)}"


async def two(context: CheckContext) -> str:
    async with context.session() as conversation:
        one = conversation.session
        await conversation.new_session(context.settings.cwd)
        other = conversation.session
        if one == other:
            raise Failed(f"two sessions have one id, {one}")
        prompts = [await conversation.prompt(context.settings.prompt, session) for session in (one, other)]
        for prompt in prompts:
            await conversation.stop_reason(prompt)
        silent = [session for session in (one, other) if not conversation.updates(session)]
        if len(silent) == 1:
            raise Failed(f"all updates were for one of the two sessions, none for {silent[0]}")
    return ""


async def modes(context: CheckContext) -> str:
    async with context.ready() as conversation:
        state = (await conversation.new_session(context.settings.cwd)).get("modes")
        if not isinstance(state, dict):
            raise Unsupported("session/new named no modes")
        known = [mode.get("id") for mode in state.get("availableModes") or [] if isinstance(mode, dict)]
        current = state.get("currentModeId")
        if current not in known:
            raise Failed(f"currentModeId {current!r} is none of availableModes")
        if len(set(known)) != len(known):
            raise Failed("two of availableModes have the same id")
        for mode in [*known, current]:
            await conversation.result("session/set_mode", {"sessionId": conversation.session, "modeId": mode})
        error = await conversation.expect_error(
            "session/set_mode", {"sessionId": conversation.session, "modeId": UNKNOWN_ID}
        )
        return f"{len(known)} modes; one that does not exist: error {error_text(error)}"


async def options(context: CheckContext) -> str:
    async with context.ready() as conversation:
        found = (await conversation.new_session(context.settings.cwd)).get("configOptions")
        selects = [one for one in found or [] if isinstance(one, dict) and one.get("type") == "select"]
        if not selects:
            raise Unsupported("session/new named no options to select from")
        option = selects[0]
        before = option.get("currentValue")
        if before not in (values := _values(option)):
            raise Failed(f"the value of option {option.get('id')} is {before!r}, none of its options")
        for value in [next((one for one in values if one != before), before), before]:
            await _set(conversation, option, value, len(found or []))
        return f"option {option.get('id')}"


def _values(option: Json) -> list[Any]:
    entries = [one for one in option.get("options") or [] if isinstance(one, dict)]
    groups = [inner for one in entries if "group" in one for inner in one.get("options") or []]
    return [one.get("value") for one in groups or entries]


async def _set(conversation: Conversation, option: Json, value: object, number: int) -> None:
    params = {"sessionId": conversation.session, "configId": option.get("id"), "value": value}
    result = await conversation.result("session/set_config_option", params)
    after = result.get("configOptions")
    if not isinstance(after, list):
        raise Failed("session/set_config_option was answered without configOptions")
    if len(after) < number:
        raise Failed(f"{len(after)} of {number} options were answered, and it must be all of them")
    now = [
        one.get("currentValue")
        for one in after
        if isinstance(one, dict) and one.get("id") == option.get("id")
    ]
    if now != [value]:
        raise Failed(f"option {option.get('id')} was set to {value!r}, and is told as {now}")


async def listed(context: CheckContext) -> str:
    async with context.session() as conversation:
        conversation.require_capability("sessionCapabilities", "list")
        await conversation.stop_reason(await conversation.prompt(context.settings.prompt))
        found = await _list_all(conversation, {"cwd": context.settings.cwd})
        elsewhere = [one.get("cwd") for one in found if one.get("cwd") != context.settings.cwd]
        if elsewhere:
            raise Failed(f"the list for cwd {context.settings.cwd} has a session in {elsewhere[0]!r}")
        ids = [one.get("sessionId") for one in found]
        if len(set(ids)) != len(ids):
            raise Failed("a session is twice in the list")
        known = "it" if conversation.session in ids else "it not"
        return f"{len(ids)} sessions, a new one with a turn behind {known} among them"


async def _list_all(conversation: Conversation, params: Json) -> list[Json]:
    found: list[Json] = []
    for _ in range(PAGES):
        page = await conversation.result("session/list", params)
        sessions = page.get("sessions")
        if not isinstance(sessions, list):
            raise Failed("session/list was answered without sessions")
        found += [one for one in sessions if isinstance(one, dict)]
        if (cursor := page.get("nextCursor")) is None:
            return found
        params = {**params, "cursor": cursor}
    raise Failed(f"session/list has a nextCursor even after {PAGES} pages")


async def load(context: CheckContext) -> str:
    async with context.session() as conversation:
        conversation.require_capability("loadSession")
        session = await _run_turn(conversation, context)
    async with context.ready() as conversation:
        conversation.session = session
        await _reopen(conversation, "session/load", context)
        answered = len(conversation.frames)
        replayed = [one for one in conversation.updates() if one.get("sessionUpdate") in MESSAGE_CHUNKS]
        await context.wait_quiet()
        late = [
            one for one in conversation.updates(since=answered) if one.get("sessionUpdate") in MESSAGE_CHUNKS
        ]
        if late and not replayed:
            raise Failed("the conversation was replayed after the answer to session/load, not before it")
        if not replayed:
            raise Failed("nothing of the conversation was replayed before session/load was answered")
        words = "".join(_text(one) for one in replayed if one["sessionUpdate"] == "user_message_chunk")
        if context.settings.prompt not in words:
            raise Failed("the prompt is not among what was replayed")
        await conversation.stop_reason(await conversation.prompt(context.settings.prompt))
    return f"{len(replayed)} chunks were replayed"


def _text(update: Json) -> str:
    content = update.get("content")
    return str(content.get("text", "")) if isinstance(content, dict) else ""


async def _run_turn(conversation: Conversation, context: CheckContext) -> str:
    """A turn to have something to remember; the session's id."""
    await conversation.stop_reason(await conversation.prompt(context.settings.prompt))
    await context.wait_quiet()
    return conversation.session


async def _reopen(conversation: Conversation, method: str, context: CheckContext) -> None:
    params = {"sessionId": conversation.session, "cwd": context.settings.cwd, "mcpServers": []}
    await conversation.result(method, params)


async def load_unknown(context: CheckContext) -> str:
    async with context.ready() as conversation:
        conversation.require_capability("loadSession")
        params = {"sessionId": UNKNOWN_ID, "cwd": context.settings.cwd, "mcpServers": []}
        return f"error {error_text(await conversation.expect_error('session/load', params))}"


async def resume(context: CheckContext) -> str:
    async with context.session() as conversation:
        conversation.require_capability("sessionCapabilities", "resume")
        session = await _run_turn(conversation, context)
    async with context.ready() as conversation:
        conversation.session = session
        await _reopen(conversation, "session/resume", context)
        if any(one.get("sessionUpdate") in MESSAGE_CHUNKS for one in conversation.updates()):
            raise Failed("the conversation was replayed before session/resume was answered, as only load may")
        await conversation.stop_reason(await conversation.prompt(context.settings.prompt))
    return ""


async def close(context: CheckContext) -> str:
    async with context.session() as conversation:
        conversation.require_capability("sessionCapabilities", "close")
        await conversation.result("session/close", {"sessionId": conversation.session})
        await conversation.expect_error(
            "session/prompt",
            {"sessionId": conversation.session, "prompt": text_blocks(context.settings.prompt)},
        )
        await conversation.check_alive("session/close")
    return ""


async def close_running(context: CheckContext) -> str:
    async with context.session() as conversation:
        conversation.require_capability("sessionCapabilities", "close")
        prompt = await context.long_turn(conversation)
        await conversation.result("session/close", {"sessionId": conversation.session})
        reason = await conversation.stop_reason(prompt)
        if reason != "cancelled":
            raise Failed(f"the turn that ran ended with {reason}, not cancelled")
    return ""


async def delete(context: CheckContext) -> str:
    async with context.session() as conversation:
        conversation.require_capability("sessionCapabilities", "delete")
        session = await _run_turn(conversation, context)
        await conversation.result("session/delete", {"sessionId": session})
        if conversation.capability("sessionCapabilities", "list") is not None:
            left = [one.get("sessionId") for one in await _list_all(conversation, {})]
            if session in left:
                raise Failed("it was deleted, and is still in the list")
        again = await conversation.call("session/delete", {"sessionId": session})
        if "error" in again:
            raise Failed(f"deleting it once more was answered with error {error_text(again['error'])}")
    return ""


async def delete_keeps(context: CheckContext) -> str:
    """What is gone is gone, and only that."""
    async with context.session() as conversation:
        conversation.require_capability("sessionCapabilities", "delete")
        kept = conversation.session
        await conversation.new_session(context.settings.cwd)
        await conversation.result("session/delete", {"sessionId": conversation.session})
        await conversation.stop_reason(await conversation.prompt(context.settings.prompt, kept))
    return ""


CHECKS = (
    Check("session.new", "session/new gives a session", SETUP, new),
    Check(
        "session.unknown",
        "a prompt for a session that does not exist is refused",
        SCHEMA,
        unknown,
        malformed=True,
    ),
    Check("session.two", "two sessions at once have their own ids, turns and updates", SETUP, two),
    Check("session.modes", "each mode it names can be set, another can't", MODES, modes),
    Check("session.options", "an option it names can be set, and all are told then", OPTIONS, options),
    Check("session.list", "session/list gives the sessions of a directory, page by page", LIST, listed),
    Check("session.load", "session/load replays the whole conversation, then answers", SETUP, load),
    Check(
        "session.load-unknown",
        "a session that does not exist can't be loaded",
        SETUP,
        load_unknown,
        malformed=True,
    ),
    Check("session.resume", "session/resume takes a session up and replays nothing", SETUP, resume),
    Check("session.close", "session/close ends a session: no prompt any more", SETUP, close),
    Check("session.close-running", "session/close cancels the turn that runs", SETUP, close_running),
    Check("session.delete", "session/delete takes it off the list, twice if need be", SCHEMA, delete),
    Check("session.delete-one", "session/delete leaves the others alone", SCHEMA, delete_keeps),
)
