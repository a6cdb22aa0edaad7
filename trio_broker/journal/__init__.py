"""Persisted data: the numbered events of every session, and the readers of them.

This folder owns event numbers, cursors and the journal on disk. It knows neither agents nor connections. Read
`record` first (the unit of a log), then `log` (one session's log and its cursors), `keeper` with `reserving` and
`folding` (the task that writes), `store` with `schema` (SQLite), and the views of a log: `replay` (for ACP),
`transcript` (for people), `export` and `archive` (sessions that are not loaded).
"""
