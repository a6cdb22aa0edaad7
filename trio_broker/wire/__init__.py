"""The wire, sans-IO: bytes and values only. No trio, no clock, no logging."""

META = "trio-broker"  # the member of `_meta` that is ours
