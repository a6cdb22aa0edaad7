"""The commands of a working day: prompt an agent, follow its turn, look at every session.

Owns how a prompt, a turn and the status are shown, on a terminal and in a pipe. It must not start agents, read the
journal, or know how the daemon is started. Read `prompt` (prompt, exec, cancel), `turn` (one prompt, from the call to
the exit code), `render` (the formats of a turn), `compare` (one prompt for several agents), `watch` (watch, wait),
`text_match` (wait for a text), `status` (status, top).
"""
