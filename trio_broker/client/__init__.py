"""The client library: everything that the command line and the dashboard can do, they do through this.

This folder owns the client's side of a connection. It knows nothing of the daemon's inside. Read `client` first
(`open_client`, for Trio programs), then `blocking` (one call without Trio, for commands that have to start fast).
`request_text` turns an agent's request into lines for a person, with `text_lines` and `line_diff` below it; these three
are pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trio_broker.client.client import Client as Client
    from trio_broker.client.client import OnMessage as OnMessage
    from trio_broker.client.client import OnRequest as OnRequest
    from trio_broker.client.client import client_over as client_over
    from trio_broker.client.client import open_client as open_client
    from trio_broker.client.client import refuse_all as refuse_all

__all__ = ["Client", "OnMessage", "OnRequest", "client_over", "open_client", "refuse_all"]


def __getattr__(name: str) -> Any:
    """Import `client` when one of its names is first used: commands that use `blocking` do without Trio."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import trio_broker.client.client as client  # a statement: `-X importtime` does not see import_module

    return getattr(client, name)
