"""Sessions: made, listed, taken up again, closed; their modes and options."""

from __future__ import annotations

from typing import Any

from trio_broker.testing.check.base import ACP, Bench, Check
from trio_broker.testing.check.conversation import Conversation, Json, blocks, words_of
from trio_broker.testing.check.outcomes import Failed, Unsupported

SETUP, LIST, SCHEMA = f"{ACP}session-setup", f"{ACP}session-list", f"{ACP}schema"
MODES, OPTIONS = f"{ACP}session-modes", f"{ACP}session-config-options"
NOBODY = "trio-broker-check-no-such-session"
PAGES = 200  # of a list, and it has no end
SPOKEN = ("user_message_chunk", "agent_message_chunk")


async def new(bench: Bench) -> str:
    async with bench.session() as talk:
        return f"the session is {talk.session}"


async def unknown(bench: Bench) -> str:
    async with bench.ready() as talk:
        error = await talk.refused("session/prompt", {"sessionId": NOBODY, "prompt": blocks("hello")})
        await talk.alive("a prompt for a session that does not exist")
        return f"error {words_of(error)}"


async def two(bench: Bench) -> str:
    async with bench.session() as talk:
        one = talk.session
        await talk.new_session(bench.settings.cwd)
        other = talk.session
        if one == other:
            raise Failed(f"two sessions have one id, {one}")
        prompts = [await talk.prompt(bench.settings.prompt, session) for session in (one, other)]
        for prompt in prompts:
            await talk.stop_reason(prompt)
        silent = [session for session in (one, other) if not talk.updates(session)]
        if len(silent) == 1:
            raise Failed(f"all updates were for one of the two sessions, none for {silent[0]}")
    return ""


async def modes(bench: Bench) -> str:
    async with bench.ready() as talk:
        state = (await talk.new_session(bench.settings.cwd)).get("modes")
        if not isinstance(state, dict):
            raise Unsupported("session/new named no modes")
        known = [mode.get("id") for mode in state.get("availableModes") or [] if isinstance(mode, dict)]
        current = state.get("currentModeId")
        if current not in known:
            raise Failed(f"currentModeId {current!r} is none of availableModes")
        if len(set(known)) != len(known):
            raise Failed("two of availableModes have the same id")
        for mode in [*known, current]:
            await talk.result("session/set_mode", {"sessionId": talk.session, "modeId": mode})
        error = await talk.refused("session/set_mode", {"sessionId": talk.session, "modeId": NOBODY})
        return f"{len(known)} modes; one that does not exist: error {words_of(error)}"


async def options(bench: Bench) -> str:
    async with bench.ready() as talk:
        found = (await talk.new_session(bench.settings.cwd)).get("configOptions")
        selects = [one for one in found or [] if isinstance(one, dict) and one.get("type") == "select"]
        if not selects:
            raise Unsupported("session/new named no options to select from")
        option = selects[0]
        before = option.get("currentValue")
        if before not in (values := _values(option)):
            raise Failed(f"the value of option {option.get('id')} is {before!r}, none of its options")
        for value in [next((one for one in values if one != before), before), before]:
            await _set(talk, option, value, len(found or []))
        return f"option {option.get('id')}"


def _values(option: Json) -> list[Any]:
    entries = [one for one in option.get("options") or [] if isinstance(one, dict)]
    groups = [inner for one in entries if "group" in one for inner in one.get("options") or []]
    return [one.get("value") for one in groups or entries]


async def _set(talk: Conversation, option: Json, value: object, number: int) -> None:
    params = {"sessionId": talk.session, "configId": option.get("id"), "value": value}
    result = await talk.result("session/set_config_option", params)
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


async def listed(bench: Bench) -> str:
    async with bench.session() as talk:
        talk.needs("sessionCapabilities", "list")
        await talk.stop_reason(await talk.prompt(bench.settings.prompt))
        found = await _all(talk, {"cwd": bench.settings.cwd})
        elsewhere = [one.get("cwd") for one in found if one.get("cwd") != bench.settings.cwd]
        if elsewhere:
            raise Failed(f"the list for cwd {bench.settings.cwd} has a session in {elsewhere[0]!r}")
        ids = [one.get("sessionId") for one in found]
        if len(set(ids)) != len(ids):
            raise Failed("a session is twice in the list")
        known = "it" if talk.session in ids else "it not"
        return f"{len(ids)} sessions, a new one with a turn behind {known} among them"


async def _all(talk: Conversation, params: Json) -> list[Json]:
    found: list[Json] = []
    for _ in range(PAGES):
        page = await talk.result("session/list", params)
        sessions = page.get("sessions")
        if not isinstance(sessions, list):
            raise Failed("session/list was answered without sessions")
        found += [one for one in sessions if isinstance(one, dict)]
        if (cursor := page.get("nextCursor")) is None:
            return found
        params = {**params, "cursor": cursor}
    raise Failed(f"session/list has a nextCursor even after {PAGES} pages")


async def load(bench: Bench) -> str:
    async with bench.session() as talk:
        talk.needs("loadSession")
        session = await _told(talk, bench)
    async with bench.ready() as talk:
        talk.session = session
        await _taken_up(talk, "session/load", bench)
        answered = len(talk.frames)
        replayed = [one for one in talk.updates() if one.get("sessionUpdate") in SPOKEN]
        await bench.settle()
        late = [one for one in talk.updates(since=answered) if one.get("sessionUpdate") in SPOKEN]
        if late and not replayed:
            raise Failed("the conversation was replayed after the answer to session/load, not before it")
        if not replayed:
            raise Failed("nothing of the conversation was replayed before session/load was answered")
        words = "".join(_text(one) for one in replayed if one["sessionUpdate"] == "user_message_chunk")
        if bench.settings.prompt not in words:
            raise Failed("the prompt is not among what was replayed")
        await talk.stop_reason(await talk.prompt(bench.settings.prompt))
    return f"{len(replayed)} chunks were replayed"


def _text(update: Json) -> str:
    content = update.get("content")
    return str(content.get("text", "")) if isinstance(content, dict) else ""


async def _told(talk: Conversation, bench: Bench) -> str:
    """A turn to have something to remember; the session's id."""
    await talk.stop_reason(await talk.prompt(bench.settings.prompt))
    await bench.settle()
    return talk.session


async def _taken_up(talk: Conversation, method: str, bench: Bench) -> None:
    params = {"sessionId": talk.session, "cwd": bench.settings.cwd, "mcpServers": []}
    await talk.result(method, params)


async def load_unknown(bench: Bench) -> str:
    async with bench.ready() as talk:
        talk.needs("loadSession")
        params = {"sessionId": NOBODY, "cwd": bench.settings.cwd, "mcpServers": []}
        return f"error {words_of(await talk.refused('session/load', params))}"


async def resume(bench: Bench) -> str:
    async with bench.session() as talk:
        talk.needs("sessionCapabilities", "resume")
        session = await _told(talk, bench)
    async with bench.ready() as talk:
        talk.session = session
        await _taken_up(talk, "session/resume", bench)
        if any(one.get("sessionUpdate") in SPOKEN for one in talk.updates()):
            raise Failed("the conversation was replayed before session/resume was answered, as only load may")
        await talk.stop_reason(await talk.prompt(bench.settings.prompt))
    return ""


async def close(bench: Bench) -> str:
    async with bench.session() as talk:
        talk.needs("sessionCapabilities", "close")
        await talk.result("session/close", {"sessionId": talk.session})
        await talk.refused(
            "session/prompt", {"sessionId": talk.session, "prompt": blocks(bench.settings.prompt)}
        )
        await talk.alive("session/close")
    return ""


async def close_running(bench: Bench) -> str:
    async with bench.session() as talk:
        talk.needs("sessionCapabilities", "close")
        prompt = await bench.long_turn(talk)
        await talk.result("session/close", {"sessionId": talk.session})
        reason = await talk.stop_reason(prompt)
        if reason != "cancelled":
            raise Failed(f"the turn that ran ended with {reason}, not cancelled")
    return ""


async def delete(bench: Bench) -> str:
    async with bench.session() as talk:
        talk.needs("sessionCapabilities", "delete")
        session = await _told(talk, bench)
        await talk.result("session/delete", {"sessionId": session})
        if talk.capability("sessionCapabilities", "list") is not None:
            left = [one.get("sessionId") for one in await _all(talk, {})]
            if session in left:
                raise Failed("it was deleted, and is still in the list")
        again = await talk.call("session/delete", {"sessionId": session})
        if "error" in again:
            raise Failed(f"deleting it once more was answered with error {words_of(again['error'])}")
    return ""


async def delete_keeps(bench: Bench) -> str:
    """What is gone is gone, and only that."""
    async with bench.session() as talk:
        talk.needs("sessionCapabilities", "delete")
        kept = talk.session
        await talk.new_session(bench.settings.cwd)
        await talk.result("session/delete", {"sessionId": talk.session})
        await talk.stop_reason(await talk.prompt(bench.settings.prompt, kept))
    return ""


CHECKS = (
    Check("session.new", "session/new gives a session", SETUP, new),
    Check(
        "session.unknown",
        "a prompt for a session that does not exist is refused",
        SCHEMA,
        unknown,
        rough=True,
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
        rough=True,
    ),
    Check("session.resume", "session/resume takes a session up and replays nothing", SETUP, resume),
    Check("session.close", "session/close ends a session: no prompt any more", SETUP, close),
    Check("session.close-running", "session/close cancels the turn that runs", SETUP, close_running),
    Check("session.delete", "session/delete takes it off the list, twice if need be", SCHEMA, delete),
    Check("session.delete-one", "session/delete leaves the others alone", SCHEMA, delete_keeps),
)
