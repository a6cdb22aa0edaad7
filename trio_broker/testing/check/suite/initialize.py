"""initialize, and which version is spoken."""

from __future__ import annotations

from trio_broker.testing.check.base import ACP, Check, CheckContext
from trio_broker.testing.check.conversation import CLIENT, Conversation, Json, error_text
from trio_broker.testing.check.outcomes import Failed

RULE = f"{ACP}initialization"
OLDEST = 1  # the first version there is


def version(result: Json) -> int:
    """The version that was answered. Raises Failed if it is none."""
    found = result.get("protocolVersion")
    if isinstance(found, bool) or not isinstance(found, int):
        raise Failed(f"protocolVersion is {found!r}, which is no integer")
    if found < OLDEST:
        raise Failed(f"protocolVersion is {found}, and there is no such version")
    return found


async def reply(context: CheckContext) -> str:
    async with context.open() as conversation:
        result = await conversation.initialize()
        if version(result) != 1:
            raise Failed(f"version 1 was asked for, and {result['protocolVersion']} answered")
        info = result.get("agentInfo")
        name = info.get("name") if isinstance(info, dict) else None
        return (
            f"it is {name} {info.get('version', '')}".strip()
            if isinstance(info, dict) and name
            else "it has no name"
        )


async def newer(context: CheckContext) -> str:
    async with context.open() as conversation:
        found = version(await conversation.initialize(protocolVersion=99))
        if found == 99:
            raise Failed("version 99 was answered with 99, which it can't speak: nobody knows it yet")
        return f"version 99 was answered with {found}"


async def zero(context: CheckContext) -> str:
    return await _odd(context, 0)


async def string(context: CheckContext) -> str:
    return await _odd(context, "1")


async def _odd(context: CheckContext, asked: object) -> str:
    async with context.open() as conversation:
        answer = await conversation.call("initialize", {"protocolVersion": asked, "clientInfo": CLIENT})
        if "error" in answer:
            return f"version {asked!r} was answered with error {error_text(answer['error'])}"
        return f"version {asked!r} was answered with {version(conversation.result_of(answer, 'initialize'))}"


async def bare(context: CheckContext) -> str:
    async with context.open() as conversation:
        version(await conversation.result("initialize", {"protocolVersion": 1}))
    return ""


async def unknown_fields(context: CheckContext) -> str:
    more = {"_meta": {"trio-broker.check": [1, {}]}, "somethingNew": {"a": 1}}
    async with context.open() as conversation:
        capabilities = {"somethingNew": True, "_meta": {"x": 1}}
        version(await conversation.initialize(clientCapabilities=capabilities, **more))
    return ""


async def first(context: CheckContext) -> str:
    async with context.open() as conversation:
        answer = await conversation.call("session/new", {"cwd": context.settings.cwd, "mcpServers": []})
        version(await _initialized(conversation))
        if "error" in answer:
            return f"session/new before it was refused: {error_text(answer['error'])}"
        return "session/new before it was answered as if nothing were missing"


async def _initialized(conversation: Conversation) -> Json:
    try:
        return await conversation.initialize()
    except Failed as failure:
        raise Failed(f"after a session/new that came too early: {failure}") from failure


CHECKS = (
    Check("initialize.reply", "initialize with version 1 is answered with version 1", RULE, reply),
    Check("initialize.newer", "a version it can't know is answered with the newest it knows", RULE, newer),
    Check("initialize.zero", "version 0 is answered: an error, or a version that exists", RULE, zero),
    Check("initialize.string", "a version that is no number is not taken over", RULE, string),
    Check("initialize.bare", "clientCapabilities and clientInfo may be left out", RULE, bare),
    Check(
        "initialize.unknown-fields",
        "_meta and fields it does not know are no reason to refuse",
        f"{ACP}extensibility",
        unknown_fields,
    ),
    Check("initialize.first", "a session/new before initialize is answered, and does no harm", RULE, first),
)
