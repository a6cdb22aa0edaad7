"""How a command tells an error: what happened, what to do next, and the exit code."""

from __future__ import annotations

import json

import click

from trio_broker.cli.text import safe, safe_lines
from trio_broker.errors import BrokerError, RemoteError

AUTH_REQUIRED = -32000
EXIT_CODES = {
    "misuse": 2,
    "config": 2,
    "unknown_agent": 2,
    "timeout": 3,
    "no_session": 4,
    "denied": 5,
    "forbidden": 5,
    "no_broker": 6,
    "broker_gone": 6,
}
NEXT = {  # for those whose message does not say it
    "busy": "`--if-busy queue` waits for its turn; `--if-busy interrupt` cancels what runs.",
    "agent_gone": "The next prompt starts it anew; `trio-broker sessions show` tells more.",
    "session_over": "`trio-broker status` shows what there is; the next prompt starts the session anew.",
    "spawn_failed": "`trio-broker agents list` shows the command line behind each name.",
}


def tell(error: BrokerError) -> int:
    """Tell an error on stderr; its exit code. Nothing that an agent says reaches the terminal raw."""
    click.echo(f"trio-broker: {safe_lines(what_of(error))}", err=True)
    if step := _next(error):
        click.echo(step, err=True)
    return EXIT_CODES.get(error.code, 1)


def what_of(error: BrokerError) -> str:
    """What happened, in words that may hold an agent's own."""
    if not isinstance(error, RemoteError):
        return error.message
    data = error.data()
    more = (
        "" if data is None else f": {data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)}"
    )
    return f"the agent answered with error {error.rpc_code}: {error.message}{safe(more)}"


def _next(error: BrokerError) -> str | None:
    if isinstance(error, RemoteError) and error.rpc_code == AUTH_REQUIRED:
        return (
            "Log in with the agent's own program, or name the keys it needs in `inherit_env`; then try again."
        )
    return NEXT.get(error.code)
