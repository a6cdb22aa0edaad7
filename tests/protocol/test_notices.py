"""Notices and compactions in words."""

from __future__ import annotations

from typing import Any

import pytest

from trio_broker.protocol.notices import as_message, notice_label, notice_text

Json = dict[str, Any]


def notice(**fields: Any) -> Json:
    return {"sessionUpdate": "notice", **fields}


def compaction(status: object, **fields: Any) -> Json:
    return {"sessionUpdate": "compaction_update", "compactionId": "c", "status": status, **fields}


@pytest.mark.parametrize(
    ("update", "label", "text"),
    [
        (notice(severity="info", title="Model rerouted"), "notice", "Model rerouted"),
        (
            notice(severity="warning", title="Rate limited", description="It tries again in 40 s.\n"),
            "notice, warning",
            "Rate limited: It tries again in 40 s.",
        ),
        (notice(severity="_mine\nx", title="a\nb"), "notice, _mine x", "a b"),
        (notice(title=5, description="alone", severity={}), "notice", "alone"),
        (compaction("in_progress"), "compaction", "the agent compacts its context"),
        (
            compaction("failed", error="too long"),
            "compaction",
            "the agent could not compact its context: too long",
        ),
        (
            compaction("completed", summary=[{"type": "text", "text": "all "}, {"type": "image"}, 5]),
            "compaction",
            "the agent has compacted its context\n\nall <image>",
        ),
        (compaction("_other", summary="odd"), "compaction", "_other"),
        (compaction(None), "compaction", "no status"),
    ],
)
def test_what_a_person_reads(update: Json, label: str, text: str) -> None:
    assert (notice_label(update), notice_text(update)) == (label, text)


def test_a_notice_is_message_text_apart_from_the_answer() -> None:
    message = as_message(notice(severity="error", title="Overloaded", _meta={"x": 1}), 12)
    assert message == {
        "sessionUpdate": "agent_message_chunk",
        "content": {"type": "text", "text": "\n\n[notice, error] Overloaded\n\n"},
        "messageId": "notice-12",
        "_meta": {"x": 1, "trio-broker": {"insteadOf": "notice"}},
    }


def test_the_chunks_of_a_summary_are_thoughts_of_one_message() -> None:
    content = {"type": "text", "text": "word "}
    chunk = {"sessionUpdate": "compaction_summary_chunk", "compactionId": "c", "content": content}
    found = [as_message(chunk, number) for number in (1, 2)]
    assert found[0] == found[1]
    assert (found[0]["sessionUpdate"], found[0]["content"]) == ("agent_thought_chunk", content)
    assert found[0]["messageId"] == "compaction-c"
