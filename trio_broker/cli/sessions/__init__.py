"""The commands for sessions: create, list, show, close them, change their queue and settings, read their logs.

Owns what these commands print. It must not start agents, read the journal, or know how a turn is shown while it runs.
Read `sessions` (the group, and the life of a session), `history` (what the journal holds of a session), `queue`, `set`
(set, set-mode), `logs`.
"""
