"""The methods that clients can call, by topic. Each module ends with its tables of handlers.

Read `params` first (the parameters of the broker's own methods, and how a session is found), then `acp` and `prompt`
(the Agent Client Protocol), `sessions`, `queue`, `permissions`, `log` and `admin` (the broker's own methods).
"""
