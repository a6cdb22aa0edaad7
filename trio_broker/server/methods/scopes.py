"""Which scope each method needs: the one table, looked at before any handler runs.

A method that is not in it is an admin's. That holds for our own verbs that somebody forgot to enter, and for whatever
would go through to an agent unread: nobody knows what it does there. Requests and notifications have a table each,
because a name that is harmless as the one may be passed on as the other.

This is about methods. What in a method's parameters needs more (a command, a directory, a policy) is in
`broker/authorization`, and which sessions a client knows of at all in its `Grant`.
"""

from __future__ import annotations

from collections.abc import Mapping

from trio_broker.auth.grant import Scope

REQUESTS: Mapping[str, Scope] = {
    # ACP. `initialize` may start an agent without a conversation, once: every client has to say it.
    "initialize": Scope.OBSERVE,
    "session/list": Scope.OBSERVE,
    "session/load": Scope.OBSERVE,  # who may not prompt wakes no agent by it
    "session/resume": Scope.OBSERVE,
    "session/close": Scope.OBSERVE,  # detaches; only whose token opened the session, and an admin, ends it so
    "session/new": Scope.PROMPT,
    "session/fork": Scope.PROMPT,
    "session/prompt": Scope.PROMPT,
    # As good as an answer: there are modes, and options, in which an agent asks nobody.
    "session/set_mode": Scope.ANSWER,
    "session/set_config_option": Scope.ANSWER,
    "session/set_model": Scope.ANSWER,
    "session/delete": Scope.ADMIN,  # destroys what others said
    "authenticate": Scope.ADMIN,  # logs the broker's owner in, or as somebody else
    "logout": Scope.ADMIN,
    # Ours: to look
    "_trio_broker/status": Scope.OBSERVE,
    "_trio_broker/sessions": Scope.OBSERVE,
    "_trio_broker/agents": Scope.OBSERVE,
    "_trio_broker/attach": Scope.OBSERVE,
    "_trio_broker/detach": Scope.OBSERVE,
    "_trio_broker/positions": Scope.OBSERVE,
    "_trio_broker/asks": Scope.OBSERVE,
    "_trio_broker/events": Scope.OBSERVE,
    "_trio_broker/history": Scope.OBSERVE,
    "_trio_broker/logs": Scope.OBSERVE,
    "_trio_broker/queue": Scope.OBSERVE,
    "_trio_broker/wait": Scope.OBSERVE,
    "_trio_broker/watch": Scope.OBSERVE,
    "_trio_broker/answer": Scope.ANSWER,
    # to work
    "_trio_broker/bind": Scope.PROMPT,  # `initialize` then starts the agent that it names
    "_trio_broker/open": Scope.PROMPT,
    "_trio_broker/submit": Scope.PROMPT,
    "_trio_broker/cancel": Scope.PROMPT,
    "_trio_broker/queue_edit": Scope.PROMPT,  # of what one's own token has sent
    "_trio_broker/close": Scope.PROMPT,  # of what one's own token has opened
    "_trio_broker/restart": Scope.PROMPT,  # the same
    # to rule
    "_trio_broker/kill": Scope.ADMIN,
    "_trio_broker/delete": Scope.ADMIN,
    "_trio_broker/prune": Scope.ADMIN,
    "_trio_broker/import": Scope.ADMIN,  # puts words into the agent's and others' mouths
    "_trio_broker/export": Scope.ADMIN,  # has the MCP servers that the session was opened with, and their keys
    "_trio_broker/forget": Scope.ADMIN,
    "_trio_broker/launch": Scope.ADMIN,  # has the keys in an agent's environment: the owner's alone
    "_trio_broker/reload": Scope.ADMIN,
    "_trio_broker/shutdown": Scope.ADMIN,
    "_trio_broker/token_new": Scope.ADMIN,
    "_trio_broker/tokens": Scope.ADMIN,
    "_trio_broker/token_revoke": Scope.ADMIN,
}
NOTIFICATIONS: Mapping[str, Scope] = {
    "session/cancel": Scope.PROMPT,
    "$/cancel_request": Scope.OBSERVE,  # of one's own requests
}


def of_request(method: str) -> Scope:
    """The scope that a request of this method needs."""
    return REQUESTS.get(method, Scope.ADMIN)


def of_notification(method: str) -> Scope:
    """The same for a notification; those of the protocol itself (`$/ping`) go no further than to the broker."""
    return NOTIFICATIONS.get(method, Scope.OBSERVE if method.startswith("$/") else Scope.ADMIN)
