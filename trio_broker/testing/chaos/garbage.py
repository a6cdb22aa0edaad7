"""What a broken agent writes between its words and after its turn: acts of the scripted agent, without a `;` in them.

None of it may change how a turn ends, get into a log where it does not belong, or be left unanswered where it asks.
"""

from __future__ import annotations

import json
import random

from trio_broker.testing.chaos.evidence import FOREIGN, LATE

MOST = 6  # acts between the words of one prompt
MOST_LATE = 4  # words after the turn
BIG = (100_000, 2_000_000)  # bytes of a line, far below the limit
PLAIN = [
    "garbage",
    "bad-utf8",
    "wrong-id",
    "stale-reply",
    "foreign",
    "unknown-request",
    "double-reply",
]
END = {"stopReason": "end_turn"}
FAILED = {"code": -32603, "message": "this never happened"}
NO_IDS: list[object] = [None, True, 1.0, "1", -1, 0, [1], {"id": 1}, 10**30]
NOBODY = "sess-nobody"


def garbage(session: str, other: str, rng: random.Random) -> list[str]:
    """Some of all there is, for the agent of `session`; `other` is a session of another agent. `{id}`: the prompt's."""
    every = [*PLAIN, f"big {rng.randint(*BIG)}", *map(_raw, _lines(session, other))]
    late = [f"own-turn {{id}}{LATE}.{number}" for number in range(rng.randint(0, MOST_LATE))]
    return [*rng.sample(every, rng.randint(1, MOST)), *late]


def _raw(line: bytes) -> str:
    """The act that writes this line."""
    plain = range(32, 127)
    return "raw " + "".join(chr(b) if b in plain and b not in b";\\" else f"\\x{b:02x}" for b in line) + "\\n"


def _lines(session: str, other: str) -> list[bytes]:
    return [
        *(_line(id=id, result=END) for id in NO_IDS),
        _line(id=987654321, error=FAILED),
        _line(id=987654321, error=None, result=None),
        _line(id="session/prompt", method="session/prompt", params={"sessionId": session, "prompt": []}),
        *_updates(session, other),
        *_requests(session, other),
        b'{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"',
        b'[{"jsonrpc":"2.0","id":1,"result":{"stopReason":"end_turn"}}]',
        b"[" * 5000,
        b"\x00" * 100,
        b'"only a string"',
        b"",
    ]


def _updates(session: str, other: str) -> list[bytes]:
    own = _update(session, f"{session} in bytes that are no UTF-8: @")
    return [
        *(_update(id, f"{FOREIGN} {{id}}") for id in (other, NOBODY) if id != session),
        own.replace(b"@", b"\xff\xfe"),
        *(
            _line(method="session/update", params={"sessionId": session, **more})
            for more in ({}, {"update": None})
        ),
        _line(
            method="session/update",
            params={"sessionId": session, "update": {"sessionUpdate": "_of_tomorrow"}},
        ),
        _line(method="session/update", params=[session]),
        _line(method="session/update"),
    ]


def _requests(session: str, other: str) -> list[bytes]:
    ask = "session/request_permission"
    return [
        _line(id="a", method=ask, params={"sessionId": session}),
        _line(id="b", method=ask, params={"sessionId": other if other != session else NOBODY, "options": []}),
        _line(id="c", method=ask),
        _line(id="d", method="fs/read_text_file", params={"sessionId": session, "path": "/etc/passwd"}),
        _line(id="e", method="elicitation/create", params={"sessionId": session, "mode": 5}),
        _line(id="f", method="_nobody/knows/this", params={"sessionId": session}),
        _line(id=None, method="_nobody/knows/this"),
        _line(method="$/cancel_request", params={"requestId": 12345}),
        _line(method="$/cancel_request", params=5),
        _line(method="session/cancel", params={"sessionId": session}),
    ]


def _update(session: str, text: str) -> bytes:
    update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}
    return _line(method="session/update", params={"sessionId": session, "update": update})


def _line(**members: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **members}).encode()
