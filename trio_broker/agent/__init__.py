"""One agent: its command line, its process with all descendants, and the connection to its stdin and stdout.

This folder owns processes. It knows neither sessions nor clients: a host object receives what the agent sends. Read
`catalog` and `installed` first (which command an agent's name stands for), then `process` and `spawn` (the operating
system's side), `connection` (lines to and from the agent), `lifecycle` (one run, from start to end), `control` and
`probe` (agents without a conversation), and last what ends every process: `process_tags`, `orphans`, `guardian`.
`redact` removes secrets from output.
"""
