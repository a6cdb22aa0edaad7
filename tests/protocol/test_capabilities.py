"""What a client has no capability for reaches it in a form that it knows; everything else is left as it is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.protocol import jsonrpc
from trio_broker.protocol.capabilities import (
    ClientCapabilities,
    downgrade_replay,
    downgrade_settings,
    downgrade_updates,
    restore_boolean,
)

ALL = ClientCapabilities(booleans=True, notices=True, compaction=True)
NONE = ClientCapabilities()
FLAG = {"id": "web", "name": "Web", "type": "boolean", "currentValue": True}
MODEL = {"id": "model", "name": "Model", "type": "select", "currentValue": "a", "options": []}


def line(kind: str, **fields: Any) -> bytes:
    update = {"sessionUpdate": kind, **fields}
    return jsonrpc.notification("session/update", jsonrpc.encode({"sessionId": "s", "update": update}))


WORDS = line("agent_message_chunk", content={"type": "text", "text": 'a "notice" of "config_option_update"'})
GATED = {
    "notices": line("notice", severity="info", title="t"),
    "compaction": line("compaction_update", compactionId="c", status="in_progress"),
}
OPTIONS = line("config_option_update", configOptions=[FLAG, MODEL])


@pytest.mark.parametrize("ability", GATED)
def test_a_gated_update_is_text_for_a_client_without_the_capability(ability: str) -> None:
    block = WORDS + GATED[ability] + WORDS
    first, text, last = downgrade_updates(block, NONE, 7).splitlines(keepends=True)
    assert first == last == WORDS
    update = jsonrpc.decode(text)["params"]["update"]
    assert (update["sessionUpdate"], update["messageId"]) == ("agent_message_chunk", "notice-8")
    assert jsonrpc.decode(text)["params"]["sessionId"] == "s"
    assert downgrade_updates(block, ClientCapabilities(**{ability: True}), 7) == block


@pytest.mark.parametrize("gated", GATED.values())
def test_a_replay_has_no_text_for_a_gated_update(gated: bytes) -> None:
    assert downgrade_replay(gated, NONE) == b""
    assert downgrade_replay(gated, ALL) == gated
    assert downgrade_replay(WORDS, NONE) == WORDS
    assert b'"select"' in downgrade_replay(OPTIONS, NONE)


ODD: tuple[Any, ...] = (
    None,
    5,
    "",
    "x",
    [],
    [5],
    ["x"],
    {},
    {"type": "text", "text": "summed up"},
    [{"type": "text", "text": 5}],
)


@given(
    st.sampled_from(["notice", "compaction_update", "compaction_summary_chunk", "config_option_update"]),
    st.dictionaries(
        st.sampled_from(
            [
                "severity",
                "title",
                "description",
                "status",
                "summary",
                "error",
                "content",
                "compactionId",
                "configOptions",
                "_meta",
            ]
        ),
        st.sampled_from(ODD),
    ),
)
def test_members_of_a_wrong_type_make_one_line_and_no_error(kind: str, fields: dict[str, Any]) -> None:
    left = downgrade_updates(line(kind, **fields), NONE, 1)
    assert left.count(b"\n") == 1
    assert jsonrpc.decode(left)["method"] == "session/update"


def test_an_update_with_a_number_that_python_cannot_hold_passes_as_it_is() -> None:
    huge = line("notice", title="t").replace(b'"t"', b'"t","_meta":1e999')
    assert downgrade_updates(huge, NONE, 1) == huge


def test_a_boolean_option_is_a_choice_of_two_for_who_knows_no_booleans() -> None:
    assert downgrade_updates(OPTIONS, ClientCapabilities(booleans=True), 1) == OPTIONS
    update = jsonrpc.decode(downgrade_updates(OPTIONS, NONE, 1))["params"]["update"]
    flag, model = update["configOptions"]
    assert (flag["type"], flag["currentValue"], model) == ("select", "true", MODEL)
    assert [option["value"] for option in flag["options"]] == ["true", "false"]
    assert downgrade_settings({"configOptions": [FLAG]}, NONE)["configOptions"] == [flag]
    assert downgrade_settings({"modes": {}}, NONE) == {"modes": {}}


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({"configId": "web", "value": "false"}, {"configId": "web", "value": False, "type": "boolean"}),
        (
            {"configId": "web", "value": True, "type": "boolean"},
            {"configId": "web", "value": True, "type": "boolean"},
        ),
        ({"configId": "model", "value": "true"}, {"configId": "model", "value": "true"}),
        ({"configId": "web", "value": "maybe"}, {"configId": "web", "value": "maybe"}),
    ],
)
def test_the_choice_of_two_is_the_boolean_again_for_the_agent(
    asked: dict[str, Any], sent: dict[str, Any]
) -> None:
    assert jsonrpc.decode(restore_boolean(jsonrpc.encode(asked), [FLAG, MODEL])) == sent


def test_abilities_are_what_was_advertised() -> None:
    capabilities: dict[str, Any] = {
        "session": {"configOptions": {"boolean": {}}, "notices": {}, "compaction": None}
    }
    assert ClientCapabilities.of(capabilities) == ClientCapabilities(booleans=True, notices=True)
    assert ClientCapabilities.of({"session": "odd"}) == ClientCapabilities.of({}) == NONE


@given(st.lists(st.sampled_from([WORDS, OPTIONS, *GATED.values()]), min_size=1, max_size=8), st.booleans())
def test_what_is_left_is_in_order_and_words_are_untouched(lines: list[bytes], all: bool) -> None:
    block = b"".join(lines)
    left = downgrade_updates(block, ALL if all else NONE, 1)
    assert left.count(WORDS) == lines.count(WORDS)
    assert (left == block) or not all
    assert left.count(b"\n") == len(lines)
