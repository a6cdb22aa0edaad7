"""initialize, and which version is spoken."""

from __future__ import annotations

from trio_broker.testing.check.base import ACP, Bench, Check
from trio_broker.testing.check.conversation import CLIENT, Conversation, Json, words_of
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


async def reply(bench: Bench) -> str:
    async with bench.open() as talk:
        result = await talk.initialize()
        if version(result) != 1:
            raise Failed(f"version 1 was asked for, and {result['protocolVersion']} answered")
        info = result.get("agentInfo")
        name = info.get("name") if isinstance(info, dict) else None
        return (
            f"it is {name} {info.get('version', '')}".strip()
            if isinstance(info, dict) and name
            else "it has no name"
        )


async def newer(bench: Bench) -> str:
    async with bench.open() as talk:
        found = version(await talk.initialize(protocolVersion=99))
        if found == 99:
            raise Failed("version 99 was answered with 99, which it can't speak: nobody knows it yet")
        return f"version 99 was answered with {found}"


async def zero(bench: Bench) -> str:
    return await _odd(bench, 0)


async def string(bench: Bench) -> str:
    return await _odd(bench, "1")


async def _odd(bench: Bench, asked: object) -> str:
    async with bench.open() as talk:
        answer = await talk.call("initialize", {"protocolVersion": asked, "clientInfo": CLIENT})
        if "error" in answer:
            return f"version {asked!r} was answered with error {words_of(answer['error'])}"
        return f"version {asked!r} was answered with {version(talk.good(answer, 'initialize'))}"


async def bare(bench: Bench) -> str:
    async with bench.open() as talk:
        version(await talk.result("initialize", {"protocolVersion": 1}))
    return ""


async def unknown_fields(bench: Bench) -> str:
    more = {"_meta": {"trio-broker.check": [1, {}]}, "somethingNew": {"a": 1}}
    async with bench.open() as talk:
        capabilities = {"somethingNew": True, "_meta": {"x": 1}}
        version(await talk.initialize(clientCapabilities=capabilities, **more))
    return ""


async def first(bench: Bench) -> str:
    async with bench.open() as talk:
        answer = await talk.call("session/new", {"cwd": bench.settings.cwd, "mcpServers": []})
        version(await _initialized(talk))
        if "error" in answer:
            return f"session/new before it was refused: {words_of(answer['error'])}"
        return "session/new before it was answered as if nothing were missing"


async def _initialized(talk: Conversation) -> Json:
    try:
        return await talk.initialize()
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
