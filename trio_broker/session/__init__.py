"""One conversation with an agent: its turns, its permission requests and its state, over many agent runs.

This folder owns everything that belongs to exactly one session. It knows no other session, no connection and no
socket. Read `session` first, then `turn_queue` (prompts and the lock), `timers` (limits of a turn), `router`
(messages between the agent and the clients), `permissions` with `agent_request` (what the agent asks), `state`
(modes, options, title) and `resume` (how a new process takes up the conversation).
"""
