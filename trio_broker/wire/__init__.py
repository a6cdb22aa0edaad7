"""The wire, sans-IO: bytes and values only. No trio, no clock, no logging."""

OURS = "_trio_broker/"  # how the names of our own methods begin
META = "trio-broker"  # the member of `_meta` that is ours
