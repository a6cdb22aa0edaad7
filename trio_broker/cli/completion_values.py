"""What the running broker adds to completion: its sessions' keys, its agents' names, the ids of open questions.

It is asked once and briefly; where none runs, or it is elsewhere, there is nothing to add, and nothing is said.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from trio_broker.cli.output import safe
from trio_broker.client import blocking
from trio_broker.config.paths import Paths
from trio_broker.errors import BrokerError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

TIMEOUT = 1.0  # seconds; a broker answers from memory in a hundredth of one


def session_keys(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """For -s/--session."""
    sessions = _query(context, "_trio_broker/sessions").get("sessions", ())
    return _items(incomplete, [(view["key"], f"{view['agent']}, {view['phase']}") for view in sessions])


def agent_names(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """For -a/--agent, and the name of an agent as an argument."""
    return agent_items(context, incomplete)


def agent_items(context: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    known = _query(context, "_trio_broker/agents").get("agents", ())
    return _items(incomplete, [(agent["name"], " ".join(agent["command"] or ())) for agent in known])


def request_ids(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """For the ID of `allow` and `deny`."""
    requests = _query(context, "_trio_broker/asks").get("asks", ())
    return _items(
        incomplete, [(request["askId"], f"{request['key']}: {request['title']}") for request in requests]
    )


def _query(context: click.Context, method: str) -> dict[str, Any]:
    options = context.find_root().params
    if options.get("url"):
        return {}
    try:
        paths = Paths.from_env(os.environ, options.get("config"))
        answer: dict[str, Any] = blocking.call(paths.socket, method, timeout=TIMEOUT)
    except BrokerError:
        return {}
    return answer


def _items(incomplete: str, found: list[tuple[str, str]]) -> list[CompletionItem[str]]:
    """Those that fit; one with control characters, which no shell would take, is left out."""
    from click.shell_completion import CompletionItem

    return [
        CompletionItem(value, help=safe(text)[:80])
        for value, text in found
        if value.startswith(incomplete) and value.isprintable()
    ]
