"""The wire, sans-IO: bytes and values only. No trio, no clock, no logging."""
