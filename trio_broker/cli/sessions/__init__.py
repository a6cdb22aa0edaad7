"""The commands for sessions: create, list, close and restart them, change their queue and settings, read their logs.

Owns what these commands print. It must not start agents, read the journal, or know how a turn is shown while it runs.
Read `sessions` (the group, and the commands for live sessions), `history` (history, export, import, prune, delete:
closed sessions, too), `queue`, `set` (set, set-mode), `logs`.
"""
