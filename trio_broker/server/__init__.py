"""The server: one client at a time, from the accepted stream to the method that answers it.

This folder owns a client's request ids, its subscriptions and the tables of methods. It decides nothing about
sessions; it asks the broker. Read `unix` and `websocket` first (who is let in), then `serve` (one client from start
to end), `connection` (ids, dispatch, replies), `subscription` (which logs a client follows, and in which form), and
`methods/`.
"""
