"""The names of the broker's own messages (ACP, "Extensibility")."""

METHOD_PREFIX = "_trio_broker/"  # how the names of our own methods begin
META_KEY = "trio-broker"  # the member of `_meta` that is ours
EVENT = "_trio_broker/event"
POSITION = "_trio_broker/position"
