"""Our member of `_meta`."""

from __future__ import annotations

import json

import pytest

from trio_broker.protocol.extensions import with_child_session


@pytest.mark.parametrize(
    ("meta", "kept"),
    [({}, {}), ({"_meta": {"a": 1, "trio-broker": 2}}, {"a": 1}), ({"_meta": 5}, {}), ({"_meta": None}, {})],
)
def test_a_childs_message_is_its_sessions_and_keeps_the_childs_id(
    meta: dict[str, object], kept: dict[str, object]
) -> None:
    params = json.dumps({"sessionId": "child", "big": 2**70, **meta}).encode()
    assert json.loads(with_child_session(params, "s", "child")) == {
        "sessionId": "s",
        "big": 2**70,
        "_meta": kept | {"trio-broker": {"childSessionId": "child"}},
    }
