"""What an `acp` bridge makes of the lines of an editor and of its brokers, one after the other."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trio_broker.cli.remote.bridge import Bridge
from trio_broker.errors import NoBroker, UnknownAgent

Json = dict[str, Any]
ALLOW = {"outcome": {"outcome": "selected", "optionId": "allow"}}


def line(**message: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode()


def lines(told: bytes) -> list[Json]:
    return [json.loads(line) for line in told.splitlines()]


def asked(bridge: Bridge, id: object, method: str, **params: Any) -> Json:
    """What a broker is asked when the editor asks this."""
    (found,) = lines(bridge.to_broker(line(id=id, method=method, params=params)))
    return found


def answered(bridge: Bridge, id: object, **result: Any) -> list[Json]:
    return lines(bridge.to_editor(line(id=id, result=result) + b"\n"))


def greet(bridge: Bridge) -> list[Json]:
    """All that the next broker is told; it takes everything."""
    told = []
    for words in bridge.handshake():
        for message in lines(words):
            told.append(message)
            if str(message["id"]).startswith("trio-broker:"):
                assert answered(bridge, message["id"]) == [], "what it did not ask, the editor does not hear"
        assert bridge.handshake_done
    return told


@pytest.fixture
def bridge() -> Bridge:
    """Between an editor that has session s, and its first broker."""
    bridge = Bridge({"key": "k"})
    greet(bridge)
    asked(bridge, 1, "initialize", protocolVersion=1)
    answered(bridge, 1, protocolVersion=1)
    asked(bridge, "two", "session/new", cwd="/tmp", mcpServers=[])
    assert answered(bridge, "two", sessionId="s") == [
        {"jsonrpc": "2.0", "id": "two", "result": {"sessionId": "s"}}
    ]
    return bridge


def test_what_a_broker_knew_the_next_one_is_told(bridge: Bridge) -> None:
    sent = asked(bridge, 3, "session/prompt", sessionId="s", prompt=[])
    assert bridge.broker_lost("gone") == b""
    positions, bind, initialize, resume, prompt = greet(bridge)
    assert positions["method"] == "_trio_broker/positions"
    assert (bind["method"], bind["params"]) == ("_trio_broker/bind", {"key": "k"})
    assert (initialize["method"], initialize["params"]) == ("initialize", {"protocolVersion": 1})
    assert (resume["method"], resume["params"]["sessionId"]) == ("session/resume", "s")
    assert prompt["id"] == 3
    assert prompt["params"]["_meta"]["trio-broker"] == sent["params"]["_meta"]["trio-broker"] | {
        "again": True
    }
    assert answered(bridge, 3, stopReason="end_turn")[0]["id"] == 3 and not bridge.unanswered


def test_a_prompt_that_was_answered_and_a_session_that_was_closed_are_not_told(bridge: Bridge) -> None:
    asked(bridge, 3, "session/prompt", sessionId="s", prompt=[])
    answered(bridge, 3, stopReason="end_turn")
    asked(bridge, 4, "session/close", sessionId="s")
    answered(bridge, 4)
    bridge.broker_lost("gone")
    assert [message["method"] for message in greet(bridge)][2:] == ["initialize"]


def test_the_editors_own_prompt_id_counts(bridge: Bridge) -> None:
    meta = {"theirs": 1, "trio-broker": {"promptId": "mine"}}
    assert asked(bridge, 3, "session/prompt", sessionId="s", prompt=[], _meta=meta)["params"]["_meta"] == meta


def test_what_else_waits_is_told_that_the_broker_went(bridge: Bridge) -> None:
    asked(bridge, 3, "session/set_mode", sessionId="s", modeId="m")
    (error,) = lines(bridge.broker_lost("the broker is gone"))
    assert error["id"] == 3 and error["error"]["data"]["kind"] == "broker_gone"
    assert "ask again" in error["error"]["message"]
    assert not bridge.unanswered


def test_an_introduction_that_waits_is_repeated() -> None:
    bridge = Bridge(None)
    first = asked(bridge, 1, "initialize", protocolVersion=1)
    assert bridge.broker_lost("gone") == b"" and greet(bridge)[1:] == [first]


def test_questions_of_one_broker_are_not_those_of_the_next(bridge: Bridge) -> None:
    question = line(id=1, method="session/request_permission", params={"sessionId": "s"}) + b"\n"
    assert bridge.to_editor(question) == question
    assert lines(bridge.broker_lost("gone")) == [
        {"jsonrpc": "2.0", "method": "$/cancel_request", "params": {"requestId": 1}}
    ]
    greet(bridge)
    (anew,) = lines(bridge.to_editor(question))
    assert anew == {**json.loads(question), "id": anew["id"]} and anew["id"] != 1
    assert bridge.to_broker(line(id=1, result=ALLOW)) == b"", "an answer to the one that is gone"
    assert lines(bridge.to_broker(line(id=anew["id"], result=ALLOW))) == [
        {"jsonrpc": "2.0", "id": 1, "result": ALLOW}
    ]
    assert bridge.broker_lost("gone") == b"", "nothing is asked any more"


def test_a_question_that_is_withdrawn_is_withdrawn_by_the_id_that_the_editor_knows(bridge: Bridge) -> None:
    bridge.broker_lost("gone")
    greet(bridge)
    (asks,) = lines(
        bridge.to_editor(line(id=1, method="session/request_permission", params={"sessionId": "s"}) + b"\n")
    )
    (told,) = lines(bridge.to_editor(line(method="$/cancel_request", params={"requestId": 1}) + b"\n"))
    assert told["params"]["requestId"] == asks["id"]
    assert bridge.broker_lost("gone") == b""


def place(**at: int) -> bytes:
    return line(method="_trio_broker/position", params={"sessionId": "s", "began": 4, **at}) + b"\n"


def update(text: str) -> bytes:
    return line(method="session/update", params={"sessionId": "s", "update": {"text": text}}) + b"\n"


def since(bridge: Bridge) -> int:
    """From which number on the next broker is asked for session s."""
    bridge.broker_lost("gone")
    (resume,) = (message for message in greet(bridge) if message["method"] == "session/resume")
    assert resume["params"]["_meta"]["trio-broker"]["began"] == 4
    number: int = resume["params"]["_meta"]["trio-broker"]["since"]
    return number


@pytest.mark.parametrize(
    ("came", "number"),
    [
        (place(seq=5, count=0, lines=0), 5),
        (place(seq=5, count=3, lines=3), 5),
        (place(seq=5, count=3, lines=3) + update("a"), 6),
        (place(seq=5, count=3, lines=3) + update("a") * 3, 8),
        (place(seq=5, count=3, lines=3) + update("a") * 3 + place(seq=8, count=1, lines=0), 9),
        (place(seq=5, count=3, lines=2) + update("a"), 5),  # which of the three is missing is not known
        (place(seq=5, count=3, lines=2) + update("a") * 2, 8),
        (place(seq=5, count=1, lines=1) + update("a") + update("not of the log"), 6),
    ],
)
def test_a_session_goes_on_where_it_was_in_its_log(bridge: Bridge, came: bytes, number: int) -> None:
    told = bridge.to_editor(came)
    assert b"position" not in told and told.count(b"\n") == came.count(b"session/update")
    assert since(bridge) == number


def test_what_comes_in_pieces_is_counted_all_the_same(bridge: Bridge) -> None:
    came = place(seq=5, count=3, lines=3) + update('"id"') * 3 + update("of no record")
    told = b"".join(bridge.to_editor(piece + b"\n") for piece in came.split(b"\n")[:-1])
    assert told == update('"id"') * 3 + update("of no record")
    assert since(bridge) == 8


def test_updates_pass_as_they_came(bridge: Bridge) -> None:
    block = b'{ "method": "session/update", "params": {"sessionId":"s", "update":{}}}\n' * 2
    assert bridge.to_editor(block) == block


@pytest.mark.parametrize(
    "nonsense", [b"{", b"[1]", b'{"id":1}', b'{"id":1,"method":"session/prompt","params":[]}']
)
def test_nonsense_is_for_the_broker_to_judge(bridge: Bridge, nonsense: bytes) -> None:
    assert bridge.to_broker(nonsense) == nonsense + b"\n"


def test_a_session_that_can_not_be_taken_up_is_told_once_and_not_tried_again(bridge: Bridge) -> None:
    bridge.broker_lost("gone")
    for words in bridge.handshake():
        for message in lines(words):
            refused = message["method"] == "session/resume"
            bridge.to_editor(
                line(
                    id=message["id"],
                    **({"error": {"code": 1, "message": "no"}} if refused else {"result": {}}),
                )
                + b"\n"
            )
    assert (
        bridge.take_resume_errors() == ["session s could not be taken up again: no"]
        and bridge.take_resume_errors() == []
    )
    bridge.broker_lost("gone")
    assert "session/resume" not in [message["method"] for message in greet(bridge)]


def test_what_the_next_broker_refuses_is_raised(bridge: Bridge) -> None:
    bridge.broker_lost("gone")
    bind = lines(next(bridge.handshake()))[-1]
    error = {"code": -32602, "message": "no such agent", "data": {"kind": "unknown_agent"}}
    with pytest.raises(UnknownAgent, match="no such"):
        bridge.to_editor(line(id=bind["id"], error=error) + b"\n")


def test_only_a_request_is_refused_where_there_is_no_broker(bridge: Bridge) -> None:
    error = NoBroker("none; start one")
    (told,) = lines(bridge.error_reply(line(id=7, method="session/list"), error))
    assert (told["id"], told["error"]["message"]) == (7, "none; start one")
    for other in (line(method="session/cancel"), line(id=7, result={}), b"{"):
        assert bridge.error_reply(other, error) == b""
