"""What a client has no ability for is kept from it, or made into what it knows; everything else is left as it is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.protocol import jsonrpc
from trio_broker.protocol.capabilities import (
    ClientCapabilities,
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
def test_a_gated_update_is_for_those_who_asked_for_it(ability: str) -> None:
    block = WORDS + GATED[ability] + WORDS
    assert downgrade_updates(block, NONE) == WORDS + WORDS
    assert downgrade_updates(block, ClientCapabilities(**{ability: True})) == block


def test_a_boolean_option_is_a_choice_of_two_for_who_knows_no_booleans() -> None:
    assert downgrade_updates(OPTIONS, ClientCapabilities(booleans=True)) == OPTIONS
    update = jsonrpc.decode(downgrade_updates(OPTIONS, NONE))["params"]["update"]
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
    left = downgrade_updates(block, ALL if all else NONE)
    assert left.count(WORDS) == lines.count(WORDS)
    assert (left == block) or not all
    assert left.count(b"\n") == (
        len(lines) if all else len([one for one in lines if one not in GATED.values()])
    )
