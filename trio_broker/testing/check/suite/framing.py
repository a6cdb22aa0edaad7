"""The envelope and the line: ids, methods, and bytes that are no message."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from trio_broker.testing.check.base import ACP, Bench, Check
from trio_broker.testing.check.conversation import (
    METHOD_NOT_FOUND,
    Conversation,
    Frame,
    Way,
    is_message,
    line_of,
    same_id,
    words_of,
)
from trio_broker.testing.check.outcomes import Failed, Skipped, Unsupported

JSONRPC = "https://www.jsonrpc.org/specification"
TRANSPORTS, EXTENSIBILITY, SCHEMA = f"{ACP}transports", f"{ACP}extensibility", f"{ACP}schema"
NONE = "_trio_broker_check/none"  # a method that nobody has
OF_NOBODY = (-32700, -32600)  # codes of errors whose id is null: no JSON, no request
EXACT = 2**53 - 1  # the last integer up to which JavaScript knows each one
BEYOND = 2**53 + 1
LONG_LINE = 1024 * 1024
WORDS = 'Grüße, 世界 🌍, "quoted" \\ and \u2028 a line separator that ends no line'


async def one_id(id: object, bench: Bench) -> str:
    async with bench.open() as talk:
        params = {"protocolVersion": 1, "clientCapabilities": {}}
        talk.good(await _echoed(talk, id, "initialize", params), "initialize")
        await _echoed(talk, id, NONE, {})
    return ""


async def _echoed(talk: Conversation, id: object, method: str, params: object) -> dict[str, object]:
    since = len(talk.frames)
    await talk.request(method, params, id)
    answer = await talk.until(lambda: _answer(talk, since), f"answer to {method} with id {id!r}")
    if not same_id(answer.get("id"), id):
        raise Failed(f"the id {id!r} came back as {answer.get('id')!r}")
    return answer


def _answer(talk: Conversation, since: int) -> dict[str, object] | None:
    for frame in talk.frames[since:]:
        if frame.way is Way.CAME and is_message(frame.message) and "method" not in frame.message:
            found: dict[str, object] = frame.message
            return found
    return None


async def int64(bench: Bench) -> str:
    async with bench.ready() as talk:
        since = len(talk.frames)
        await talk.request(NONE, {}, BEYOND)
        answer = await talk.until(lambda: _answer(talk, since), f"answer to a request with id {BEYOND}")
        found = answer.get("id")
        if isinstance(found, int | float) and found != BEYOND and float(found) == float(BEYOND):
            raise Unsupported(f"{BEYOND} came back as {found!r}: its numbers are those of JavaScript")
        if not same_id(found, BEYOND):
            raise Failed(f"the id {BEYOND} came back as {found!r}")
    return ""


async def two_types(bench: Bench) -> str:
    async with bench.ready() as talk:
        await talk.write(line_of({"id": 7, "method": NONE}) + line_of({"id": "7", "method": NONE}))
        await talk.reply(7, "the request with id 7")
        await talk.reply("7", 'the request with id "7"')
    return ""


async def unknown(method: str, bench: Bench) -> str:
    async with bench.ready() as talk:
        error = await talk.refused(method)
        if error.get("code") != METHOD_NOT_FOUND:
            raise Failed(f"{method}: the error is {words_of(error)}, and not {METHOD_NOT_FOUND}")
        await talk.alive("a method it does not know")
    return ""


async def unknown_notifications(bench: Bench) -> str:
    async with bench.ready() as talk:
        since = len(talk.frames)
        for method in ("_trio_broker_check/note", "$/trio_broker_check", "session/trio_broker_check"):
            await talk.notify(method)
        await talk.alive("notifications it does not know")
        await bench.settle()
        answers = [
            frame.message
            for frame in talk.frames[since:]
            if frame.way is Way.CAME and is_message(frame.message) and "method" not in frame.message
        ]
        if len(answers) != 1:  # that of alive()
            raise Failed("a notification was answered, which none may be")
    return ""


async def missing_params(bench: Bench) -> str:
    async with bench.ready() as talk:
        error = await talk.refused("session/new", {"mcpServers": []})
        return f"session/new without cwd: error {words_of(error)}"


async def split(bench: Bench) -> str:
    _needs_lines(bench)
    line = line_of({"id": "split", "method": NONE, "params": {"text": WORDS}})
    async with bench.ready() as talk:
        middle = line.index("世".encode()) + 1  # inside of a character
        await talk.write(line[:middle])
        await bench.settle()
        await talk.write(line[middle:])
        await talk.until(lambda: _reply_to(talk, "split"), "answer to a line that came in two pieces")
    return ""


def _reply_to(talk: Conversation, id: object) -> bool | None:
    came = [frame.message for frame in talk.frames if frame.way is Way.CAME]
    return any(is_message(one) and "method" not in one and same_id(one.get("id"), id) for one in came) or None


async def joined(bench: Bench) -> str:
    _needs_lines(bench)
    async with bench.ready() as talk:
        await talk.write(b"".join(line_of({"id": f"joined {n}", "method": NONE}) for n in range(10)))
        for number in range(10):
            await talk.reply(f"joined {number}", "each of ten requests in one write")
    return ""


async def long_line(bench: Bench) -> str:
    async with bench.ready() as talk:
        await talk.call(NONE, {"text": "x" * LONG_LINE})
    return "a line of 1 MiB was read"


async def unicode(bench: Bench) -> str:
    async with bench.ready() as talk:
        await talk.call(NONE, {"text": WORDS})
        await talk.write(
            b'{"jsonrpc":"2.0","id":"half","method":"%b","params":{"text":"\\ud800"}}\n' % NONE.encode()
        )
        await talk.until(lambda: _reply_to(talk, "half"), "answer to a request with half a surrogate pair")
    return ""


async def spaced(bench: Bench) -> str:
    _needs_lines(bench)
    async with bench.ready() as talk:
        await talk.write(b"\n")
        await talk.alive("an empty line")
        await talk.write(line_of({"id": "crlf", "method": NONE}).replace(b"\n", b"\r\n"))
        await talk.until(lambda: _reply_to(talk, "crlf"), "answer to a line that ends with CR LF")
    return ""


async def nonsense(data: bytes, words: str, bench: Bench) -> str:
    _needs_lines(bench)
    async with bench.ready() as talk:
        since = len(talk.frames)
        await talk.write(data)
        await talk.alive(words)
        came = [frame for frame in talk.frames[since:] if frame.way is Way.CAME]
    return _borne(came, words)


def _borne(came: Sequence[Frame], words: str) -> str:
    """A remark on what came in answer to nonsense: if anything, an error to nobody. Raises Failed for what is none."""
    remark = "it took no notice"
    for frame in came:
        message = frame.message
        if not isinstance(message, dict):
            raise Failed(f"{words} was answered with what is no message: {frame.text()[:200]!r}")
        if "method" in message or message.get("id") is not None:
            continue  # the answer to what came behind it, or to what was in it
        error = message.get("error")
        if not isinstance(error, dict) or error.get("code") not in OF_NOBODY:
            what = "a result" if error is None else f"error {words_of(error)}"
            raise Failed(f"{words} was answered with {what}, not with error -32700 or -32600")
        remark = f"answered with error {words_of(error)}"
    return remark


async def stray(bench: Bench) -> str:
    async with bench.ready() as talk:
        await talk.send({"id": 987654321, "result": {}})
        await talk.send({"id": "nobody asked", "error": {"code": -32603, "message": "nothing"}})
        await talk.alive("responses to requests it never made")
    return ""


def _needs_lines(bench: Bench) -> None:
    if "://" in bench.target.name:
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


def _rough(id: str, title: str, rule: str, data: bytes, words: str) -> Check:
    run: Callable[[Bench], Awaitable[str]] = partial(nonsense, data, words)
    return Check(id, title, rule, run, rough=True)


CHECKS = (
    *_ids(),
    Check(
        "ids.int64",
        f"an id beyond what JavaScript can count, {BEYOND}, comes back whole",
        SCHEMA,
        int64,
        rough=True,
    ),
    Check("ids.types", 'the ids 7 and "7" are two', JSONRPC, two_types),
    Check(
        "methods.extension",
        "an unknown extension method is answered with -32601",
        EXTENSIBILITY,
        partial(unknown, NONE),
    ),
    Check(
        "methods.unknown",
        "any other unknown method is answered with -32601",
        JSONRPC,
        partial(unknown, "session/trio_broker_check"),
    ),
    Check("methods.notifications", "unknown notifications are ignored", EXTENSIBILITY, unknown_notifications),
    Check("params.missing", "a request without a required field is refused", SCHEMA, missing_params),
    Check("lines.split", "a line may come in pieces", TRANSPORTS, split, rough=True),
    Check("lines.joined", "many lines may come at once, and each is answered", TRANSPORTS, joined),
    Check("lines.long", "a line may be long: 1 MiB", TRANSPORTS, long_line),
    Check("lines.unicode", "any text may be in a line", TRANSPORTS, unicode, rough=True),
    Check("lines.spaced", "empty lines, and CR before LF, are borne", TRANSPORTS, spaced, rough=True),
    Check("replies.stray", "responses to requests it never made are ignored", JSONRPC, stray),
    _rough(
        "lines.no-json",
        "a line that is no JSON is survived",
        JSONRPC,
        b"this is no JSON\n",
        "a line that is no JSON",
    ),
    _rough(
        "lines.no-utf8",
        "a line that is no UTF-8 is survived",
        TRANSPORTS,
        b'{"a":"\xff\xfe"}\n',
        "a line that is no UTF-8",
    ),
    _rough(
        "lines.batch",
        "a batch, which ACP does not use, is survived",
        TRANSPORTS,
        b"[%b]\n" % line_of({"id": "in a batch", "method": NONE}).strip(),
        "a batch",
    ),
    _rough(
        "lines.no-object", "JSON that is no object is survived", JSONRPC, b"42\n", "a line with a mere number"
    ),
    _rough(
        "lines.no-message", "an object that is no message is survived", JSONRPC, b"{}\n", "an empty object"
    ),
)
