"""Clients that are not this shell: tokens for other machines, and an ACP agent on stdio for an editor.

Owns the copy of an editor's lines to a broker and back, also over restarts of the broker. It must not interpret the
messages of a session beyond their ids. Read `token`, `acp` (the command), `bridge` (the state of the editor's
connection, without I/O), `socket_pump` (a broker of this machine), `websocket_pump` (a broker elsewhere).
"""
