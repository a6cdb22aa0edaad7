from __future__ import annotations

from typing import Any

import pytest

from trio_broker.auth.policy import Policy
from trio_broker.protocol import jsonrpc
from trio_broker.session import tool_calls
from trio_broker.session.tool_calls import MAX_CALLS, MAX_UNREAD, ToolCalls


def update(tag: str, *, session: str = "s", **members: Any) -> bytes:
    params = {"sessionId": session, "update": {"sessionUpdate": tag, **members}}
    return jsonrpc.notification("session/update", jsonrpc.encode(params))


def announced(id: str = "c", **members: Any) -> bytes:
    return update("tool_call", toolCallId=id, **members)


def changed(id: str = "c", **members: Any) -> bytes:
    return update("tool_call_update", toolCallId=id, **members)


def calls(*lines: bytes) -> ToolCalls:
    found = ToolCalls()
    found.add_updates(b"".join(lines))
    return found


def test_a_request_that_names_only_the_id_has_what_was_announced() -> None:
    seen = calls(
        announced(title="rm -rf /precious", kind="execute", rawInput={"command": "rm"}),
        update("agent_message_chunk", content={"type": "text", "text": "toolCallId"}),
        changed(status="in_progress", content=[{"type": "diff", "path": "/a", "newText": "x"}]),
    )
    call = seen.add_request("s", {"toolCallId": "c"})
    assert call.members["title"] == "rm -rf /precious"
    assert call.members["rawInput"] == {"command": "rm"}
    assert call.members["content"][0]["path"] == "/a"
    assert call.kinds == ["execute"]
    assert call.titles == ["rm -rf /precious"]


def test_null_means_not_changed_and_the_request_has_the_last_word() -> None:
    seen = calls(announced(title="make", kind="execute"), changed(title=None, kind=None))
    call = seen.add_request("s", {"toolCallId": "c", "title": "Bash", "kind": None})
    assert (call.members["title"], call.members["kind"]) == ("Bash", "execute")
    assert call.titles == ["make", "Bash"]


def test_every_kind_that_an_open_call_had_is_known() -> None:
    seen = calls(announced(kind="execute"), changed(kind="other"))
    assert seen.add_request("s", {"toolCallId": "c", "kind": "read"}).kinds == ["execute", "other", "read"]


def test_an_id_names_another_call_when_the_first_has_ended_or_the_turn_has() -> None:
    seen = calls(announced(kind="execute", title="one"), changed(status="completed"), announced(kind="read"))
    call = seen.add_request("s", {"toolCallId": "c"})
    assert (call.kinds, call.titles) == (["read"], [])

    seen = calls(announced(kind="execute", title="one"))
    seen.end_turn(Policy.ASK)
    seen.add_updates(announced(kind="read", title="two"))
    assert seen.add_request("s", {"toolCallId": "c"}).titles == ["two"]


def test_an_open_call_of_an_earlier_turn_is_found_until_it_is_announced_again() -> None:
    seen = calls(announced(kind="execute", title="one"))
    seen.end_turn(Policy.ASK)
    assert seen.add_request("s", {"toolCallId": "c", "kind": "read"}).kinds == ["execute", "read"]


def test_a_request_is_not_completed_with_a_call_of_an_earlier_turn_that_was_asked_about() -> None:
    seen = calls()
    seen.add_request("s", {"toolCallId": "c", "title": "rm", "kind": "execute"})
    assert seen.add_request("s", {"toolCallId": "c"}).titles == ["rm"], "of the same turn"
    seen.end_turn(Policy.ASK)
    assert seen.add_request("s", {"toolCallId": "c"}).titles == []

    seen = calls(announced(title="rm", kind="execute"), changed(status="failed"))
    seen.end_turn(Policy.ASK)
    assert seen.add_request("s", {"toolCallId": "c"}).titles == []


def test_a_second_announcement_of_an_open_call_does_not_hide_the_first() -> None:
    seen = calls(announced(kind="execute", title="rm"), announced(kind="read", title="cat"))
    assert seen.add_request("s", {"toolCallId": "c"}).kinds == ["execute", "read"]


def test_calls_of_different_sessions_and_ids_are_different() -> None:
    seen = calls(announced(kind="execute"), update("tool_call", session="child", toolCallId="c", kind="read"))
    assert seen.add_request("child", {"toolCallId": "c"}).kinds == ["read"]
    assert seen.add_request("s", {"toolCallId": "d"}).kinds == []
    assert seen.add_request("s", {}).members == {}
    assert seen.add_request("s", {"toolCallId": 7}).kinds == []


def test_names_with_escapes_and_odd_values_are_read() -> None:
    line = (
        announced(kind="execute")
        .replace(b"toolCallId", b"tool\\u0043allId")
        .replace(b"execute", b"exec\\u0075te")
    )
    seen = calls(
        line,
        b'{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":["toolCallId"]}}\n',
        changed(kind=3, title={"no": "text"}),
    )
    assert seen.add_request("s", {"toolCallId": "c"}).kinds == ["execute"]


def test_later_updates_do_not_change_what_was_asked() -> None:
    seen = calls(announced(title="ls", kind="execute"))
    call = seen.add_request("s", {"toolCallId": "c"})
    seen.add_updates(changed(title="rm -rf /", kind="read"))
    seen.add_request("s", {"toolCallId": "c"})
    assert (call.members["title"], call.kinds) == ("ls", ["execute"])


def test_memory_is_bounded_and_the_oldest_call_goes_first() -> None:
    seen = calls(announced("first"), *(announced(f"c{number}") for number in range(MAX_CALLS)))
    assert seen.add_request("s", {"toolCallId": f"c{MAX_CALLS - 1}"}).members["toolCallId"]
    assert len(seen._calls) == MAX_CALLS
    assert ("s", "first") not in seen._calls

    big = "x" * (MAX_UNREAD // 2 + 1)
    for number in range(20):
        seen.add_updates(announced(f"big{number}", title=big))
        assert seen._unread_bytes <= MAX_UNREAD
    seen.add_request("s", {"toolCallId": "big19"})
    assert sum(call.size for call in seen._calls.values()) <= tool_calls.MAX_BYTES
    assert seen.add_request("s", {"toolCallId": "big19"}).titles == [big]


def test_text_is_not_kept() -> None:
    seen = calls(update("agent_message_chunk", content={"type": "text", "text": "hello"}) * 100)
    assert seen._unread == []


@pytest.mark.parametrize("policy", Policy)
def test_the_end_of_a_turn_names_the_actions_that_nobody_was_asked_about(policy: Policy) -> None:
    seen = calls(
        announced("a", kind="execute", title="make", status="in_progress"),
        announced("b", kind="execute", title="asked first", status="pending"),
        announced("c", kind="read", status="completed"),
        announced("d", kind="edit", status="pending"),
    )
    seen.add_request("s", {"toolCallId": "b"})
    seen.add_updates(changed("b", status="completed") + changed("d", status="failed"))
    note = seen.end_turn(policy)
    if policy is Policy.APPROVE_ALL:
        assert note is None
    else:
        assert note is not None and note.endswith(f"{policy.value!r}: 'make', 'edit'")
    assert seen.end_turn(policy) is None, "the next turn has none"


def test_a_request_before_the_announcement_counts() -> None:
    seen = calls()
    seen.add_request("s", {"toolCallId": "c", "kind": "execute"})
    seen.add_updates(announced(kind="execute", status="completed"))
    assert seen.end_turn(Policy.ASK) is None


RM: dict[str, Any] = {"kind": "execute", "title": "rm -rf /", "rawInput": {"command": "rm -rf /"}}


def test_a_request_of_a_later_turn_makes_the_call_one_of_that_turn() -> None:
    seen = calls(announced(**RM))
    seen.end_turn(Policy.ASK)
    seen.add_request("s", {"toolCallId": "c"})
    assert seen.add_request("s", {"toolCallId": "c", "kind": "read"}).kinds == ["execute", "read"]


def test_an_update_in_this_turn_counts_whenever_the_call_began() -> None:
    seen = calls()
    seen.add_request("s", {"toolCallId": "c", "kind": "read"})
    seen.end_turn(Policy.ASK)
    seen.add_updates(changed(**RM))
    assert seen.add_request("s", {"toolCallId": "c", "kind": "read"}).kinds == ["read", "execute"]


def test_a_request_takes_nothing_of_a_call_that_has_ended_or_of_an_earlier_request() -> None:
    seen = calls(announced(kind="read", title="Read a.py", locations=[{"path": "a"}], status="completed"))
    assert seen.add_request("s", {"toolCallId": "c", "title": "Drop it"}).members == {
        "toolCallId": "c",
        "title": "Drop it",
    }
    seen = calls()
    seen.add_request("s", {"toolCallId": "c", "kind": "read", "content": [{"type": "diff"}]})
    later = seen.add_request("s", {"toolCallId": "c", "title": "Delete all"})
    assert later.members == {"toolCallId": "c", "title": "Delete all"}
    assert later.kinds == ["read"], "a claim all the same"


@pytest.mark.parametrize("empty", [{}, [], "", 7, ["x"]])
def test_an_empty_or_wrong_value_does_not_replace_what_was_announced(empty: Any) -> None:
    diff = [{"type": "diff", "path": "/a"}]
    seen = calls(announced(**RM, content=diff))
    blank = {"kind": 5, "title": [], "rawInput": {}, "content": [], "locations": empty}
    call = seen.add_request("s", {"toolCallId": "c", **blank})
    assert {name: call.members[name] for name in RM} == RM and call.members["content"] == diff


def test_an_input_that_was_replaced_is_kept_for_the_rules() -> None:
    seen = calls(announced(**RM))
    call = seen.add_request("s", {"toolCallId": "c", "rawInput": {"path": "a"}})
    assert call.members["rawInput"] == {"path": "a"}
    assert call.earlier == [{"rawInput": {"command": "rm -rf /"}}]
    for number in range(tool_calls.MAX_EARLIER + 1):
        seen.add_updates(changed(rawInput={"n": number}))
    assert seen.add_request("s", {"toolCallId": "c"}).unclear


def test_an_announcement_that_can_not_be_read_or_was_forgotten_leaves_a_doubt() -> None:
    line = announced(**RM).replace(b'"kind"', b'"x":1e999,"kind"')
    assert calls(line).add_request("s", {"toolCallId": "c", "kind": "read"}).unclear

    seen = calls(announced(**RM), *(announced(f"c{number}") for number in range(MAX_CALLS)))
    assert seen.add_request("s", {"toolCallId": "c", "kind": "read"}).unclear
    seen.end_turn(Policy.ASK)
    assert not seen.add_request("s", {"toolCallId": "c", "kind": "read"}).unclear
    assert seen.add_request("s", {"toolCallId": 7, "kind": "read"}).unclear


def test_claims_and_members_of_one_call_are_bounded() -> None:
    seen = calls(*(changed(title=f"t{number}", **{f"m{number}": "x"}) for number in range(1000)))
    call = seen.add_request("s", {"toolCallId": "c"})
    assert len(call.titles) == tool_calls.MAX_CLAIMS and call.unclear
    assert set(call.members) <= set(tool_calls.MEMBERS)


def test_a_note_is_short() -> None:
    seen = calls(*(announced(str(n), kind="edit", title="x" * 9999, status="completed") for n in range(50)))
    note = seen.end_turn(Policy.ASK)
    assert note is not None and len(note) < 1000 and note.endswith("and 45 more")
