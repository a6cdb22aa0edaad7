"""The envelope and the line: ids, methods, and bytes that are no message."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from trio_broker.testing.check.base import ACP, Check, CheckContext
from trio_broker.testing.check.conversation import (
    METHOD_NOT_FOUND,
    Conversation,
    Direction,
    Frame,
    error_text,
    is_message,
    line_of,
    same_id,
)
from trio_broker.testing.check.outcomes import Failed, Skipped, Unsupported

JSONRPC = "https://www.jsonrpc.org/specification"
TRANSPORTS, EXTENSIBILITY, SCHEMA = f"{ACP}transports", f"{ACP}extensibility", f"{ACP}schema"
UNKNOWN_METHOD = "_trio_broker_check/none"  # a method that nobody has
NO_ID_CODES = (-32700, -32600)  # codes of errors whose id is null: no JSON, no request
EXACT = 2**53 - 1  # the last integer up to which JavaScript knows each one
BEYOND = 2**53 + 1
LONG_LINE = 1024 * 1024
UNICODE_TEXT = 'Grüße, 世界 🌍, "quoted" \\ and \u2028 a line separator that ends no line'


async def one_id(id: object, context: CheckContext) -> str:
    async with context.open() as conversation:
        params = {"protocolVersion": 1, "clientCapabilities": {}}
        conversation.result_of(await _echoed(conversation, id, "initialize", params), "initialize")
        await _echoed(conversation, id, UNKNOWN_METHOD, {})
    return ""


async def _echoed(conversation: Conversation, id: object, method: str, params: object) -> dict[str, object]:
    since = len(conversation.frames)
    await conversation.request(method, params, id)
    answer = await conversation.wait_for(
        lambda: _answer(conversation, since), f"answer to {method} with id {id!r}"
    )
    if not same_id(answer.get("id"), id):
        raise Failed(f"the id {id!r} came back as {answer.get('id')!r}")
    return answer


def _answer(conversation: Conversation, since: int) -> dict[str, object] | None:
    for frame in conversation.frames[since:]:
        if (
            frame.direction is Direction.RECEIVED
            and is_message(frame.message)
            and "method" not in frame.message
        ):
            found: dict[str, object] = frame.message
            return found
    return None


async def int64(context: CheckContext) -> str:
    async with context.ready() as conversation:
        since = len(conversation.frames)
        await conversation.request(UNKNOWN_METHOD, {}, BEYOND)
        answer = await conversation.wait_for(
            lambda: _answer(conversation, since), f"answer to a request with id {BEYOND}"
        )
        found = answer.get("id")
        if isinstance(found, int | float) and found != BEYOND and float(found) == float(BEYOND):
            raise Unsupported(f"{BEYOND} came back as {found!r}: its numbers are those of JavaScript")
        if not same_id(found, BEYOND):
            raise Failed(f"the id {BEYOND} came back as {found!r}")
    return ""


async def two_types(context: CheckContext) -> str:
    async with context.ready() as conversation:
        await conversation.write(
            line_of({"id": 7, "method": UNKNOWN_METHOD}) + line_of({"id": "7", "method": UNKNOWN_METHOD})
        )
        await conversation.reply(7, "the request with id 7")
        await conversation.reply("7", 'the request with id "7"')
    return ""


async def unknown(method: str, context: CheckContext) -> str:
    async with context.ready() as conversation:
        error = await conversation.expect_error(method)
        if error.get("code") != METHOD_NOT_FOUND:
            raise Failed(f"{method}: the error is {error_text(error)}, and not {METHOD_NOT_FOUND}")
        await conversation.check_alive("a method it does not know")
    return ""


async def unknown_notifications(context: CheckContext) -> str:
    async with context.ready() as conversation:
        since = len(conversation.frames)
        for method in ("_trio_broker_check/note", "$/trio_broker_check", "session/trio_broker_check"):
            await conversation.notify(method)
        await conversation.check_alive("notifications it does not know")
        await context.wait_quiet()
        answers = [
            frame.message
            for frame in conversation.frames[since:]
            if frame.direction is Direction.RECEIVED
            and is_message(frame.message)
            and "method" not in frame.message
        ]
        if len(answers) != 1:  # that of alive()
            raise Failed("a notification was answered, which none may be")
    return ""


async def missing_params(context: CheckContext) -> str:
    async with context.ready() as conversation:
        error = await conversation.expect_error("session/new", {"mcpServers": []})
        return f"session/new without cwd: error {error_text(error)}"


async def split(context: CheckContext) -> str:
    _needs_lines(context)
    line = line_of({"id": "split", "method": UNKNOWN_METHOD, "params": {"text": UNICODE_TEXT}})
    async with context.ready() as conversation:
        middle = line.index("世".encode()) + 1  # inside of a character
        await conversation.write(line[:middle])
        await context.wait_quiet()
        await conversation.write(line[middle:])
        await conversation.wait_for(
            lambda: _reply_to(conversation, "split"), "answer to a line that came in two pieces"
        )
    return ""


def _reply_to(conversation: Conversation, id: object) -> bool | None:
    came = [frame.message for frame in conversation.frames if frame.direction is Direction.RECEIVED]
    return any(is_message(one) and "method" not in one and same_id(one.get("id"), id) for one in came) or None


async def joined(context: CheckContext) -> str:
    _needs_lines(context)
    async with context.ready() as conversation:
        await conversation.write(
            b"".join(line_of({"id": f"joined {n}", "method": UNKNOWN_METHOD}) for n in range(10))
        )
        for number in range(10):
            await conversation.reply(f"joined {number}", "each of ten requests in one write")
    return ""


async def long_line(context: CheckContext) -> str:
    async with context.ready() as conversation:
        await conversation.call(UNKNOWN_METHOD, {"text": "x" * LONG_LINE})
    return "a line of 1 MiB was read"


async def unicode(context: CheckContext) -> str:
    async with context.ready() as conversation:
        await conversation.call(UNKNOWN_METHOD, {"text": UNICODE_TEXT})
        await conversation.write(
            b'{"jsonrpc":"2.0","id":"half","method":"%b","params":{"text":"\\ud800"}}\n'
            % UNKNOWN_METHOD.encode()
        )
        await conversation.wait_for(
            lambda: _reply_to(conversation, "half"), "answer to a request with half a surrogate pair"
        )
    return ""


async def whitespace(context: CheckContext) -> str:
    _needs_lines(context)
    async with context.ready() as conversation:
        await conversation.write(b"\n")
        await conversation.check_alive("an empty line")
        await conversation.write(line_of({"id": "crlf", "method": UNKNOWN_METHOD}).replace(b"\n", b"\r\n"))
        await conversation.wait_for(
            lambda: _reply_to(conversation, "crlf"), "answer to a line that ends with CR LF"
        )
    return ""


async def malformed_line(data: bytes, words: str, context: CheckContext) -> str:
    _needs_lines(context)
    async with context.ready() as conversation:
        since = len(conversation.frames)
        await conversation.write(data)
        await conversation.check_alive(words)
        came = [frame for frame in conversation.frames[since:] if frame.direction is Direction.RECEIVED]
    return _check_answers(came, words)


def _check_answers(came: Sequence[Frame], words: str) -> str:
    """A remark on what came in answer to nonsense: if anything, an error to nobody. Raises Failed for what is none."""
    remark = "it took no notice"
    for frame in came:
        message = frame.message
        if not isinstance(message, dict):
            raise Failed(f"{words} was answered with what is no message: {frame.text()[:200]!r}")
        if "method" in message or message.get("id") is not None:
            continue  # the answer to what came behind it, or to what was in it
        error = message.get("error")
        if not isinstance(error, dict) or error.get("code") not in NO_ID_CODES:
            what = "a result" if error is None else f"error {error_text(error)}"
            raise Failed(f"{words} was answered with {what}, not with error -32700 or -32600")
        remark = f"answered with error {error_text(error)}"
    return remark


async def unknown_responses(context: CheckContext) -> str:
    async with context.ready() as conversation:
        await conversation.send({"id": 987654321, "result": {}})
        await conversation.send({"id": "nobody asked", "error": {"code": -32603, "message": "nothing"}})
        await conversation.check_alive("responses to requests it never made")
    return ""


def _needs_lines(context: CheckContext) -> None:
    if "://" in context.target.name:
        raise Skipped("a WebSocket has no lines")


def _ids() -> tuple[Check, ...]:
    kinds: dict[str, object] = {
        "zero": 0,
        "negative": -1,
        "large": EXACT,
        "string": "trio-broker check",
        "digits": "1",
        "empty": "",
        "unicode": 'é "\u2028" 🌍',
    }
    return tuple(
        Check(
            f"ids.{name}", f"a request with id {id!a} is answered with that id", JSONRPC, partial(one_id, id)
        )
        for name, id in kinds.items()
    )


def _malformed(id: str, title: str, rule: str, data: bytes, words: str) -> Check:
    run: Callable[[CheckContext], Awaitable[str]] = partial(malformed_line, data, words)
    return Check(id, title, rule, run, malformed=True)


CHECKS = (
    *_ids(),
    Check(
        "ids.int64",
        f"an id beyond what JavaScript can count, {BEYOND}, comes back whole",
        SCHEMA,
        int64,
        malformed=True,
    ),
    Check("ids.types", 'the ids 7 and "7" are two', JSONRPC, two_types),
    Check(
        "methods.extension",
        "an unknown extension method is answered with -32601",
        EXTENSIBILITY,
        partial(unknown, UNKNOWN_METHOD),
    ),
    Check(
        "methods.unknown",
        "any other unknown method is answered with -32601",
        JSONRPC,
        partial(unknown, "session/trio_broker_check"),
    ),
    Check("methods.notifications", "unknown notifications are ignored", EXTENSIBILITY, unknown_notifications),
    Check("params.missing", "a request without a required field is refused", SCHEMA, missing_params),
    Check("lines.split", "a line may come in pieces", TRANSPORTS, split, malformed=True),
    Check("lines.joined", "many lines may come at once, and each is answered", TRANSPORTS, joined),
    Check("lines.long", "a line may be long: 1 MiB", TRANSPORTS, long_line),
    Check("lines.unicode", "any text may be in a line", TRANSPORTS, unicode, malformed=True),
    Check("lines.spaced", "empty lines, and CR before LF, are borne", TRANSPORTS, whitespace, malformed=True),
    Check("replies.stray", "responses to requests it never made are ignored", JSONRPC, unknown_responses),
    _malformed(
        "lines.no-json",
        "a line that is no JSON is survived",
        JSONRPC,
        b"this is no JSON\n",
        "a line that is no JSON",
    ),
    _malformed(
        "lines.no-utf8",
        "a line that is no UTF-8 is survived",
        TRANSPORTS,
        b'{"a":"\xff\xfe"}\n',
        "a line that is no UTF-8",
    ),
    _malformed(
        "lines.batch",
        "a batch, which ACP does not use, is survived",
        TRANSPORTS,
        b"[%b]\n" % line_of({"id": "in a batch", "method": UNKNOWN_METHOD}).strip(),
        "a batch",
    ),
    _malformed(
        "lines.no-object", "JSON that is no object is survived", JSONRPC, b"42\n", "a line with a mere number"
    ),
    _malformed(
        "lines.no-message", "an object that is no message is survived", JSONRPC, b"{}\n", "an empty object"
    ),
)
