"""The names of the broker's own messages, and its member of `_meta` (ACP, "Extensibility")."""

from __future__ import annotations

from trio_broker.protocol import jsonrpc

METHOD_PREFIX = "_trio_broker/"  # how the names of our own methods begin
META_KEY = "trio-broker"  # the member of `_meta` that is ours
EVENT = "_trio_broker/event"
POSITION = "_trio_broker/position"
CHILD = "childSessionId"  # in our member of `_meta`: the id under which a message came


def with_child_session(params: bytes, session_id: str | None, child: str) -> bytes:
    """The parameters of a message of a child session as those of its session; `_meta` has the child's id."""
    meta = jsonrpc.decode(jsonrpc.members(params).get("_meta", b"null"))
    kept = meta if isinstance(meta, dict) else {}
    return jsonrpc.replace_members(params, sessionId=session_id, _meta=kept | {META_KEY: {CHILD: child}})
