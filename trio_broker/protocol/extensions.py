"""The names of the broker's own messages (ACP, "Extensibility")."""

OURS = "_trio_broker/"  # how the names of our own methods begin
META = "trio-broker"  # the member of `_meta` that is ours
EVENT = "_trio_broker/event"
POSITION = "_trio_broker/position"
