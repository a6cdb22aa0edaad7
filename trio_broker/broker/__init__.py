"""The set of sessions: creating, finding, limiting, restoring and showing them.

This folder owns the root nursery and the session pool. It knows connections only as objects to count and to close,
and it has no socket. Read `broker` first, then `sessions` (the pool), `open_request` and `authorization` (what a
client asks for, and what its grant allows), `agents` (which agents there are and whether they start), `recovery`
(what survives a restart), `status` (snapshots for people and programs) and `notify` (the hook for permission requests
that nobody sees).
"""
