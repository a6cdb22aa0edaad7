"""Notices and compactions of an agent as text: for people, and as message text for clients that lack them. Pure.

Agents send them only because the broker advertises both capabilities for all of its clients (DESIGN D5). Without the
broker an agent sends ordinary text to a client without them, so the broker does the same. Any member can be missing or
have a wrong type, as agents write them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trio_broker.protocol.extensions import META_KEY

NOTICE, COMPACTION, SUMMARY_CHUNK = "notice", "compaction_update", "compaction_summary_chunk"
COMPACTION_TEXTS = {
    "in_progress": "the agent compacts its context",
    "completed": "the agent has compacted its context",
    "failed": "the agent could not compact its context",
    "cancelled": "the agent cancelled the compaction of its context",
}

Object = dict[str, Any]


def notice_label(update: Mapping[str, Any]) -> str:
    """What stands in brackets before the text: `notice`, `notice, warning`, `compaction`."""
    if update.get("sessionUpdate") != NOTICE:
        return "compaction"
    severity = _line(update.get("severity"))
    return NOTICE if severity in ("", "info") else f"{NOTICE}, {severity}"


def notice_text(update: Mapping[str, Any]) -> str:
    """A notice as `title: description`, or the state of a compaction with its error and its summary."""
    if update.get("sessionUpdate") == NOTICE:
        return _joined(_line(update.get("title")), update.get("description"))
    status = _line(update.get("status"))
    text = _joined(COMPACTION_TEXTS.get(status, status or "no status"), update.get("error"))
    summary = update.get("summary")
    blocks = "".join(map(_block_text, summary)) if isinstance(summary, list) else ""
    return f"{text}\n\n{blocks.strip()}" if blocks.strip() else text


def as_message(update: Mapping[str, Any], number: int) -> Object:
    """The update as one that every client can show. `number` is that of its event in the log.

    A notice and the state of a compaction become message text with a label, between blank lines and under a message id
    of their own: a client that joins all message text still shows where the agent's answer continues. The chunks of a
    summary become thoughts: they come word by word, so they cannot carry a label, and they must not be in the answer.
    """
    kind, meta = update.get("sessionUpdate"), update.get("_meta")
    meta = (meta if isinstance(meta, dict) else {}) | {META_KEY: {"insteadOf": kind}}
    if kind == SUMMARY_CHUNK:
        content = update.get("content")
        return {
            "sessionUpdate": "agent_thought_chunk",
            "content": content if isinstance(content, dict) else {"type": "text", "text": ""},
            "messageId": f"compaction-{_line(update.get('compactionId'))}",
            "_meta": meta,
        }
    text = f"\n\n[{notice_label(update)}] {notice_text(update)}\n\n"
    return {
        "sessionUpdate": "agent_message_chunk",
        "content": {"type": "text", "text": text},
        "messageId": f"notice-{number}",
        "_meta": meta,
    }


def _line(value: object) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""


def _joined(head: str, more: object) -> str:
    text = more.strip() if isinstance(more, str) else ""
    return ": ".join(filter(None, (head, text)))


def _block_text(block: object) -> str:
    if not isinstance(block, dict):
        return ""
    text = block.get("text")
    return text if isinstance(text, str) else f"<{block.get('type', 'content')}>"
