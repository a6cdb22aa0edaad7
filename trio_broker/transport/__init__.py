"""Transports: bytes to lines and lines to bytes, over Unix sockets and WebSockets, with or without TLS.

This folder owns streams, frames, handshakes and the queue of what a peer is still to be sent. It knows neither
sessions nor methods; of the journal it knows the type of a cursor only. Read `base` first (the interface of every
transport), then `outbox` (the send queue), `websocket` and `http` (frames and the upgrade request), `listeners`
(bound addresses) and `connect` (the client's side).
"""
