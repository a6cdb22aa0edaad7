"""The protocol: bytes to values and values to bytes, for JSON-RPC 2.0, for ACP and for the broker's own messages.

This folder owns the syntax of messages, and nothing else: it has no Trio, no clock, no logging, no files and no
knowledge of sessions (sans-I/O). Read `jsonrpc` first (lines and envelopes), then `pending` (open requests and their
ids), `batch` (runs of updates), `acp` and `codec` (models and their conversion), `capabilities` (what a client can
show), `elicitation/` (forms that people fill in), `extensions` (the names of the broker's own messages), and
`visible_text` (text of others, safe for a screen).
"""
