"""Clients for tests. Each of them works on a link or a stream that somebody else opened.

The folder owns the ways to send to a broker or an agent and to look at the answers. It must not know how a broker, a
daemon or an agent is started. Read `user` first, the client of most tests. `play` compares a stream with a written
exchange. `websocket_peer` sends single WebSocket frames, also wrong ones.
"""
