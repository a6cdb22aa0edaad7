"""Permissions: what a client may do, by its token, and what an agent may do, by rule.

This folder owns decisions, not their effects: it knows no connection, no session and no process. Read `grant` first
(scopes, and what a grant allows), then `tokens` (where grants of remote clients come from), then `policy` (rules for
the tool calls of agents).
"""
